"""Matrix of Euclidean distances, from which every loss on pairs starts."""

from typing import Any

from keras import ops

_FLOOR = 1e-12  # of a squared distance, as in the reference; keeps the root's gradient finite


def pairwise_distances(embeddings: Any, ref_embeddings: Any = None) -> Any:
    """Euclidean distances between all rows of two sets of embeddings.

    `d_ij = sqrt(max(|a_i|^2 + |b_j|^2 - 2 a_i.b_j, 1e-12))`. Within one set the diagonal is set to
    the 1e-6 that this formula gives in exact arithmetic, with gradient 0: in float32 it would be
    rounding noise of up to 6e-4.

    Args:
        embeddings: Tensor `(n, dim)`.
        ref_embeddings: Tensor `(m, dim)`, or `None` for the distances within `embeddings`.

    Returns:
        float32 tensor `(n, m)`; `(n, n)` without `ref_embeddings`.
    """
    rows = ops.cast(embeddings, "float32")
    columns = rows if ref_embeddings is None else ops.cast(ref_embeddings, "float32")
    squared = (
        ops.sum(ops.square(rows), axis=1, keepdims=True)
        + ops.transpose(ops.sum(ops.square(columns), axis=1, keepdims=True))
        - 2.0 * ops.matmul(rows, ops.transpose(columns))
    )
    if ref_embeddings is None:
        same = ops.eye(ops.shape(rows)[0], dtype="bool")
        squared = ops.where(same, _FLOOR, squared)
    return ops.sqrt(ops.maximum(squared, _FLOOR))
