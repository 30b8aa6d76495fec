"""Norm of the gradients."""

from typing import Any

import keras
import numpy as np

from keras_distill.methods.optimizers import inner_optimizer, optimizers_of, value_name


class GradientNorm(keras.callbacks.Callback):
    """Adds mean and maximum of the gradient's norm over an epoch to its logs.

    The norm is the global one, unscaled and before clipping. The optimiser measures it
    (`measure_gradients` of `LayerwiseAdam`), and it is read once an epoch. Of a method with several
    optimisers, each that measures has norms of its own, such as `gradient_norm_critic`. Steps that
    loss scaling skips do not count. Put it before callbacks that read the logs.

    Raises:
        ValueError: When the training begins, if no optimiser measures.
    """

    #: Names that may be in the logs, followed by the name of an optimiser if it has one.
    names = ("gradient_norm", "gradient_norm_max")

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if not self._measuring():
            raise ValueError("no optimizer measures its gradients; give `measure_gradients=True`.")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        for optimizer, measuring in self._measuring().items():
            norms = measuring.gradient_norms
            _, count, total, greatest = map(float, keras.ops.convert_to_numpy(norms))
            norms.assign(np.zeros(4, np.float32))
            if logs is not None and count:
                names = (value_name(name, optimizer) for name in self.names)
                logs.update(zip(names, (total / count, greatest), strict=True))

    def _measuring(self) -> dict[str, Any]:
        inner = {name: inner_optimizer(each) for name, each in optimizers_of(self.model).items()}
        return {n: each for n, each in inner.items() if getattr(each, "measure_gradients", False)}
