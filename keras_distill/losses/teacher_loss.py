"""Base class of the losses that compare a student with its teacher."""

from typing import Any

import keras
from keras import ops


class TeacherLoss(keras.losses.Loss):
    """Base class of the losses on `(teacher_outputs, student_outputs)`.

    A subclass implements `call`. Everything is computed in float32 whatever the dtype policy,
    and no gradient flows into the teacher.

    Args:
        reduction: Reduction of the entries; each loss documents the names it accepts.
        name: Name under which the value is reported.

    Attributes:
        layer: Holds the variables of the loss itself, or `None`. The model that uses the loss
            calls `build`, tracks the layer and calls `update` after each training step.
    """

    layer: keras.Layer | None = None
    reductions: tuple[str, ...] = ("mean", "sum")
    needs_equal_widths = False  # whether teacher and student must lie in the same space
    needs_unnormalised = False  # whether the student's vectors are compared before their unit norm
    needs_rows = False  # whether it needs the number of each row's image, as `rows`

    def __init__(self, reduction: str = "mean", name: str | None = None):
        if reduction not in self.reductions:
            raise ValueError(
                f"{type(self).__name__}: `reduction={reduction!r}` is not one of "
                f"{', '.join(map(repr, self.reductions))}."
            )
        # Keras' own reductions end at "mean"; ours are applied by `call`.
        super().__init__(name=name, reduction="none", dtype="float32")
        self.reduction = reduction

    def __call__(
        self,
        teacher_outputs: Any,
        student_outputs: Any,
        sample_weight: Any = None,
        **others: Any,
    ) -> Any:
        """Computes the loss of one batch.

        Args:
            teacher_outputs: Tensor `(batch, teacher_dim)`.
            student_outputs: Tensor `(batch, student_dim)`.
            sample_weight: Optional tensor `(batch,)`.
            **others: What the loss needs besides: `rows`, if `needs_rows`.

        Returns:
            Scalar float32 tensor.
        """
        with keras.name_scope(self.name):
            teacher_outputs = ops.stop_gradient(ops.cast(teacher_outputs, "float32"))
            student_outputs = ops.cast(student_outputs, "float32")
            if sample_weight is not None:
                sample_weight = ops.cast(ops.reshape(sample_weight, (-1,)), "float32")
            self._check_widths(teacher_outputs.shape[-1], student_outputs.shape[-1])
            return self.call(teacher_outputs, student_outputs, sample_weight, **others)

    def _check_widths(self, teacher: int, student: int) -> None:
        if self.needs_equal_widths and teacher != student:
            raise ValueError(
                f"{self.name}: the teacher's embedding has width {teacher}, the student's "
                f"{student}, but both must lie in one space. Build the student with "
                f"`embedding_dim={teacher}`, give Distiller a `student_projection`, or use "
                "RelativeTeacher, which compares distances and takes any widths."
            )

    def call(self, teacher_outputs: Any, student_outputs: Any, sample_weight: Any = None) -> Any:
        """Computes the scalar loss; arguments as in `__call__`, already float32."""
        raise ValueError(f"{type(self).__name__} must implement call().")

    def build(self, teacher_dim: int | None, student_dim: int) -> None:
        """Creates the variables of `layer`, if there is one.

        Args:
            teacher_dim: Width of the teacher's embedding; `None` if it is not known. It is known if
                the loss needs equal widths.
            student_dim: Width of the student's, projected into the teacher's space if the loss
                needs that.
        """
        if self.layer is not None and not self.layer.built:
            self.layer.build((None, teacher_dim))

    def update(self, teacher_outputs: Any, sample_weight: Any = None) -> None:
        """Called with a training batch after its loss has been computed; does nothing by default.

        Args:
            teacher_outputs: Tensor `(batch, teacher_dim)`.
            sample_weight: Optional tensor `(batch,)`.
        """
        return None  # AutoGraph cannot convert a function without statements

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {"reduction": self.reduction, "name": self.name}

    def _check_built(self) -> None:
        if self.layer is None or not self.layer.built:
            raise ValueError(
                f"{self.name}: {type(self).__name__} has variables of its own, which a model must "
                "track to save them: give it to Distiller(teacher_losses=[...]), or call "
                "build(teacher_dim, student_dim), assign its `layer` to your model, and call "
                "update(teacher_outputs) after each training step."
            )
