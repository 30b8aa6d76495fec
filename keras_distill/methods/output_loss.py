"""Loss of a product's output on the rows of all replicas."""

from typing import Any

import keras
import tensorflow as tf

from keras_distill.losses.task_loss import TaskLoss


def output_loss(
    loss: keras.losses.Loss, targets: Any, outputs: Any, sample_weight: Any = None
) -> Any:
    """Computes a loss on rows that were put together by `gather_replicas`.

    A loss of Keras takes the rows that it sees for those of one replica, and divides a mean by the
    number of replicas. A loss with a method `batch_loss` does not.

    Args:
        loss: The loss.
        targets: Targets of all rows.
        outputs: Outputs for them.
        sample_weight: Weights `(batch,)`, or `None`.

    Returns:
        Scalar float32 tensor, the same on each replica as on one device with the whole batch.
    """
    if isinstance(loss, TaskLoss):
        return loss(targets, outputs, sample_weight)
    if hasattr(loss, "batch_loss"):
        return loss.batch_loss(targets, outputs, sample_weight)
    value = loss(targets, outputs, sample_weight)
    is_keras_mean = loss.reduction != "sum" and type(loss).__call__ is keras.losses.Loss.__call__
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    return value * replicas if is_keras_mean and replicas > 1 else value
