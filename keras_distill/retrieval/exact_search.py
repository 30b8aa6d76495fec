"""Exact nearest-neighbour search, block by block."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from keras_distill.retrieval.direct_search import (
    centred,
    centred_squares,
    common_centre,
    direct_neighbours,
)
from keras_distill.retrieval.neighbours import without_own
from keras_distill.retrieval.vector_checks import (
    NOISE,
    UNSURE,
    checked_k,
    checked_vectors,
    squared_lengths,
)

_LARGEST_GROUP = 32


def nearest_neighbours(
    queries: np.ndarray,
    gallery: np.ndarray | None = None,
    *,
    k: int,
    leave_one_out: bool = False,
    query_block: int = 512,
    gallery_block: int = 32768,
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the k nearest gallery rows of each query by Euclidean distance.

    Of rows at the same distance, the lower index comes first. At no time does memory hold more than
    a `query_block x gallery_block` part of the distance matrix. Vectors may lie far from the origin
    and from each other: what float32 could not tell apart is computed by differences.

    Args:
        queries: float array `(n, dim)`.
        gallery: float array `(m, dim)`; `None` searches the queries themselves, each left out of
            its own neighbours.
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
    blocks = neighbour_blocks(
        queries,
        gallery,
        k=k,
        leave_one_out=leave_one_out,
        query_block=query_block,
        gallery_block=gallery_block,
    )
    for rows, *block in blocks:
        if not rows.start:  # only now it is known how many neighbours there are
            shape = (len(queries), block[0].shape[1])
            indices, distances = np.empty(shape, np.int64), np.empty(shape, np.float32)
        indices[rows], distances[rows] = block
    return indices, distances


def neighbour_blocks(
    queries: np.ndarray,
    gallery: np.ndarray | None = None,
    *,
    k: int,
    leave_one_out: bool = False,
    query_block: int = 512,
    gallery_block: int = 32768,
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Finds the same neighbours as `nearest_neighbours`, one block of queries at a time.

    Args:
        queries: See `nearest_neighbours`, also for the other arguments.
        gallery: See there.
        k: See there.
        leave_one_out: See there.
        query_block: See there.
        gallery_block: See there.

    Yields:
        The slice of the queries, and their indices and distances.

    Raises:
        InputError: As `nearest_neighbours` does.
    """
    leave_one_out |= gallery is None
    queries = checked_vectors("queries", queries)
    gallery = queries if gallery is None else checked_vectors("gallery", gallery)
    k = checked_k(queries, gallery, k, leave_one_out=leave_one_out)
    centre = common_centre(gallery)
    squares = centred_squares(gallery, centre)
    gallery_tensor = tf.constant(gallery)
    if centre is not None:
        gallery_tensor -= centre
    for start in range(0, len(queries), query_block):
        rows = slice(start, start + query_block)
        block = centred(queries[rows], centre)
        lengths = squared_lengths(block)
        found = _search_block(
            block, lengths, gallery_tensor, squares, k + leave_one_out, gallery_block
        )
        indices, distances = (tensor.numpy() for tensor in found)
        unsure = _unsure(queries[rows], gallery, lengths, indices, distances)
        if len(unsure):
            indices[unsure], distances[unsure] = direct_neighbours(
                queries[rows][unsure],
                gallery,
                k=indices.shape[1],
                centre=centre,
                squares=squares,
            )
        if leave_one_out:
            own = np.arange(len(queries))[rows]
            indices, distances = without_own(own, indices, distances)
        yield rows, indices, distances


def _unsure(
    queries: np.ndarray,
    gallery: np.ndarray,
    lengths: np.ndarray,
    indices: np.ndarray,
    distances: np.ndarray,
) -> np.ndarray:
    """The queries that have found rows so near, without being equal, that float32 cannot tell."""
    near, place = np.nonzero(np.square(distances) <= UNSURE * lengths[:, None])
    differ = (gallery[indices[near, place]] != queries[near]).any(1)
    return np.unique(near[differ])


@tf.function(
    input_signature=[
        tf.TensorSpec([None, None], tf.float32),
        tf.TensorSpec([None], tf.float32),
        tf.TensorSpec([None, None], tf.float32),
        tf.TensorSpec([None], tf.float32),
        tf.TensorSpec([], tf.int32),
        tf.TensorSpec([], tf.int32),
    ],
    autograph=False,  # which cannot convert loops on Python 3.13
)
def _search_block(
    queries: tf.Tensor,
    query_squares: tf.Tensor,
    gallery: tf.Tensor,
    gallery_squares: tf.Tensor,
    k: tf.Tensor,
    gallery_block: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Indices and distances of the k nearest of each query; squares are squared lengths.

    Rows are compared by their score |g|^2 - 2 q.g, the squared distance less |q|^2. Only
    rows of a block that can be among the k nearest are sorted.
    """
    query_squares = query_squares[:, None]
    least = (2 * NOISE - 1) * query_squares  # at distance 0, up to rounding: there |g| is |q|
    total = tf.shape(gallery)[0]

    def search(start: tf.Tensor, best: tf.Tensor, where: tf.Tensor) -> tuple[tf.Tensor, ...]:
        end = start + gallery_block
        products = tf.matmul(-2.0 * queries, gallery[start:end], transpose_b=True)
        score = tf.nn.bias_add(products, gallery_squares[start:end])
        limit = tf.concat([best[:, k - 1 :], _kth_bound(score, k)], 1)
        limit = tf.maximum(tf.reduce_min(limit, 1, keepdims=True), least)
        columns = _columns(score <= limit)
        score = tf.gather(score, tf.maximum(columns, 0), batch_dims=1)
        score = tf.where(columns < 0, np.inf, tf.maximum(score, least))
        # Lower indices stand first, so that top_k, which is stable, keeps them of a tie.
        score = tf.concat([best, score], 1)
        where = tf.concat([where, columns + tf.cast(start, tf.int64)], 1)
        best, chosen = tf.math.top_k(-score, tf.minimum(k, tf.shape(score)[1]))
        return end, -best, tf.gather(where, chosen, batch_dims=1)

    open_shape = tf.TensorShape([None, None])
    nothing = tf.zeros([tf.shape(queries)[0], 0])
    _, best, where = tf.while_loop(
        lambda start, *_: start < total,
        search,
        (tf.constant(0), nothing, tf.cast(nothing, tf.int64)),
        shape_invariants=(tf.TensorShape([]), open_shape, open_shape),
    )
    return where, tf.sqrt(tf.where(best <= least, 0.0, best + query_squares))


def _kth_bound(score: tf.Tensor, k: tf.Tensor) -> tf.Tensor:
    """An upper bound of each row's k-th smallest score, `(n, 1)`; `(n, 0)` if there are fewer.

    This is the k-th smallest of the minima of groups of columns. It costs far less than the k-th
    smallest score itself, and hardly more scores lie below it. Neighbouring columns, often of one
    class, are in different groups.
    """
    rows, width = tf.unstack(tf.shape(score))

    def bound() -> tf.Tensor:
        size = tf.clip_by_value(width // (4 * k), 1, _LARGEST_GROUP)
        groups = width // size
        minima = tf.reduce_min(tf.reshape(score[:, : size * groups], [rows, size, groups]), 1)
        return tf.raw_ops.NthElement(input=minima, n=k - 1)[:, None]

    return tf.cond(width < k, lambda: tf.zeros([rows, 0]), bound)


def _columns(chosen: tf.Tensor) -> tf.Tensor:
    """The columns that are chosen in each row, ascending, int64; -1 where others have more."""
    places = tf.where(chosen)
    rows = tf.shape(chosen, tf.int64)[0]
    ragged = tf.RaggedTensor.from_value_rowids(places[:, 1], places[:, 0], rows, validate=False)
    return ragged.to_tensor(-1)
