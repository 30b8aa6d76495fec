"""Log of a training for TensorBoard."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_distill.methods.optimizers import is_value
from keras_distill.training.collapse_monitor import CollapseMonitor
from keras_distill.training.epoch_report import EpochReport
from keras_distill.training.event_files import keep_events
from keras_distill.training.gradient_norm import GradientNorm
from keras_distill.training.recall_validation import VALIDATION_RECALL

# All other values of an epoch are losses.
_OF_OPTIMIZERS = ("learning_rate", *GradientNorm.names)
_GROUPS = {
    VALIDATION_RECALL: "recall",
    "skipped_steps": "optimizer",
    **dict.fromkeys(("images_per_second", "seconds"), "speed"),
    **dict.fromkeys(CollapseMonitor.names, "spread"),
}


class TensorBoardLog(keras.callbacks.Callback):
    """Writes the record of each epoch, and optional values, by training step.

    `keras.callbacks.TensorBoard` counts from 0 again in a training that is resumed. Nothing is read
    from the device between the points that are written.

    Args:
        folder: Where to write.
        report: The callback that makes the records, before this one.
        steps_per_epoch: Steps in an epoch.
        first_step: Steps that were made before; events after them are removed, all events if it is
            0.
        every_steps: Steps between two points of the losses within an epoch; 0 for none.
        histogram_epochs: Epochs between two histograms of all weights; 0 for none.
        images: Batches of images by name, uint8 `(n, height, width, 3)`, to show at the beginning.
    """

    def __init__(
        self,
        folder: str | Path,
        report: EpochReport,
        *,
        steps_per_epoch: int,
        first_step: int = 0,
        every_steps: int = 0,
        histogram_epochs: int = 0,
        images: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        self._folder = str(folder)
        self._report = report
        self._steps_per_epoch = steps_per_epoch
        self._first_step = first_step
        self._every_steps = every_steps
        self._histogram_epochs = histogram_epochs
        self._images = images or {}
        self._epoch = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        keep_events(self._folder, self._first_step)
        self._writer = tf.summary.create_file_writer(self._folder)
        if not self._first_step:
            with self._writer.as_default(step=0):
                for name, images in self._images.items():
                    tf.summary.image(f"batch/{name}", images, max_outputs=len(images))

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        step = self._epoch * self._steps_per_epoch + batch + 1
        if self._every_steps and step % self._every_steps == 0:
            with self._writer.as_default(step=step):
                for name, value in (logs or {}).items():
                    tf.summary.scalar(f"within_epoch/{name}", float(value))
            self._writer.flush()  # the process may be killed after a checkpoint of this step

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        record = dict(self._report.record)
        with self._writer.as_default(step=record.pop("step")):
            for name, value in record.items():
                if name != "epoch":
                    tf.summary.scalar(f"{_group(name)}/{name}", value)
            if self._histogram_epochs and (epoch + 1) % self._histogram_epochs == 0:
                for weight in self.model.weights:
                    tf.summary.histogram(f"weights/{weight.path}", weight)
        self._writer.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._writer.close()


def _group(name: str) -> str:
    if any(is_value(name, base) for base in _OF_OPTIMIZERS):
        return "optimizer"
    return _GROUPS.get(name, "loss")
