"""Checks of the arguments and batches of a `Supervised`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_distill.errors import InputError
from keras_distill.losses.keras_distillation import is_keras_distillation
from keras_distill.losses.task_loss import TaskLoss
from keras_distill.losses.teacher_loss import TeacherLoss
from keras_distill.models.product import by_name


def check_product(product: Any) -> dict[str, tuple[Any, ...]]:
    """Checks that a product is a functional model with named outputs.

    Args:
        product: The product.

    Returns:
        The shapes of its outputs by name.

    Raises:
        InputError: If it is not.
    """
    if not isinstance(product, keras.Model):
        raise InputError(
            f"`product={product!r}` is not a Keras model; give one such as build_classifier(...), "
            "or load it first, with keras.models.load_model."
        )
    outputs = by_name(product.output) if getattr(product, "inputs", None) else None
    if outputs is None:
        raise InputError(
            f"`product` {product.name!r} has no named outputs; it must be a functional model that "
            "returns a dict of outputs by name, such as {'logits': ...}, or a single vector, which "
            "is its 'embedding'."
        )
    return {name: tuple(tensor.shape) for name, tensor in outputs.items()}


def check_streams(
    streams: Any, losses: Any, outputs: Mapping[str, tuple[Any, ...]]
) -> dict[str, str]:
    """Checks the streams of a `Supervised`.

    Args:
        streams: As of `Supervised`.
        losses: As there.
        outputs: The shapes of the product's outputs by name.

    Returns:
        The output of each stream, by its name.

    Raises:
        InputError: If a stream has no loss, the name of an output, or an output that is unknown.
    """
    if streams is None:
        return {}
    if not isinstance(streams, Mapping):
        raise InputError(
            f"`streams={streams!r}` must be a dict from the name of a loss to an output."
        )
    for name, output in streams.items():
        if output not in outputs or name in outputs:
            raise InputError(
                f"`streams={dict(streams)!r}`: {name!r} must be a name of its own, of a loss on "
                f"one of the product's outputs, {', '.join(outputs)}."
            )
        if name not in losses:
            raise InputError(
                f"`streams` names {name!r}, but `losses` has no such loss; it has "
                f"{', '.join(losses)}."
            )
    return dict(streams)


def check_losses(
    losses: Any, teacher_losses: Any, teacher: Any, outputs: Mapping[str, tuple[Any, ...]]
) -> None:
    """Checks the losses of a `Supervised`.

    Args:
        losses: As of `Supervised`.
        teacher_losses: As there.
        teacher: As there.
        outputs: The shapes of the product's outputs by name.

    Raises:
        InputError: If they are of another kind, or name other outputs.
    """
    for argument, value in (("losses", losses), ("teacher_losses", teacher_losses or {})):
        if not isinstance(value, Mapping):
            raise InputError(
                f"`{argument}` must be a dict by the names of the product's outputs, "
                f"{', '.join(outputs)}."
            )
        if unknown := [str(name) for name in value if name not in outputs]:
            raise InputError(
                f"`{argument}` names {', '.join(unknown)}, but the product returns "
                f"{', '.join(outputs)}."
            )
    if not losses and not teacher_losses:
        raise InputError("Supervised needs `losses`, or `teacher_losses`, or both.")
    if teacher is not None and not teacher_losses:
        raise InputError(
            "`teacher` is given, but no `teacher_losses`: it would teach nothing. Give "
            "`teacher_losses={'logits': [LabelDistillation()]}`, or leave `teacher` out."
        )
    for output, loss in losses.items():
        _check_loss(output, loss, outputs[output])
    for output, own in (teacher_losses or {}).items():
        _check_teacher_losses(output, own)


def _check_loss(output: str, loss: Any, shape: tuple[Any, ...]) -> None:
    argument = f"losses[{output!r}]"
    if not isinstance(loss, keras.losses.Loss) or isinstance(loss, TeacherLoss):
        raise InputError(
            f"`{argument}` is {loss!r}, not a loss on targets and outputs; give an object such as "
            "keras.losses.BinaryCrossentropy(from_logits=True)."
        )
    if loss.reduction in (None, "none") and not hasattr(loss, "batch_loss"):
        raise InputError(
            f"`{argument}`: {loss.name} has no reduction, so that it gives no single number; give "
            "it the one of Keras, 'sum_over_batch_size', or 'sum'."
        )
    if isinstance(loss, TaskLoss) and (
        len(shape) != 2 or loss.teacher is not None or loss.student_layer
    ):
        raise InputError(
            f"`{argument}`: {loss.name} needs more than an output (batch, dim); train it by "
            "Distiller."
        )


def _check_teacher_losses(output: str, losses: Any) -> None:
    if isinstance(losses, str | Mapping) or not isinstance(losses, Sequence):
        raise InputError(
            f"`teacher_losses[{output!r}]` must be a list of losses, such as [LabelDistillation()]."
        )
    for loss in losses:
        if not (isinstance(loss, TeacherLoss) or is_keras_distillation(loss)):
            raise InputError(
                f"`teacher_losses[{output!r}]` holds {loss!r}, which is not a loss against a "
                "teacher's output; give objects such as LabelDistillation()."
            )
        if getattr(loss, "needs_unnormalised", False):
            raise InputError(
                f"`teacher_losses[{output!r}]`: {loss.name} compares vectors before their unit "
                "norm; train it by Distiller."
            )


def term_weights(names: Sequence[str], weights: Any) -> dict[str, float]:
    """Reads the weights of the losses; 1 for those left out.

    Args:
        names: Names under which the losses are reported.
        weights: Weights by name, or `None`.

    Returns:
        The weight of each name.

    Raises:
        InputError: If there is no such loss, or a weight is no finite number.
    """
    if weights is None:
        return dict.fromkeys(names, 1.0)
    if not isinstance(weights, Mapping) or set(weights) - set(names):
        raise InputError(
            f"`loss_weights={weights!r}` must be a dict of numbers by the names of the losses, "
            f"{', '.join(names)}."
        )
    for name, weight in weights.items():
        if not isinstance(weight, int | float) or not math.isfinite(weight):
            raise InputError(f"`loss_weights[{name!r}]={weight!r}` must be a finite number.")
    return {name: float(weights.get(name, 1.0)) for name in names}


def check_targets(targets: Mapping[str, Any], losses: Mapping[str, Any]) -> None:
    """Checks that a batch has targets of each loss.

    Args:
        targets: Targets by output.
        losses: Losses by output.

    Raises:
        InputError: If some are missing.
    """
    missing = [name for name in losses if targets.get(name) is None]
    if missing:
        raise InputError(
            f"the batches have no targets of {', '.join(missing)}; give fit a dict of targets by "
            f"output, {{{', '.join(f'{name!r}: ...' for name in losses)}}}, or a single tensor if "
            "there is one loss."
        )
