"""Contrastive representation distillation (CRD)."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_distill.errors import InputError
from keras_distill.losses.contrastive_memory import ContrastiveMemory
from keras_distill.losses.stored_array import array_config, array_from_config
from keras_distill.losses.teacher_loss import TeacherLoss

_EPSILON = 1e-7


@keras.saving.register_keras_serializable("keras_distill")
class ContrastiveTeacher(TeacherLoss):
    """Tells the teacher's vector of an image from those of many images of other classes.

    Both embeddings are mapped linearly into a common space, in which each of the `N` training
    images has a remembered vector for each side. With the student's vector `v`, the teacher's
    remembered vectors `m_0` of the same image and `m_1 ... m_K` of others that are drawn at random,
    `h(m) = exp(v.m / temperature) / Z` and `c = K / N`,

    `L_i = -log(h(m_0) / (h(m_0) + c)) - sum_k log(c / (h(m_k) + c))`

    plus the same with the sides exchanged ("Contrastive Representation Distillation", ICLR 2020,
    arXiv 1910.10699; numbers of its code). `Z` is `N` times the mean exponential of the first
    batch. The maps are trained with the student but not part of it. The memory moves towards each
    batch by `update`, which `Supervised` calls after each training step and never in evaluation; it
    is saved with the model, and takes `2 N dim` floats.

    The model that uses the loss gives the number of each row's image, from 0 to `N - 1`, as `row`
    of its batches; a row of number -1 has no part.

    Args:
        labels: Class of each training image, integers `(N,)`; negatives come from other classes.
            An image labelled -1 is a class of its own.
        negatives: Number of images to tell each one from, `K`, drawn with replacement.
        temperature: Temperature of the similarities.
        momentum: Share of a remembered vector that an update keeps.
        dim: Width of the common space.
        seed: Seed of the draws.
        teacher_dim: Width of the teacher's embedding; by default that of the model's teacher.
        reduction: `"mean"` over the batch, or `"sum"`. A sample weight multiplies the row's loss.
        name: Name under which the value is reported.

    Raises:
        InputError: If there are fewer than two classes, or a number is out of range.

    Example:
        >>> import numpy as np
        >>> loss = ContrastiveTeacher(labels=[0, 0, 1, 1], negatives=8, dim=2)
        >>> loss.build(teacher_dim=3, student_dim=2)  # Supervised does it, and calls update
        >>> value = loss(np.eye(2, 3), np.eye(2), rows=[0, 3])
        >>> bool(value > 0)
        True
    """

    needs_rows = True

    def __init__(
        self,
        labels: Any,
        *,
        negatives: int = 16384,
        temperature: float = 0.07,
        momentum: float = 0.5,
        dim: int = 128,
        seed: int = 0,
        teacher_dim: int | None = None,
        reduction: str = "mean",
        name: str = "crd",
    ):
        super().__init__(reduction=reduction, name=name)
        if negatives < 1 or dim < 1 or not temperature > 0 or not 0 <= momentum < 1:
            raise InputError(
                f"ContrastiveTeacher: `negatives={negatives}`, `dim={dim}` and "
                f"`temperature={temperature}` must be positive, and `momentum={momentum}` from 0 "
                "to below 1."
            )
        self.labels = _classes(labels)
        self.negatives = negatives
        self.temperature = temperature
        self.momentum = momentum
        self.dim = dim
        self.seed = seed
        self.teacher_dim = teacher_dim
        # Ordered by class, the images of one class are a range, which a draw can leave out.
        self._order = np.argsort(self.labels, kind="stable")
        _, inverse, counts = np.unique(self.labels, return_inverse=True, return_counts=True)
        self._start = (np.cumsum(counts) - counts)[inverse]
        self._count = counts[inverse]
        self.layer = self._memory = ContrastiveMemory(len(self.labels), dim, momentum)

    def build(self, teacher_dim: int | None, student_dim: int) -> None:
        """Makes the maps and the memory; see the base class.

        Raises:
            InputError: If the teacher's width is not known, or is not `self.teacher_dim`.
        """
        known = self.teacher_dim or teacher_dim
        if known is None:
            raise InputError(
                f"`teacher`: the loss {self.name} needs one whose width is known before it is run; "
                "in Python, ContrastiveTeacher(labels, teacher_dim=...) gives it."
            )
        if teacher_dim not in (None, known):
            raise InputError(
                f"`teacher_dim={known}`: the teacher's embedding has width {teacher_dim}."
            )
        self.teacher_dim = known
        if not self._memory.built:
            self._memory.build([(None, known), (None, student_dim)])
            self._memory.built = True

    def call(
        self,
        teacher_outputs: Any,
        student_outputs: Any,
        sample_weight: Any = None,
        rows: Any = None,
    ) -> Any:
        """Computes the scalar loss; `rows` are the numbers of the images, int64 `(batch,)`."""
        rows = self._checked_rows(rows)
        known = ops.cast(rows >= 0, "float32")
        scores = self._scores(teacher_outputs, student_outputs, rows)
        constants = self._constants(scores, known)
        share = self.negatives / len(self.labels)
        losses = 0.0
        for side, exponentials in enumerate(scores):
            p = exponentials / constants[side]
            own = ops.log(p[:, 0] / (p[:, 0] + share + _EPSILON))
            others = ops.log(share / (p[:, 1:] + share + _EPSILON))
            losses = losses - own - ops.sum(others, axis=1)
        losses *= known if sample_weight is None else known * sample_weight
        return ops.mean(losses) if self.reduction == "mean" else ops.sum(losses)

    def update(
        self,
        teacher_outputs: Any,
        sample_weight: Any = None,
        student_outputs: Any = None,
        rows: Any = None,
    ) -> None:
        """Moves the memory towards a training batch; see the base class.

        Args:
            teacher_outputs: Tensor `(batch, teacher_dim)`.
            sample_weight: Not used.
            student_outputs: Tensor `(batch, student_dim)`.
            rows: Numbers of the images, int64 `(batch,)`.
        """
        rows = self._checked_rows(rows)
        outputs = (ops.cast(each, "float32") for each in (teacher_outputs, student_outputs))
        teacher, student = self._memory.vectors(*outputs)
        known = ops.cast(rows >= 0, "float32")
        former = ops.convert_to_tensor(self._memory.constants)
        constants = ops.cond(
            former[0] > 0,
            lambda: former,
            lambda: self._constants(self._exponentials(teacher, student, rows), known),
        )
        # A first batch without a known image, or one that overflows, settles nothing.
        settled = ops.all(ops.isfinite(constants)) & ops.any(rows >= 0)
        self._memory.constants.assign(ops.where(settled, constants, former))
        self._memory.remember(rows, teacher, student)
        self._memory.updates.assign(self._memory.updates + 1)

    def drawn(self, rows: Any) -> Any:
        """Draws the images that each row is compared with at the present step.

        Args:
            rows: Numbers of the images, int64 `(batch,)`.

        Returns:
            int64 tensor `(batch, 1 + negatives)`: the image itself, and then images of other
            classes.
        """
        rows = ops.maximum(rows, 0)
        start = ops.take(ops.convert_to_tensor(self._start), rows)[:, None]
        count = ops.take(ops.convert_to_tensor(self._count), rows)[:, None]
        updates = ops.convert_to_tensor(self._memory.updates)
        random = tf.random.stateless_uniform(
            [ops.shape(rows)[0], self.negatives],
            tf.stack([tf.constant(self.seed, tf.int64), tf.cast(updates, tf.int64)]),
            minval=None,
            maxval=None,
            dtype=tf.int64,
        )
        place = ops.mod(random, len(self.labels) - count)
        place = ops.where(place < start, place, place + count)
        others = ops.take(ops.convert_to_tensor(self._order), place)
        return ops.concatenate([rows[:, None], others], axis=1)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor; `from_config` reads the labels' bytes."""
        return {
            "labels": array_config(self.labels),
            "negatives": self.negatives,
            "temperature": self.temperature,
            "momentum": self.momentum,
            "dim": self.dim,
            "seed": self.seed,
            "teacher_dim": self.teacher_dim,
            **super().get_config(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ContrastiveTeacher":
        """Rebuilds the loss, with a new memory, from `get_config()`."""
        return cls(**{**config, "labels": array_from_config(config["labels"]).astype("int64")})

    def _scores(self, teacher_outputs: Any, student_outputs: Any, rows: Any) -> tuple[Any, Any]:
        return self._exponentials(*self._memory.vectors(teacher_outputs, student_outputs), rows)

    def _exponentials(self, teacher: Any, student: Any, rows: Any) -> tuple[Any, Any]:
        """The exponentials of the teacher's side and of the student's, `(batch, 1 + K)`."""
        drawn = self.drawn(rows)

        def compared(vectors: Any, memory: Any) -> Any:
            # With all images by one product: the drawn vectors would take far more memory.
            cosines = ops.matmul(vectors, ops.transpose(ops.convert_to_tensor(memory)))
            return ops.exp(ops.take_along_axis(cosines, drawn, axis=1) / self.temperature)

        return compared(teacher, self._memory.student), compared(student, self._memory.teacher)

    def _constants(self, scores: tuple[Any, Any], known: Any) -> Any:
        """The constants of both sides, `(2,)`: the settled ones, or those of this batch."""
        former = ops.convert_to_tensor(self._memory.constants)
        total = ops.maximum(ops.sum(known), 1.0) * (1 + self.negatives)
        means = [ops.sum(each * known[:, None]) / total for each in scores]
        own = ops.stop_gradient(ops.stack(means)) * float(len(self.labels))
        own = ops.where(ops.any(known > 0), own, 1.0)
        return ops.where(former > 0, former, own)

    def _checked_rows(self, rows: Any) -> Any:
        self._check_built()
        if rows is None:
            raise InputError(
                f"{self.name}: `rows` is missing, the numbers of the images in `labels`; train it "
                "by Supervised, with 'row' in the batches."
            )
        return ops.cast(ops.reshape(ops.convert_to_tensor(rows), (-1,)), "int64")


def _classes(labels: Any) -> np.ndarray:
    """Numbers of the classes, `(N,)`, in which each unlabelled image is a class of its own."""
    labels = np.ravel(np.asarray(labels))
    if labels.dtype.kind not in "iu":
        raise InputError(
            f"ContrastiveTeacher: `labels` are {labels.dtype}; give an integer for each image."
        )
    _, classes = np.unique(labels, return_inverse=True)
    unlabelled = labels < 0
    classes[unlabelled] = len(labels) + np.arange(unlabelled.sum())
    _, classes = np.unique(classes, return_inverse=True)
    if len(labels) < 2 or not classes.any():
        raise InputError(
            f"ContrastiveTeacher: `labels` are of {len(labels)} images of one class; there must be "
            "others to tell them from."
        )
    return classes.astype("int64")
