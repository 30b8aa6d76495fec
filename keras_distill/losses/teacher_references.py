"""Task losses that compare a student's embeddings with those of its teacher."""

from typing import Any

import keras
from keras import ops

from keras_distill.losses.task_loss import TaskLoss
from keras_distill.losses.unit_rows import unit_rows
from keras_distill.losses.wrapped_loss import WrappedLoss


@keras.saving.register_keras_serializable("keras_distill")
class TeacherReferences(WrappedLoss):
    """Gives a loss on labels the teacher's embeddings of the batch to compare the student's with.

    `L = loss(s; t)`, or `loss(s; t) + loss(s)` with `and_batch`: anchors are the student's
    embeddings `s`, positives and negatives the teacher's, `t / |t|`, without gradient. With
    `BatchHardTriplet` it is an asymmetric triplet loss, `mean_i max(0, max_{y_j = y_i} |s_i - t_j|
    - min_{y_j != y_i} |s_i - t_j| + margin)` (Budnik & Avrithis, "Asymmetric metric learning for
    knowledge transfer", CVPR 2021, arXiv 2006.16331), where the teacher's embedding of the same
    image is a positive too. It makes the student's queries work in an index of the teacher's, so
    both embeddings need one width.

    Args:
        loss: A loss that takes references.
        teacher: Name of the teacher, if there are several.
        and_batch: Whether the student's embeddings are compared with each other too.
        name: Name under which the value is reported; by default the name of `loss`.

    Raises:
        ValueError: If the loss takes no references.

    Example:
        >>> from keras_distill import BatchHardTriplet
        >>> loss = TeacherReferences(BatchHardTriplet(margin=0.5))
        >>> teacher = {"ref_labels": [0, 1], "ref_embeddings": [[1.0, 0.0], [0.0, 1.0]]}
        >>> float(loss([0, 1], [[1.0, 0.0], [0.8, 0.6]], **teacher))  # Distiller gives it
        0.380...
    """

    def __init__(
        self,
        loss: TaskLoss,
        teacher: str = "",
        and_batch: bool = False,
        name: str | None = None,
    ):
        if not loss.takes_references:
            raise ValueError(
                f"TeacherReferences: `loss`, a {type(loss).__name__}, takes no references; give a "
                "loss that does, such as BatchHardTriplet."
            )
        super().__init__(loss, name)
        self.teacher = teacher
        self.and_batch = and_batch

    def batch_loss(
        self,
        labels: Any,
        embeddings: Any,
        sample_weight: Any = None,
        ref_labels: Any = None,
        ref_embeddings: Any = None,
    ) -> Any:
        """Compares the batch with the teacher's embeddings; see the base class."""
        if ref_embeddings is None:
            raise ValueError(
                f"{self.name}: give the teacher's embeddings as `ref_embeddings`, with "
                "`ref_labels`; Distiller(task_loss=...) does."
            )
        ref_embeddings = ops.cast(ref_embeddings, "float32")
        width, teacher_width = embeddings.shape[-1], ref_embeddings.shape[-1]
        if width != teacher_width:
            raise ValueError(
                f"{self.name}: the teacher's embedding has width {teacher_width}, the student's "
                f"{width}, but they are compared; build the student with "
                f"`embedding_dim={teacher_width}`, or project the teacher."
            )
        references = {
            "ref_labels": ref_labels,
            "ref_embeddings": unit_rows(ops.stop_gradient(ref_embeddings)),
        }
        value = self.loss(labels, embeddings, sample_weight, **references)
        return value + self.loss(labels, embeddings, sample_weight) if self.and_batch else value

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "teacher": self.teacher,
            "and_batch": self.and_batch,
        }
