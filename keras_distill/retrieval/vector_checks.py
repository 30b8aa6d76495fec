"""Checks of vectors before a search."""

import numpy as np

from keras_distill.errors import InputError

#: Squared distances below this share of |q|^2 + |g|^2 are rounding noise of float32 and count as 0.
NOISE = 4 * float(np.finfo(np.float32).eps)
#: Below this share they are wrong by more than a thousandth.
UNSURE = 1_000 * NOISE
# Squared distances are up to four times a squared length.
_LONGEST = float(np.finfo(np.float32).max) / 8


def checked_vectors(name: str, vectors: np.ndarray) -> np.ndarray:
    """Returns vectors as float32.

    Args:
        name: Name of the argument that holds them.
        vectors: float array `(n, dim)`.

    Returns:
        The same values, float32.

    Raises:
        InputError: If they are not two-dimensional, not finite, or so large that squared distances
            would not be finite.
    """
    vectors = np.asarray(vectors, np.float32)
    if vectors.ndim != 2:
        raise InputError(f"`{name}` has the shape {vectors.shape}; it must be (n, dim).")
    if not (squared_lengths(vectors) < _LONGEST).all():
        fault = "too large" if np.isfinite(vectors).all() else "not finite"
        raise InputError(f"`{name}` holds values that are {fault}; check how it was embedded.")
    return vectors


def squared_lengths(vectors: np.ndarray) -> np.ndarray:
    """Returns the squared length of each row of `(n, dim)`, `(n,)`."""
    return np.einsum("nd,nd->n", vectors, vectors)


def checked_k(queries: np.ndarray, gallery: np.ndarray, k: int, *, leave_one_out: bool) -> int:
    """Checks k, and limits it to the neighbours that each query can have.

    Args:
        queries: float array `(n, dim)`.
        gallery: float array `(m, dim)`.
        k: Wanted number of neighbours.
        leave_one_out: Whether gallery row i is left out of the neighbours of query i.

    Returns:
        `k`, or fewer if the gallery has fewer.

    Raises:
        InputError: If `k` is not positive, the arrays do not fit each other, or there is nothing to
            search.
    """
    if queries.shape[1] != gallery.shape[1]:
        raise InputError(
            f"`queries` has width {queries.shape[1]}, `gallery` {gallery.shape[1]}; both must come "
            "from the same embedding space."
        )
    if leave_one_out and len(queries) != len(gallery):
        raise InputError(
            f"`leave_one_out=True` needs one gallery row for each query; there are {len(queries)} "
            f"queries and {len(gallery)} gallery rows."
        )
    if k < 1:
        raise InputError(f"`k={k}` must be at least 1.")
    if not len(queries) or len(gallery) <= leave_one_out:
        own = ", each query's own left out" if leave_one_out else ""
        raise InputError(
            f"there is nothing to search: {len(queries)} queries, {len(gallery)} gallery rows{own}."
        )
    return min(k, len(gallery) - leave_one_out)
