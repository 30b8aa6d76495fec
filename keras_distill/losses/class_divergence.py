"""Divergence of two distributions over classes that are given by logits."""

from typing import Any

from keras import ops

from keras_distill.errors import InputError


def class_divergence(teacher_logits: Any, student_logits: Any, temperature: float) -> Any:
    """Computes `T^2 KL(softmax(teacher / T) || softmax(student / T))` of each row.

    `T^2` keeps the gradient at the same scale for any temperature ("Distilling the Knowledge in a
    Neural Network", 2015, arXiv 1503.02531). Logits of any size give finite values.

    Args:
        teacher_logits: float32 tensor `(batch, classes)`.
        student_logits: float32 tensor `(batch, classes)`.
        temperature: `T`.

    Returns:
        float32 tensor `(batch,)`.
    """
    p = ops.log_softmax(teacher_logits / temperature, axis=-1)
    q = ops.log_softmax(student_logits / temperature, axis=-1)
    return temperature**2 * ops.sum(ops.exp(p) * (p - q), axis=-1)


def checked_temperature(owner: str, temperature: float) -> float:
    """Returns a temperature.

    Args:
        owner: What messages call the loss.
        temperature: The temperature.

    Raises:
        InputError: If it is not positive.
    """
    if not 0 < temperature < float("inf"):
        raise InputError(f"{owner}: `temperature={temperature}` must be positive, such as 4.")
    return temperature
