"""Exact nearest neighbours, block by block."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from keras_distill.retrieval.vector_checks import NOISE, checked_k, checked_vectors


def nearest_neighbours(
    queries: np.ndarray,
    gallery: np.ndarray | None = None,
    *,
    k: int,
    leave_one_out: bool = False,
    query_block: int = 1024,
    gallery_block: int = 8192,
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the k nearest gallery rows of each query by Euclidean distance.

    Of rows at the same distance, the lower index comes first. At no time is more than a
    `query_block x gallery_block` part of the distance matrix in memory.

    Args:
        queries: float array `(n, dim)`.
        gallery: float array `(m, dim)`; `None` for the queries themselves, each left out of its
            own neighbours.
        k: Number of neighbours; fewer are returned if the gallery has fewer.
        leave_one_out: Whether gallery row i is left out of the neighbours of query i too.
        query_block: Queries handled at once.
        gallery_block: Gallery rows handled at once.

    Returns:
        Indices, int64 `(n, k)`, and distances, float32 `(n, k)`, nearest first.

    Raises:
        InputError: If the arrays are not finite, not two-dimensional or of different width.

    Example:
        >>> indices, distances = nearest_neighbours(np.array([[0.0], [1.0], [3.0]]), k=1)
        >>> indices[:, 0]
        array([1, 0, 1])
    """
    blocks = [
        block
        for _, *block in neighbour_blocks(
            queries,
            gallery,
            k=k,
            leave_one_out=leave_one_out,
            query_block=query_block,
            gallery_block=gallery_block,
        )
    ]
    indices, distances = zip(*blocks, strict=True)
    return np.concatenate(indices), np.concatenate(distances)


def neighbour_blocks(
    queries: np.ndarray,
    gallery: np.ndarray | None = None,
    *,
    k: int,
    leave_one_out: bool = False,
    query_block: int = 1024,
    gallery_block: int = 8192,
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Finds the same neighbours as `nearest_neighbours`, one block of queries at a time.

    Args:
        queries: As there, as are the other arguments.
        gallery: As there.
        k: As there.
        leave_one_out: As there.
        query_block: As there.
        gallery_block: As there.

    Yields:
        The slice of the queries, and their indices and distances.

    Raises:
        InputError: As there.
    """
    leave_one_out |= gallery is None
    queries = checked_vectors("queries", queries)
    gallery = queries if gallery is None else checked_vectors("gallery", gallery)
    k = checked_k(queries, gallery, k, leave_one_out=leave_one_out)
    gallery_tensor = tf.constant(gallery)
    for start in range(0, len(queries), query_block):
        rows = slice(start, start + query_block)
        first = start if leave_one_out else -len(queries) - 1
        nearest, indices = _search_block(
            queries[rows], gallery_tensor, first, k, max(gallery_block, k)
        )
        yield rows, indices.numpy(), tf.sqrt(-nearest).numpy()


@tf.function(
    input_signature=[
        tf.TensorSpec([None, None], tf.float32),
        tf.TensorSpec([None, None], tf.float32),
        tf.TensorSpec([], tf.int64),
        tf.TensorSpec([], tf.int32),
        tf.TensorSpec([], tf.int32),
    ],
    autograph=False,  # which cannot convert loops on Python 3.13
)
def _search_block(
    queries: tf.Tensor, gallery: tf.Tensor, first: tf.Tensor, k: tf.Tensor, gallery_block: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Negated squared distances and indices of the k nearest; row i is gallery row first + i."""
    rows = tf.shape(queries)[0]
    own = first + tf.range(tf.cast(rows, tf.int64), dtype=tf.int64)
    norms = tf.reduce_sum(tf.square(queries), 1, keepdims=True)
    best = tf.fill([rows, k], -np.inf)
    where = tf.fill([rows, k], tf.constant(-1, tf.int64))
    total = tf.shape(gallery)[0]

    def search(start: tf.Tensor, best: tf.Tensor, where: tf.Tensor) -> tuple[tf.Tensor, ...]:
        block = gallery[start : start + gallery_block]
        ids = tf.cast(start, tf.int64) + tf.range(tf.shape(block, tf.int64)[0], dtype=tf.int64)
        scale = norms + tf.reduce_sum(tf.square(block), 1)[None, :]
        squared = scale - 2.0 * tf.matmul(queries, block, transpose_b=True)
        squared = tf.where(squared < NOISE * scale, 0.0, squared)
        score = tf.where(ids[None, :] == own[:, None], -np.inf, -squared)
        # Earlier rows stand first, so that top_k, which is stable, keeps the lower index of a tie.
        merged = tf.concat([best, score], 1)
        merged_ids = tf.concat([where, tf.tile(ids[None, :], [rows, 1])], 1)
        best, chosen = tf.math.top_k(merged, k)
        return start + gallery_block, best, tf.gather(merged_ids, chosen, batch_dims=1)

    open_shape = tf.TensorShape([None, None])
    _, best, where = tf.while_loop(
        lambda start, *_: start < total,
        search,
        (tf.constant(0), best, where),
        shape_invariants=(tf.TensorShape([]), open_shape, open_shape),
    )
    return best, where
