"""Recall on held-out classes during training."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_distill.embedding.batches import embed_batches
from keras_distill.errors import InputError, renamed_arguments
from keras_distill.evaluation.retrieval_metrics import retrieval_metrics
from keras_distill.teachers.teacher import Teacher, as_teacher
from keras_distill.training.epoch_validation import EpochValidation

VALIDATION_RECALL = "val_recall@1"


class RecallValidation(EpochValidation):
    """Adds `val_recall@1`, the Recall@1 of held-out images, to the logs of an epoch.

    Each image is a query among all others. The images must be of classes that are not trained on:
    images of training classes say nothing about new ones. Put it before callbacks that read
    the value, such as `keras.callbacks.EarlyStopping`, which need `mode="max"`. Images labelled -1
    are left out.

    Args:
        data: Batches `(x, y)`, as of `evaluation_batches`: images, or a dict with `image`, and
            integer labels `(batch,)`; or a pair of arrays `(images, labels)`.
        student: The embedder; by default the student of the `Distiller` that is trained, or the
            trained model itself.
        every: Number of epochs from one evaluation to the next; the last epoch is always evaluated.
        prepare: Called before each evaluation, such as `AveragedStudent.refresh`.
        common: Turns the value that this process measured into the value of all processes, so that
            they make the same decisions.

    Raises:
        InputError: If the data are of another kind, endless or empty, or if the model is not an
            embedder.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from keras_distill import BatchHardTriplet, Distiller, RecallValidation, build_embedder
        >>> images = np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), dtype="uint8")
        >>> labels = np.arange(24) // 4  # the last two classes are held out
        >>> student = build_embedder(alpha=0.25, image_size=32, backbone_weights="none")
        >>> distiller = Distiller(student, task_loss=BatchHardTriplet())
        >>> distiller.compile("adam")
        >>> history = distiller.fit(
        ...     images[:16],
        ...     labels[:16],
        ...     epochs=2,
        ...     callbacks=[
        ...         RecallValidation((images[16:], labels[16:])),
        ...         keras.callbacks.EarlyStopping("val_recall@1", mode="max", patience=3),
        ...     ],
        ...     verbose=0,
        ... )
        >>> len(history.history["val_recall@1"])
        2
    """

    metric = VALIDATION_RECALL

    def __init__(
        self,
        data: tf.data.Dataset | tuple[Any, Any],
        student: keras.Model | None = None,
        *,
        every: int = 1,
        prepare: Callable[[], None] = lambda: None,
        common: Callable[[float], float] = lambda value: value,
    ):
        super().__init__(every=every, prepare=prepare, common=common)
        self._batches = _as_batches(data)
        self._student: Teacher | None = None if student is None else _as_embedder(student)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self._student is None:
            self._student = _as_embedder(getattr(self.model, "student", self.model))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._student is not None:
            super().on_epoch_end(epoch, logs)

    def outputs(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the embeddings of the images, and their labels."""
        assert self._student is not None
        return embed_batches(self._student, self._batches)

    def value(self, outputs: tuple[np.ndarray, np.ndarray]) -> float:
        """Returns the Recall@1 of the images that have a label."""
        embeddings, labels = outputs
        labelled = labels >= 0
        return retrieval_metrics(embeddings[labelled], labels[labelled], ks=[1]).recall[1]


def _as_embedder(model: Any) -> Teacher:
    with renamed_arguments(model="student"):
        return as_teacher(model)


def _as_batches(data: Any) -> tf.data.Dataset:
    if isinstance(data, tuple) and len(data) == 2:
        images, labels = data
        data = tf.data.Dataset.from_tensor_slices((images, np.asarray(labels))).batch(64)
    spec = data.element_spec if isinstance(data, tf.data.Dataset) else None
    if not isinstance(spec, tuple) or len(spec) != 2:
        raise InputError(
            "`data` must be batches (images, labels), such as of evaluation_batches, or a pair of "
            f"arrays, not {'batches of ' + str(spec) if spec else 'a ' + type(data).__name__}."
        )
    if spec[1].shape.rank != 1:
        raise InputError(
            f"`data` has labels of shape {spec[1].shape} where (batch,) is needed; batch the "
            "images, and label them with integers."
        )
    if data.cardinality() in (tf.data.INFINITE_CARDINALITY, 0):
        size = "endless" if data.cardinality() else "empty"
        raise InputError(f"`data` is {size}; give each held-out image once.")
    return data
