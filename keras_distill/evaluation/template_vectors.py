"""Vectors of templates, which are sets of images of one subject."""

import numpy as np

from keras_distill.evaluation.pair_scores import unit_rows


def template_vectors(
    vectors: np.ndarray, templates: np.ndarray, media: np.ndarray, count: int | None = None
) -> np.ndarray:
    """Averages the vectors of the images of each template, as the protocol of IJB-C does.

    The vector of a medium, such as a video, is the mean over its images; that of a template the
    mean over its media, normalised. A video of a thousand frames counts as much as one photograph.

    Args:
        vectors: Embeddings of the images, float32 `(n, dim)`.
        templates: Template of each image, integers `(n,)` from 0 on.
        media: Medium of each image, integers `(n,)`; no two templates share one.
        count: Number of templates; by default up to the last that has an image.

    Returns:
        float32 `(templates, dim)` of length 1; zero for a template without images.

    Example:
        >>> vectors = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], np.float32)
        >>> template_vectors(vectors, np.array([0, 0, 0]), np.array([0, 0, 1])).round(3)
        array([[0.707, 0.707]], dtype=float32)
    """
    _, first, medium = np.unique(media, return_index=True, return_inverse=True)
    means = _means(np.asarray(vectors, np.float64), medium, len(first))
    owner = np.asarray(templates)[first]
    count = int(np.max(templates)) + 1 if count is None else count
    return unit_rows(_means(means, owner, count).astype(np.float32))


def _means(vectors: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    sums = np.zeros((count, vectors.shape[1]))
    np.add.at(sums, groups, vectors)
    return sums / np.maximum(np.bincount(groups, minlength=count), 1)[:, None]
