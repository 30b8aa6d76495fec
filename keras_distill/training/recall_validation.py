"""Recall on held-out classes during training."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.retrieval.embedding import embed_batches
from keras_distill.retrieval.metrics import retrieval_metrics
from keras_distill.teachers.teacher import as_teacher
from keras_distill.training.divergence_guard import TrainingDiverged

VALIDATION_RECALL = "val_recall@1"


class RecallValidation(keras.callbacks.Callback):
    """Adds `val_recall@1`, on the student's embeddings, to the logs of an epoch.

    Put it before callbacks that read the value, such as `keras.callbacks.EarlyStopping`.

    Args:
        student: The embedder.
        batches: Batches of the held-out classes, as of `evaluation_batches`.
        epochs: Number of epochs of the training; the last one is always evaluated.
        every: Number of epochs from one evaluation to the next.
        prepare: Called before an evaluation, such as `AveragedStudent.refresh`.
        common: Turns the recall that this process measured into that of all processes: what depends
            on it must not part them.
    """

    def __init__(
        self,
        student: keras.Model,
        batches: tf.data.Dataset,
        epochs: int,
        every: int = 1,
        prepare: Callable[[], None] = lambda: None,
        common: Callable[[float], float] = lambda recall: recall,
    ):
        super().__init__()
        self._student = as_teacher(student)
        self._batches = batches
        self._epochs = epochs
        self._every = every
        self._prepare = prepare
        self._common = common

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is None or ((epoch + 1) % self._every and epoch + 1 != self._epochs):
            return
        self._prepare()
        try:
            embeddings, labels = embed_batches(self._student, self._batches)
        except InputError as error:
            raise TrainingDiverged(f"In epoch {epoch + 1}, {error}") from error
        logs[VALIDATION_RECALL] = self._common(
            retrieval_metrics(embeddings, labels, ks=[1]).recall[1]
        )
