"""What every search expects of its vectors."""

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
        name: What an error message should call them.
        vectors: float array `(n, dim)`.

    Returns:
        The same values, float32.

    Raises:
        InputError: If they are not finite, so large that squared distances were not, or not
            two-dimensional.
    """
    vectors = np.asarray(vectors, np.float32)
    if vectors.ndim != 2:
        raise InputError(f"{name} has the shape {vectors.shape}; it must be (n, dim).")
    if not (squared_lengths(vectors) < _LONGEST).all():
        fault = "too large" if np.isfinite(vectors).all() else "not finite"
        raise InputError(f"{name} holds values that are {fault}; check how it was embedded.")
    return vectors


def squared_lengths(vectors: np.ndarray) -> np.ndarray:
    """Returns the squared length of each row of `(n, dim)`, `(n,)`."""
    return np.einsum("nd,nd->n", vectors, vectors)


def checked_k(queries: np.ndarray, gallery: np.ndarray, k: int, *, leave_one_out: bool) -> int:
    """Returns how many neighbours each query can have.

    Args:
        queries: float array `(n, dim)`.
        gallery: float array `(m, dim)`.
        k: How many are asked for.
        leave_one_out: Whether row i of the gallery is no neighbour of query i.

    Returns:
        `k`, or fewer if the gallery has fewer.

    Raises:
        InputError: If the arrays do not fit each other, or there is nothing to search.
    """
    if queries.shape[1] != gallery.shape[1]:
        raise InputError(
            f"queries have width {queries.shape[1]}, the gallery {gallery.shape[1]}; both must "
            "come from the same embedding space."
        )
    if leave_one_out and len(queries) != len(gallery):
        raise InputError(
            f"leave_one_out needs one gallery row for each query; there are {len(queries)} queries "
            f"and {len(gallery)} gallery rows."
        )
    k = min(k, len(gallery) - leave_one_out)
    if k < 1 or not len(queries):
        raise InputError(
            f"there is nothing to search: k={k}, {len(queries)} queries, {len(gallery)} gallery "
            "rows."
        )
    return k
