"""Losses of `keras.distillation` as teacher losses."""

import re
from typing import Any

import keras

from keras_distill.errors import InputError
from keras_distill.losses.teacher_loss import TeacherLoss


@keras.saving.register_keras_serializable("keras_distill")
class KerasTeacherLoss(TeacherLoss):
    """A loss of `keras.distillation` on the embeddings of teacher and student.

    `Distiller` wraps each such loss that it is given; wrap it yourself only to give it a name.
    `FeatureDistillation` without layers compares the embeddings as they are, `LogitsDistillation`
    as logits, and a subclass of `DistillationLoss` as its `compute_loss` does. The losses of Keras
    need equal widths, or a `student_projection`; a subclass says so by an attribute
    `needs_equal_widths`. None has a value for each row, so there are no sample weights.

    Args:
        loss: The loss.
        name: Name under which the value is reported; by default the name of the class, such as
            `"logits_distillation"`.

    Raises:
        InputError: If it is not such a loss, or needs more than the embeddings.

    Example:
        >>> import keras
        >>> loss = KerasTeacherLoss(keras.distillation.FeatureDistillation("mse"), name="mse")
        >>> float(loss([[1.0, 0.0]], [[0.0, 1.0]]))
        1.0
    """

    reductions = ("mean",)

    def __init__(self, loss: Any, name: str | None = None):
        if not is_keras_distillation(loss):
            raise InputError(f"`loss={loss!r}` is not a loss of keras.distillation.")
        kind = type(loss).__name__
        layers = [getattr(loss, f"{side}_layer_name", None) for side in ("teacher", "student")]
        if any(layers):
            raise InputError(
                f"{kind} compares the layers {layers[0]!r} and {layers[1]!r}, but it receives the "
                "embeddings alone; leave `teacher_layer_name` and `student_layer_name` out, or "
                "compare feature maps by Hint or AttentionMaps."
            )
        if isinstance(getattr(loss, "loss", None), dict | list | tuple):
            raise InputError(
                f"{kind} has losses for several outputs, but a student has one; give it a single "
                "loss, such as loss='mse'."
            )
        logits = isinstance(loss, keras.distillation.LogitsDistillation)
        if logits and loss.loss is keras.losses.kl_divergence:
            # Keras takes the softmax only for an object, not for the function of that name.
            raise InputError(
                f"{kind}(loss='kl_divergence'), the default, treats logits as probabilities in "
                f"Keras {keras.__version__}; give it loss=keras.losses.KLDivergence()."
            )
        super().__init__("mean", name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower())
        self.loss = loss
        of_keras = keras.distillation.FeatureDistillation, keras.distillation.LogitsDistillation
        self.needs_equal_widths = getattr(loss, "needs_equal_widths", isinstance(loss, of_keras))

    def call(self, teacher_outputs: Any, student_outputs: Any, sample_weight: Any = None) -> Any:
        """Computes the scalar loss; see the base class."""
        if sample_weight is not None:
            raise InputError(
                f"{self.name}: losses of keras.distillation have one value for a batch; give no "
                "`sample_weight`, or use a loss of keras_distill."
            )
        self.loss.validate_outputs(teacher_outputs, student_outputs)
        value = self.loss.compute_loss(teacher_outputs, student_outputs)
        if getattr(value, "shape", None) != ():
            raise InputError(
                f"{self.name}: compute_loss returns a {type(value).__name__} of shape "
                f"{getattr(value, 'shape', 'unknown')}; it must return a scalar, such as "
                "keras.ops.mean(...)."
            )
        return keras.ops.cast(value, "float32")

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {"loss": keras.saving.serialize_keras_object(self.loss), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "KerasTeacherLoss":
        """Rebuilds the loss from `get_config()`."""
        return cls(keras.saving.deserialize_keras_object(config["loss"]), config["name"])


def is_keras_distillation(loss: Any) -> bool:
    """Tells whether a loss is one of `keras.distillation`."""
    return isinstance(loss, keras.distillation.DistillationLoss)


def as_teacher_loss(loss: Any) -> Any:
    """Wraps a loss of `keras.distillation`; returns any other one as it is."""
    return KerasTeacherLoss(loss) if is_keras_distillation(loss) else loss
