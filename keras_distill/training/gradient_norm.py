"""Norm of the gradients."""

from typing import Any

import keras
import numpy as np


class GradientNorm(keras.callbacks.Callback):
    """Adds mean and maximum of the gradient's norm over an epoch to its logs.

    The norm is the global one, unscaled and before clipping. The optimiser measures it
    (`measure_gradients` of `LayerwiseAdam`), and it is read once an epoch. Steps that loss scaling
    skips do not count. Put it before callbacks that read the logs.
    """

    #: Names that may be in the logs.
    names = ("gradient_norm", "gradient_norm_max")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        norms = measured(self.model.optimizer).gradient_norms
        _, count, total, greatest = map(float, keras.ops.convert_to_numpy(norms))
        norms.assign(np.zeros(4, np.float32))
        if logs is not None and count:
            logs.update(zip(self.names, (total / count, greatest), strict=True))


def measured(optimizer: Any) -> Any:
    """The optimiser that measures, within the one that scales the loss if there is one."""
    return getattr(optimizer, "inner_optimizer", optimizer)
