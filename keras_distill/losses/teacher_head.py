"""Teacher's head: the student's embedding has to work with the teacher's classifier."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_distill.errors import InputError
from keras_distill.losses.class_divergence import checked_temperature, class_divergence
from keras_distill.losses.stored_array import array_config, array_from_config
from keras_distill.losses.teacher_loss import TeacherLoss
from keras_distill.losses.unit_rows import unit_rows


@keras.saving.register_keras_serializable("keras_distill")
class TeacherHead(TeacherLoss):
    """Divergence of the classes that the teacher's frozen head finds in both embeddings.

    `L = T^2 / n sum_i KL(softmax(h(t_i) / T) || softmax(h(s_i) / T))` with the teacher's embedding
    `t`, the student's `s` and the teacher's classifier `h(x) = x kernel + bias`, which is not
    trained: TH-KD of "It's All in the Head" (arXiv 2201.06945). The teacher's logits follow from
    its embedding, so that nothing else needs to be stored of a teacher.

    With a `scale` the head is a matrix of class vectors that are compared by their cosine,
    `h(x) = scale x / |x| . w_c / |w_c|`, such as that of ArcFace or of proxies. Both embeddings
    must have the head's width; a student of another width needs a projection.

    Args:
        kernel: The head's matrix, `(width, classes)`.
        bias: Its bias `(classes,)`; `None` for none.
        scale: Factor of the cosines; `None` for a linear head.
        temperature: `T`.
        reduction: `"mean"` over the batch, or `"sum"`. A sample weight multiplies the row's loss.
        name: Name under which the value is reported.

    Raises:
        InputError: If the head is no matrix of finite numbers, the bias does not fit it, or the
            scale or the temperature is not positive.

    Example:
        >>> loss = TeacherHead([[1.0, -1.0], [0.0, 0.0]], temperature=1.0)
        >>> float(loss([[1.0, 5.0]], [[1.0, -3.0]]))  # the head sees no difference
        0.0
        >>> round(float(loss([[1.0, 0.0]], [[-1.0, 0.0]])), 3)
        1.523
    """

    needs_equal_widths = True

    def __init__(
        self,
        kernel: Any,
        bias: Any = None,
        *,
        scale: float | None = None,
        temperature: float = 4.0,
        reduction: str = "mean",
        name: str = "teacher_head",
    ):
        super().__init__(reduction=reduction, name=name)
        self.temperature = checked_temperature(type(self).__name__, temperature)
        self.kernel = np.asarray(kernel, np.float32)
        if self.kernel.ndim != 2 or not self.kernel.size or not np.isfinite(self.kernel).all():
            raise InputError(
                f"TeacherHead: `kernel` of shape {self.kernel.shape} must be a matrix (width, "
                "classes) of finite numbers, such as the kernel of the teacher's last Dense layer."
            )
        self.bias = None if bias is None else np.asarray(bias, np.float32)
        if self.bias is not None and self.bias.shape != self.kernel.shape[1:]:
            raise InputError(
                f"TeacherHead: `bias` of shape {self.bias.shape} does not fit the "
                f"{self.kernel.shape[1]} classes of `kernel`."
            )
        if scale is not None and (not 0 < scale < float("inf") or bias is not None):
            raise InputError(
                f"TeacherHead: `scale={scale}` must be positive, and goes without `bias`."
            )
        self.scale = scale

    def logits(self, embeddings: Any) -> Any:
        """Computes the teacher's logits.

        Args:
            embeddings: Embeddings `(batch, width)`, of the teacher or of the student.

        Returns:
            float32 tensor `(batch, classes)`.

        Raises:
            ValueError: If they have another width.
        """
        embeddings = ops.cast(ops.convert_to_tensor(embeddings), "float32")
        width = self.kernel.shape[0]
        if embeddings.shape[-1] != width:
            raise ValueError(
                f"{self.name}: the head takes embeddings of width {width}, not "
                f"{embeddings.shape[-1]}."
            )
        if self.scale is None:
            logits = ops.matmul(embeddings, self.kernel)
            return logits if self.bias is None else logits + self.bias
        classes = ops.transpose(unit_rows(self.kernel.T))
        return self.scale * ops.matmul(unit_rows(embeddings), classes)

    def call(self, teacher_outputs: Any, student_outputs: Any, sample_weight: Any = None) -> Any:
        """Computes the scalar loss; see the base class."""
        losses = class_divergence(
            self.logits(teacher_outputs), self.logits(student_outputs), self.temperature
        )
        if sample_weight is not None:
            losses *= sample_weight
        return ops.mean(losses) if self.reduction == "mean" else ops.sum(losses)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor; `from_config` reads the arrays' bytes."""
        return {
            "kernel": array_config(self.kernel),
            "bias": None if self.bias is None else array_config(self.bias),
            "scale": self.scale,
            "temperature": self.temperature,
            **super().get_config(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "TeacherHead":
        """Rebuilds the loss from `get_config()`."""
        arrays = {
            name: None if config[name] is None else array_from_config(config[name])
            for name in ("kernel", "bias")
        }
        return cls(**{**config, **arrays})
