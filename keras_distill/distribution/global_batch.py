"""Global batch: the rows of all replicas, on each of them."""

from typing import Any

import tensorflow as tf


def gather_replicas(values: Any) -> Any:
    """Concatenates the rows of all replicas, in the order of the replicas.

    The result is the same on each replica. If every replica computes a loss from it and divides the
    loss by the number of replicas, the gradients that the optimiser adds up equal the gradient of
    one device with the whole batch: the gradient of gathering adds up, for each row, the gradients
    of all replicas.

    Args:
        values: Tensors `(rows, ...)` or `None`, in lists, tuples and dicts; replicas may differ in
            the number of rows only.

    Returns:
        The same with tensors `(rows of all replicas, ...)`; `values` if there is one replica.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return values
    place = context.replica_id_in_sync_group
    rows = tf.shape(next(v for v in tf.nest.flatten(values) if v is not None))[0]
    # A sum, in which each replica has its rows in their place among zeros: all_gather does not work
    # with several workers of one device each.
    counts = tf.one_hot(place, context.num_replicas_in_sync) * tf.cast(rows, tf.float32)
    ends = tf.cumsum(tf.cast(context.all_reduce(tf.distribute.ReduceOp.SUM, counts), tf.int32))
    around = [[ends[place] - rows, ends[-1] - ends[place]]]

    def gather(value: Any) -> Any:
        if value is None:
            return None
        padded = tf.pad(value, around + [[0, 0]] * (len(value.shape) - 1))
        return context.all_reduce(tf.distribute.ReduceOp.SUM, padded)

    return tf.nest.map_structure(gather, values)


def add_replicas(value: Any) -> Any:
    """Returns the sum of a scalar over the replicas, on each of them."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def mean_over_replicas(mean: Any, rows: Any, all_rows: Any) -> tuple[Any, Any]:
    """Prepares a mean over the rows of a replica, where each replica keeps its own rows.

    Args:
        mean: Scalar, the mean over the rows of this replica.
        rows: Number of rows of this replica.
        all_rows: Number of the rows of all replicas.

    Returns:
        A value whose sum over the replicas is the number of replicas times the mean over all rows,
        as for any loss that is divided by the number of replicas; and that mean, without gradient.
    """
    share = tf.cast(rows, tf.float32) / tf.cast(all_rows, tf.float32)
    value = share * mean
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    return replicas * value, add_replicas(tf.stop_gradient(value))


def require_rows(images: Any) -> Any:
    """Returns images `(rows, ...)`, and fails in the graph if a replica has no rows of a batch.

    Without rows there is nothing to learn, and batch normalisations would average nothing to NaN.

    Args:
        images: The images.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    check = tf.debugging.assert_positive(
        tf.shape(images)[0],
        "a training batch has no images"
        + (
            "; give batches that hold some."
            if replicas == 1
            else f" for one of {replicas} replicas; give batches of at least {replicas} rows, for "
            "example with drop_remainder=True."
        ),
    )
    with tf.control_dependencies([] if check is None else [check]):  # None in eager mode
        return tf.identity(images)


def averageable(logs: dict[str, Any]) -> dict[str, Any]:
    """Prepares the logs of a step on one replica for Keras, which takes their mean.

    Args:
        logs: Scalars by name.

    Returns:
        The same; with several workers tensors `(1,)`, because Keras then reduces the first axis.
    """
    strategy = tf.distribute.get_strategy()
    resolver = getattr(strategy, "cluster_resolver", None)
    if resolver is None or not resolver.cluster_spec():
        return logs
    return {name: tf.reshape(value, (1,)) for name, value in logs.items()}
