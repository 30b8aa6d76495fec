"""Student with averaged weights."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras

from keras_distill.methods.optimizers import (
    build_optimizers,
    inner_optimizer,
    optimizers_of,
    variables_of,
)
from keras_distill.models.frozen_batch_norm import freeze_batch_norm, keeps_statistics
from keras_distill.models.keras_internals import all_layers, moving_averages
from keras_distill.models.layer_calls import replace_calls
from keras_distill.training.batch_norm_statistics import BatchNormStatistics


class AveragedStudent:
    """A copy of a student whose weights are the moving averages of the training's.

    The averages come from an optimiser with `use_ema`, `a <- m a + (1 - m) w` after each step, or
    from several that share the student; one that trains another network needs none. The statistics
    of batch normalisations are estimated again for them, unless `freeze_batch_norm` has frozen the
    student's. The training keeps its own weights, which are not changed.

    Args:
        model: The compiled model that trains the student.
        student: The student.
        batches: Batches of images `(rows, height, width, 3)` to estimate statistics on, the same
            ones each time.

    Attributes:
        student: The copy, as of the last `refresh`.

    Raises:
        ValueError: If an optimiser of the student keeps no averages.
    """

    def __init__(self, model: keras.Model, student: keras.Model, batches: Iterable[Any]):
        own = {id(variable) for variable in student.trainable_variables}
        self._optimizers = [
            inner_optimizer(optimizer)
            for name, optimizer in optimizers_of(model).items()
            if own & {id(variable) for variable in variables_of(model, name)}
        ]
        if not all(optimizer.use_ema for optimizer in self._optimizers):
            raise ValueError(
                "the optimizer of `model` keeps no averages; make it with `use_ema=True`."
            )
        build_optimizers(model)
        self._original = student
        self._batches = batches
        self.student: keras.Model = keras.models.clone_model(student)
        replace_calls(self.student)
        self._statistics = BatchNormStatistics(self.student)
        self._steps: list[int] | None = None

    def refresh(self) -> None:
        """Updates the copy to the present step."""
        steps = [int(keras.ops.convert_to_numpy(o.iterations)) for o in self._optimizers]
        if steps == self._steps:
            return
        averages: dict[int, Any] = {}
        for optimizer, step in zip(self._optimizers, steps, strict=True):
            if step:  # they are 0 before the first one
                averages |= moving_averages(optimizer)
        for copy, variable in zip(self.student.variables, self._original.variables, strict=True):
            copy.assign(averages.get(id(variable), variable))
        for copy, layer in zip(all_layers(self.student), all_layers(self._original), strict=True):
            copy.trainable = layer.trainable
            if keeps_statistics(layer):
                freeze_batch_norm(copy)
        self._statistics.estimate(self._batches)
        self._steps = steps

    def save(self, path: str | Path) -> None:
        """Saves the copy at the present step."""
        self.refresh()
        self.student.save(path)
