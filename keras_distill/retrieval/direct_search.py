"""Exact nearest-neighbour search for a few queries.

Distances are computed by differences wherever rounding could decide.
"""

from collections.abc import Iterator

import numpy as np

from keras_distill.retrieval.vector_checks import NOISE, squared_lengths

_CENTRE_ROWS = 10_000
_QUERY_BLOCK = 8
_BLOCK_VALUES = 2**22  # of the gallery, relative to its centre
_PAIR_BLOCK = 65_536
# By so much of |q|^2 + |g|^2 may |g|^2 - 2 q.g be wrong in float32, however wide the vectors.
_ERROR = 4 * NOISE


def common_centre(gallery: np.ndarray) -> np.ndarray | None:
    """Finds the vector to subtract from vectors that lie far from the origin.

    Distances that are computed from lengths and products lose precision where the lengths are much
    larger than the distances. The centre is the mean of up to 10,000 rows, rounded to a multiple of
    a power of two near the spread of the rows, so that vectors near the origin, and numbers on a
    grid, stay exact.

    Args:
        gallery: Finite vectors, float32 `(m, dim)`.

    Returns:
        The centre, float32 `(dim,)`; `None` if the rows lie around the origin.

    Example:
        >>> common_centre(np.array([[1000.0, 0.5], [1001.0, -0.5]], np.float32))
        array([1000.5,    0. ], dtype=float32)
    """
    sample = gallery[:: -(-len(gallery) // _CENTRE_ROWS)].astype(np.float64)
    mean = sample.mean(0)
    spread = np.sqrt(np.square(sample - mean).mean())
    unit = np.exp2(np.round(np.log2(spread))) if spread > 0 else 0.0
    # Where all rows are one, or so far away that the unit is lost, the mean is as good.
    centre = np.round(mean / unit) * unit if unit > 0 else sample[0]
    return centre.astype(np.float32) if centre.any() else None


def centred(vectors: np.ndarray, centre: np.ndarray | None) -> np.ndarray:
    """Returns vectors relative to the centre that `common_centre` found, float32."""
    return vectors if centre is None else vectors - centre


def centred_squares(gallery: np.ndarray, centre: np.ndarray | None) -> np.ndarray:
    """Returns the squared length of each row relative to a centre, `(m,)`, without a copy."""
    if centre is None:
        return squared_lengths(gallery)
    squares = np.empty(len(gallery), np.float32)
    for rows in _blocks(gallery):
        squares[rows] = squared_lengths(gallery[rows] - centre)
    return squares


def direct_neighbours(
    queries: np.ndarray,
    gallery: np.ndarray,
    *,
    k: int,
    centre: np.ndarray | None,
    squares: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the k nearest rows of each query; what rounding could decide is computed in float64.

    It reads the gallery once for each 8 queries and loads no TensorFlow.

    Args:
        queries: Finite vectors, float32 `(n, dim)`.
        gallery: Finite vectors, float32 `(m, dim)`; may be memory-mapped.
        k: Number of neighbours, at most the gallery's rows.
        centre: See `common_centre`.
        squares: See `centred_squares`.

    Returns:
        Indices and distances, as `nearest_neighbours` returns them.
    """
    indices = np.empty((len(queries), k), np.int64)
    distances = np.empty((len(queries), k), np.float32)
    for start in range(0, len(queries), _QUERY_BLOCK):
        block = queries[start : start + _QUERY_BLOCK]
        scores = _scores(centred(block, centre), gallery, centre, squares)
        lengths = squared_lengths(centred(block, centre))
        for place, (query, row, length) in enumerate(
            zip(block, scores, lengths, strict=True), start
        ):
            error = _ERROR * (squares + length)
            limit = np.partition(row + error, k - 1)[k - 1]
            candidates = np.flatnonzero(row - error <= limit)
            same = np.broadcast_to(query, (len(candidates), len(query)))
            squared = squared_differences(same, gallery, candidates)
            nearest = np.lexsort((candidates, squared))[:k]
            indices[place] = candidates[nearest]
            distances[place] = np.sqrt(squared[nearest])
    return indices, distances


def _scores(
    queries: np.ndarray, gallery: np.ndarray, centre: np.ndarray | None, squares: np.ndarray
) -> np.ndarray:
    """The squared distances without the queries' own squared lengths, float32 `(n, m)`."""
    scores = np.empty((len(queries), len(gallery)), np.float32)
    # Without a centre, in one product: threads wait for each other at the end of each product.
    for rows in [slice(None)] if centre is None else _blocks(gallery):
        np.matmul(queries, centred(gallery[rows], centre).T, out=scores[:, rows])
    scores *= -2
    scores += squares
    return scores


def _blocks(gallery: np.ndarray) -> Iterator[slice]:
    step = max(_BLOCK_VALUES // gallery.shape[1], 1)
    for start in range(0, len(gallery), step):
        yield slice(start, start + step)


def squared_differences(vectors: np.ndarray, gallery: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns the squared distance of each vector and its row of the gallery, float64 `(n,)`.

    Args:
        vectors: float32 `(n, dim)`.
        gallery: float32 `(m, dim)`; may be memory-mapped.
        rows: The row of each vector, int64 `(n,)`.
    """
    squared = np.empty(len(rows))
    for start in range(0, len(rows), _PAIR_BLOCK):
        some = slice(start, start + _PAIR_BLOCK)
        squared[some] = squared_lengths(gallery[rows[some]].astype(np.float64) - vectors[some])
    return squared
