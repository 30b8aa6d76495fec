"""Map of embeddings in two dimensions."""

from collections.abc import Sequence

import numpy as np
import scipy.linalg


def embedding_maps(vectors: Sequence[np.ndarray]) -> list[tuple[np.ndarray, float]]:
    """Projects the vectors of each stage onto their two principal directions.

    Maps are rotated or mirrored to match the previous one (orthogonal Procrustes), and scaled so
    that the farthest point from their centre is at distance 1.

    Args:
        vectors: For each stage, the vectors of the same images, float array `(n, dim)`.

    Returns:
        For each stage, the points, float64 `(n, 2)`, NaN for vectors that are not finite, and the
        share of the variance along the two directions.

    Example:
        >>> points = np.array([[2.0, 0.0, 0.0], [-2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, -1.0, 0]])
        >>> ((places, share), (turned, _)) = embedding_maps([points, points[:, ::-1]])
        >>> np.abs(places - turned).max().round(6), round(share, 3)
        (np.float64(0.0), 1.0)
    """
    maps: list[tuple[np.ndarray, float]] = []
    for stage in vectors:
        places, share = _main_directions(stage)
        if maps:
            shared = np.isfinite(places).all(axis=1) & np.isfinite(maps[-1][0]).all(axis=1)
            if shared.any():
                turn, _ = scipy.linalg.orthogonal_procrustes(places[shared], maps[-1][0][shared])
                places = places @ turn
        maps.append((places, share))
    return maps


def _main_directions(vectors: np.ndarray) -> tuple[np.ndarray, float]:
    finite = np.isfinite(vectors).all(axis=1)
    places = np.full((len(vectors), 2), np.nan)
    points = vectors[finite].astype(np.float64)
    if not len(points):
        return places, 0.0
    points -= points.mean(axis=0)
    total = float(np.square(points).sum())
    # The smaller of the two products has the same eigenvalues.
    wide = points.shape[1] > len(points)
    product = points @ points.T if wide else points.T @ points
    last = len(product) - 1
    values, directions = scipy.linalg.eigh(product, subset_by_index=[max(last - 1, 0), last])
    values, directions = np.maximum(values[::-1], 0), directions[:, ::-1]
    # Eigenvectors have no sign of their own: their greatest part shall be positive.
    greatest = np.take_along_axis(directions, np.abs(directions).argmax(0)[None], 0)
    directions = directions * np.sign(greatest)
    found = directions * np.sqrt(values) if wide else points @ directions
    found = np.pad(found, [(0, 0), (0, 2 - found.shape[1])])
    radius = np.sqrt(np.square(found).sum(1).max())
    places[finite] = found / (radius or 1.0)
    return places, float(values.sum()) / total if total else 0.0
