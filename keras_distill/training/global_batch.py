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
    return tf.nest.map_structure(
        lambda value: None if value is None else context.all_gather(value, axis=0), values
    )
