"""The batch of all replicas together, on each of them."""

from typing import Any

import tensorflow as tf


def gather_replicas(values: Any) -> Any:
    """Puts the rows of all replicas below each other, those of the first replica first.

    On each replica the result is the same. A loss of it that every replica divides by the number of
    replicas has the gradient of one device with the whole batch, once the optimiser has added up
    the gradients of the replicas: the gradient of gathering adds up what all replicas want of a
    row.

    Args:
        values: Tensors `(rows, ...)`, `None` among them or not, in lists, tuples and dicts; all
            replicas have the same but for the number of rows.

    Returns:
        The same with tensors `(rows of all replicas, ...)`; where there is one replica, `values`.
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
    """Prepares a mean over the rows of a replica, where each keeps its own.

    Args:
        mean: Scalar, the mean over the rows of this replica.
        rows: Number of these.
        all_rows: Number of the rows of all replicas.

    Returns:
        What adds up, over the replicas, to the number of replicas times the mean over all rows, as
        a loss that is divided by the number of replicas must; and that mean, without a gradient.
    """
    share = tf.cast(rows, tf.float32) / tf.cast(all_rows, tf.float32)
    value = share * mean
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    return replicas * value, add_replicas(tf.stop_gradient(value))


def require_rows(images: Any, called: str) -> Any:
    """Returns images `(rows, ...)`, and fails in the graph where a replica has none of a batch.

    Without rows there is nothing to learn, and batch normalisations would average nothing to NaN.

    Args:
        images: The images.
        called: What the message calls the model that is trained.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    check = tf.debugging.assert_positive(
        tf.shape(images)[0],
        f"{called}: a training batch has no images"
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
        The same; with several workers tensors `(1,)`, for Keras then reduces their first axis.
    """
    strategy = tf.distribute.get_strategy()
    resolver = getattr(strategy, "cluster_resolver", None)
    if resolver is None or not resolver.cluster_spec():
        return logs
    return {name: tf.reshape(value, (1,)) for name, value in logs.items()}
