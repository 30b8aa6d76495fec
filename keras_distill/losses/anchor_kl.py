"""Anchor loss: the student's similarities to many teacher vectors should be the teacher's."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_distill.losses.embedding_queue import EmbeddingQueue
from keras_distill.losses.stored_array import array_config, array_from_config
from keras_distill.losses.teacher_loss import TeacherLoss
from keras_distill.losses.unit_rows import unit_rows

QUEUE = 1024  # default, as in lightly-train
_AT_THE_MEAN = 1e-6  # a distance: what is nearer to the mean is rounding noise, without direction
_ABSENT = -1e9  # a logit, far below 1 / temperature


@keras.saving.register_keras_serializable("keras_distill")
class AnchorKL(TeacherLoss):
    """Divergence of the student's distribution over anchors from the teacher's.

    The anchors `a_1 ... a_N` are vectors of the teacher: more of them than a batch has images, so
    that each image is placed among all others.

    `L = mean_i KL(p_i || q_i)`, `p_i = softmax_n(a_n.t_i / teacher_temperature)`,
    `q_i = softmax_n(a_n.s_i / student_temperature)`

    with rows of length 1 (SEED, ICLR 2021, arXiv 2101.04731: a queue of 65536, temperatures 1e-4
    and 0.2; lightly-train: 1024, 0.07 and 0.07). Teacher and student must have the same width; the
    student then lives in the teacher's space and can query the teacher's gallery.

    By default all is centred, which neither of the two does: embeddings may share a large mean,
    which makes all anchors alike. The anchors are divided by their lengths, `m` is the mean of
    the results, and `t_i`, `s_i` and `a_n` each become `(v / |v| - m) / |v / |v| - m|`: the
    student's vectors are centred by the teacher's mean, too, because they are to be where the
    teacher's are. Vectors within 1e-6 of `m` become 0.

    With a queue, the anchors of a batch are the teacher's vectors of the batch itself, those of
    sample weight 0 excepted, and of the `queue` rows before it; `m` is their mean. The queue is
    filled by `update`, which `Distiller` calls after each training step and never in evaluation;
    its content is saved with the Distiller. Given anchors are part of the configuration.

    Args:
        anchors: The anchors `(N, width)`, such as the teacher's embeddings of all training images;
            `None` for a queue.
        queue: Number of rows of earlier batches to keep as anchors; 1024 by default. Not with
            `anchors`.
        teacher_temperature: Temperature of the teacher's distribution.
        student_temperature: Temperature of the student's distribution.
        centred: Whether the teacher's mean is subtracted as above; otherwise only lengths become 1.
        reduction: `"mean"` over the batch, or `"sum"`. A sample weight multiplies the row's loss.
        name: Name under which the value is reported.

    Raises:
        ValueError: If the anchors are no matrix of two or more finite rows, if there is a queue as
            well, or if its length or a temperature is not positive.

    Example:
        >>> loss = AnchorKL([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], centred=False)
        >>> float(loss([[1.0, 0.0]], [[3.0, 0.0]]))
        0.0
        >>> float(loss([[1.0, 0.0]], [[0.0, 1.0]]))
        14.28...
    """

    needs_equal_widths = True

    def __init__(
        self,
        anchors: Any = None,
        *,
        queue: int | None = None,
        teacher_temperature: float = 0.07,
        student_temperature: float = 0.07,
        centred: bool = True,
        reduction: str = "mean",
        name: str = "anchor_kl",
    ):
        super().__init__(reduction=reduction, name=name)
        if anchors is not None and queue is not None:
            raise ValueError(
                f"AnchorKL: `queue={queue}` has no effect if there are `anchors`; leave one of "
                "them out."
            )
        if queue is not None and queue < 1:
            raise ValueError(f"AnchorKL: `queue={queue}` must be positive.")
        for side, temperature in (
            ("teacher", teacher_temperature),
            ("student", student_temperature),
        ):
            if not temperature > 0:
                raise ValueError(
                    f"AnchorKL: `{side}_temperature={temperature}` must be positive, such as 0.07."
                )
        self.teacher_temperature = teacher_temperature
        self.student_temperature = student_temperature
        self.centred = centred
        self.anchors: np.ndarray | None = None
        self.queue: int | None = None
        if anchors is None:
            self.queue = QUEUE if queue is None else queue
            self.layer = self._memory = EmbeddingQueue(self.queue, name="anchors")
        else:
            self.anchors = _checked(anchors)
            self._given = self._centre(unit_rows(self.anchors))

    def call(self, teacher_outputs: Any, student_outputs: Any, sample_weight: Any = None) -> Any:
        """Computes the scalar loss; see the base class."""
        teacher, student = unit_rows(teacher_outputs), unit_rows(student_outputs)
        present = None
        if self.anchors is None:
            anchors, present = self._remembered(teacher, sample_weight)
            anchors, mean = self._centre(anchors, present)
        else:
            self._check_anchors(teacher.shape[-1])
            anchors, mean = self._given
        if mean is not None:
            teacher, student = _around(mean, teacher), _around(mean, student)
        p = _log_softmax(teacher, anchors, present, self.teacher_temperature)
        q = _log_softmax(student, anchors, present, self.student_temperature)
        losses = ops.sum(ops.exp(p) * (p - q), axis=-1)
        if sample_weight is not None:
            losses *= sample_weight
        return ops.mean(losses) if self.reduction == "mean" else ops.sum(losses)

    def update(self, teacher_outputs: Any, sample_weight: Any = None) -> None:
        """Puts the teacher's vectors of a batch into the queue; see the base class."""
        if self.anchors is None:
            self._check_built()
            present = _present(teacher_outputs, sample_weight)
            self._memory.remember(
                ops.where(present, ops.zeros_like(present, "int64"), -1), unit_rows(teacher_outputs)
            )

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor; `from_config` reads the anchors' bytes."""
        anchors = None
        if self.anchors is not None:
            anchors = array_config(self.anchors)
        return {
            **super().get_config(),
            "anchors": anchors,
            "queue": self.queue,
            "teacher_temperature": self.teacher_temperature,
            "student_temperature": self.student_temperature,
            "centred": self.centred,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "AnchorKL":
        """Rebuilds the loss, with an empty queue if it has one, from `get_config()`."""
        anchors = config["anchors"]
        if anchors is not None:
            anchors = array_from_config(anchors)
        return cls(**{**config, "anchors": anchors})

    def _remembered(self, teacher: Any, sample_weight: Any) -> tuple[Any, Any]:
        """The teacher's vectors of the batch and of the queue, and which rows hold one."""
        self._check_built()
        anchors = ops.concatenate([teacher, ops.convert_to_tensor(self._memory.embeddings)])
        filled = ops.convert_to_tensor(self._memory.labels) >= 0
        return anchors, ops.concatenate([_present(teacher, sample_weight), filled])

    def _centre(self, anchors: Any, present: Any = None) -> tuple[Any, Any]:
        """The anchors around their mean, and the mean; `None` if nothing is centred."""
        if not self.centred:
            return anchors, None
        if present is None:
            mean = ops.mean(anchors, axis=0)
        else:
            shares = ops.cast(present, "float32")[:, None]
            mean = ops.sum(shares * anchors, axis=0) / ops.maximum(ops.sum(shares), 1.0)
        return _around(mean, anchors), mean

    def _check_anchors(self, width: int) -> None:
        assert self.anchors is not None
        if self.anchors.shape[1] != width:
            raise ValueError(
                f"{self.name}: the anchors have width {self.anchors.shape[1]}, but the teacher's "
                f"embedding has {width}; make them by the same teacher, with its projection if "
                "there is one."
            )


def _checked(anchors: Any) -> np.ndarray:
    values = np.asarray(anchors, np.float32)
    if values.ndim != 2 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(
            "AnchorKL: `anchors` must be two or more finite rows (N, width), such as the teacher's "
            f"embeddings of the training images; they are {values.shape}, "
            f"{np.isfinite(values).mean():.0%} of them finite."
        )
    return values


def _present(rows: Any, sample_weight: Any) -> Any:
    if sample_weight is None:
        return ops.ones_like(rows[:, 0], "bool")
    return ops.reshape(sample_weight, (-1,)) > 0


def _around(mean: Any, units: Any) -> Any:
    difference = units - mean
    near = ops.sum(ops.square(difference), axis=-1, keepdims=True) < _AT_THE_MEAN**2
    return unit_rows(ops.where(near, 0.0, difference))


def _log_softmax(rows: Any, anchors: Any, present: Any, temperature: float) -> Any:
    logits = ops.matmul(rows, ops.transpose(anchors)) / temperature
    if present is not None:
        logits = ops.where(present[None, :], logits, _ABSENT)
    return ops.log_softmax(logits, axis=-1)
