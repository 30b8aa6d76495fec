"""Callbacks of a training that can be killed at any step, and resumed without a difference."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import Signals
from typing import Any

import keras
import numpy as np

from keras_distill.errors import InputError
from keras_distill.runs.checkpoints import Checkpoint, CheckpointFolder
from keras_distill.training.averaged_student import AveragedStudent
from keras_distill.training.best_epoch import BestEpoch
from keras_distill.training.shared_stop_signals import SharedStopSignals
from keras_distill.training.stop_signals import StopSignals, TrainingInterrupted
from keras_distill.training.training_variables import (
    METRICS,
    OPTIMIZER,
    WEIGHTS,
    assign_variables,
    read_variables,
)


class ResumableCallbacks(keras.callbacks.CallbackList):
    """Makes `fit` resume from its newest checkpoint, also in the middle of an epoch.

    Give it to `fit` in place of the list of callbacks, with `initial_epoch=callbacks.epoch`, and
    batches that begin at `callbacks.step`. A checkpoint holds the weights, the state of the
    optimiser (moments, iterations, moving averages, loss scale), the memories of losses, the sums
    of metrics, the seeds of random layers, and the state of each callback that has two methods:
    `get_state()` returns a dict of NumPy arrays and values for JSON, and `set_state(dict)` resumes
    from it, after `on_train_begin` of all callbacks. In an epoch that was begun before,
    callbacks receive the true number of the batch.

    Args:
        callbacks: The callbacks.
        model: The compiled model, built like the one of the checkpoints.
        checkpoints: Where the checkpoints are.
        epochs: Epochs of the whole training, as given to `fit`.
        steps_per_epoch: Steps in an epoch, as given to `fit`, a multiple of `steps_per_execution`.
        every_epochs: Epochs between two checkpoints. The last epoch, and the best one, have one.
        every_steps: Steps between two checkpoints within an epoch; 0 for none.
        best: One of the callbacks, whose epoch's checkpoint is kept whatever its age.
        student: A model to write into each checkpoint, as `student.keras`, or an
            `AveragedStudent`.
        provenance: Values that must be the same when a training is resumed, by stable keys, for
            JSON.
        signals: Signals to stop: after the step a checkpoint is written, and `TrainingInterrupted`
            raised.

    Raises:
        InputError: If there are checkpoints, but all are damaged, or their settings differ.

    Example:
        >>> import tempfile
        >>> import keras
        >>> import tensorflow as tf
        >>> from keras_distill import ResumableCallbacks
        >>> def train(folder, epochs):
        ...     model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        ...     model.compile("adam", "mse")
        ...     callbacks = ResumableCallbacks(
        ...         [], model=model, checkpoints=folder, epochs=epochs, steps_per_epoch=3
        ...     )
        ...     batches = tf.data.Dataset.range(callbacks.step, 100).map(
        ...         lambda step: (tf.fill([4, 2], tf.cast(step, tf.float32)), tf.ones([4, 1]))
        ...     )
        ...     model.fit(
        ...         batches,
        ...         initial_epoch=callbacks.epoch,
        ...         epochs=epochs,
        ...         steps_per_epoch=3,
        ...         callbacks=callbacks,
        ...         verbose=0,
        ...     )
        ...     return callbacks.step
        >>> folder = tempfile.mkdtemp()
        >>> train(folder, epochs=1), train(folder, epochs=3)
        (3, 9)
    """

    def __init__(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        *,
        model: keras.Model,
        checkpoints: CheckpointFolder | str | Path,
        epochs: int,
        steps_per_epoch: int,
        every_epochs: int = 1,
        every_steps: int = 0,
        best: BestEpoch | None = None,
        student: keras.Model | AveragedStudent | None = None,
        provenance: Mapping[str, Any] | None = None,
        signals: StopSignals | SharedStopSignals | None = None,
    ):
        if steps_per_epoch % model.steps_per_execution:
            raise ValueError(
                f"`steps_per_epoch={steps_per_epoch}` must be a multiple of "
                f"`steps_per_execution={model.steps_per_execution}`."
            )
        if not isinstance(checkpoints, CheckpointFolder):
            checkpoints = CheckpointFolder(checkpoints)
        self._checkpoints = checkpoints
        self._epochs = epochs
        self._steps_per_epoch = steps_per_epoch
        self._every_epochs = every_epochs
        self._every_steps = every_steps
        self._best = best
        self._student = student
        self._provenance = {**(provenance or {}), "steps_per_epoch": steps_per_epoch}
        self._signals = signals
        #: Steps that have been made.
        self.step = 0
        self._best_step: int | None = None
        self._stopped = False  # by a callback, before the last epoch
        self._resumed_state: dict[str, Any] = {}
        self._resumed = checkpoints.newest()
        if self._resumed is not None:
            self._resume_from(self._resumed, model.steps_per_execution)
        self._saved_step = self.step
        self._epoch = self.epoch
        self._before = 0  # steps of this epoch that an earlier process made
        self._cut = False  # whether this epoch ends here, and not the training
        super().__init__(
            list(callbacks), add_history=True, model=model, epochs=epochs, steps=steps_per_epoch
        )

    @property
    def epoch(self) -> int:
        """The epoch to resume with, counted from 0; the number of epochs if none is left."""
        return self._epochs if self._stopped else self.step // self._steps_per_epoch

    @property
    def best_checkpoint(self) -> Path | None:
        """Folder of the best epoch's checkpoint, if there is one."""
        found = (c.path for c in self._checkpoints.all() if c.step == self._best_step)
        return next(found, None)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        if self._resumed is None:
            return
        self._arrays = self._resumed.arrays()
        assign_variables(self.model, self._arrays, WEIGHTS, OPTIMIZER)
        states = self._resumed_state["callbacks"]
        for name, callback in self._stateful().items():
            if name in states:
                prefix = f"{name}/"
                arrays = {
                    key.removeprefix(prefix): array
                    for key, array in self._arrays.items()
                    if key.startswith(prefix)
                }
                callback.set_state({**states[name], **arrays})

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if epoch != self.epoch:
            raise ValueError(
                f"fit began with epoch {epoch} instead of {self.epoch}; give it "
                "initial_epoch=callbacks.epoch."
            )
        self._epoch = epoch
        self._before = self.step % self._steps_per_epoch
        if self._before:  # Keras has just reset them
            assign_variables(self.model, self._arrays, METRICS)
        self._arrays = {}
        super().on_epoch_begin(epoch, logs)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_train_batch_begin(batch + self._before, logs)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        batch += self._before
        super().on_train_batch_end(batch, logs)
        former, self.step = self.step, self._epoch * self._steps_per_epoch + batch + 1
        if batch + 1 == self._steps_per_epoch:
            # Keras counts from the first step of this process, and would enter the next epoch.
            self._cut = self._before > 0 and not self.model.stop_training
            self.model.stop_training |= self._cut
            return
        requested = self._stop_requested()
        if requested or (
            self._every_steps and self.step // self._every_steps != former // self._every_steps
        ):
            self._save()
        if requested:
            raise TrainingInterrupted(requested, self.step)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._cut:
            self._cut = self.model.stop_training = False
        self._before = 0
        super().on_epoch_end(epoch, logs)
        self._stopped = self.model.stop_training
        requested = self._stop_requested()  # in all processes alike
        is_best = self._best is not None and self._best.epoch == epoch
        if is_best:
            self._best_step = self.step
        if (
            is_best
            or self._stopped
            or (epoch + 1) % self._every_epochs == 0
            or epoch + 1 == self._epochs
            or requested
        ):
            self._save()
        if requested and epoch + 1 < self._epochs and not self._stopped:
            raise TrainingInterrupted(requested, self.step)

    def _resume_from(self, checkpoint: Checkpoint, steps_per_execution: int) -> None:
        self._resumed_state = checkpoint.state()
        checkpoint.check_provenance(self._provenance)
        self.step = checkpoint.step
        if before := self.step % self._steps_per_epoch % steps_per_execution:
            raise InputError(
                f"`steps_per_execution={steps_per_execution}` cannot resume "
                f"{str(checkpoint.path)!r}: its epoch ends "
                f"{steps_per_execution - before} steps into an execution. Compile with "
                "the former `steps_per_execution`, or 1."
            )
        self._best_step = self._resumed_state["best_step"]
        self._stopped = self._resumed_state["stopped"]

    def _stateful(self) -> dict[str, Any]:
        """The callbacks that have a state, by name."""
        found: dict[str, Any] = {}
        for callback in self.callbacks:
            if hasattr(callback, "get_state"):
                name = type(callback).__name__
                same = sum(other.partition(".")[0] == name for other in found)
                found[f"{name}.{same}" if same else name] = callback
        return found

    def _save(self) -> None:
        if self.step == self._saved_step:
            return
        arrays = read_variables(self.model)
        states: dict[str, dict[str, Any]] = {}
        for name, callback in self._stateful().items():
            state = callback.get_state()
            found = {key: value for key, value in state.items() if isinstance(value, np.ndarray)}
            arrays |= {f"{name}/{key}": array for key, array in found.items()}
            states[name] = {key: value for key, value in state.items() if key not in found}
        self._checkpoints.save(
            self.step,
            arrays,
            {
                "provenance": self._provenance,
                "best_step": self._best_step,
                "stopped": self._stopped,
                "callbacks": states,
            },
            write_more=self._write_student,
            also_keep=[self._best_step],
        )
        self._saved_step = self.step

    def _write_student(self, folder: Path) -> None:
        if self._student is not None:
            self._student.save(folder / "student.keras")

    def _stop_requested(self) -> Signals | None:
        """Reads the signals once: a signal that arrives later has no checkpoint at this step."""
        return None if self._signals is None else self._signals.received
