"""Student with averaged weights."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras

from keras_distill.methods.optimizers import build_optimizers
from keras_distill.models.keras_internals import all_layers, moving_averages
from keras_distill.models.layer_calls import replace_calls
from keras_distill.training.batch_norm_statistics import BatchNormStatistics


class AveragedStudent:
    """A copy of a student whose weights are the moving averages of the training's.

    The averages come from an optimiser with `use_ema`, `a <- m a + (1 - m) w` after each step. The
    statistics of batch normalisations are estimated again for them. The training keeps its own
    weights, which are not changed.

    Args:
        model: The compiled model that trains the student.
        student: The student.
        batches: Batches of images `(rows, height, width, 3)` to estimate statistics on, the same
            ones each time.

    Attributes:
        student: The copy, as of the last `refresh`.

    Raises:
        ValueError: If the optimiser keeps no averages.
    """

    def __init__(self, model: keras.Model, student: keras.Model, batches: Iterable[Any]):
        self._optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        if not self._optimizer.use_ema:
            raise ValueError(
                "the optimizer of `model` keeps no averages; make it with `use_ema=True`."
            )
        build_optimizers(model)
        self._averages = moving_averages(self._optimizer)
        self._original = student
        self._batches = batches
        self.student: keras.Model = keras.models.clone_model(student)
        replace_calls(self.student)
        self._statistics = BatchNormStatistics(self.student)
        self._step: int | None = None

    def refresh(self) -> None:
        """Updates the copy to the present step."""
        step = int(keras.ops.convert_to_numpy(self._optimizer.iterations))
        if step == self._step:
            return
        averages = self._averages if step else {}  # they are 0 before the first step
        for copy, variable in zip(self.student.variables, self._original.variables, strict=True):
            copy.assign(averages.get(id(variable), variable))
        for copy, layer in zip(all_layers(self.student), all_layers(self._original), strict=True):
            copy.trainable = layer.trainable
        self._statistics.estimate(self._batches)
        self._step = step

    def save(self, path: str | Path) -> None:
        """Saves the copy at the present step."""
        self.refresh()
        self.student.save(path)
