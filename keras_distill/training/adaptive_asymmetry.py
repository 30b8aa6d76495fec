"""Adaptive asymmetry: a focusing exponent that follows the confidence gap."""

from typing import Any

import keras
import numpy as np

from keras_distill.errors import InputError
from keras_distill.losses.labels.asymmetric_loss import AsymmetricLoss


class AdaptiveAsymmetry(keras.callbacks.Callback):
    """Changes `gamma_negative` of an `AsymmetricLoss` so that the confidence gap meets a target.

    After each epoch `gamma_negative` grows by `rate * (target - gap)`, between 0 and `maximum`, and
    is put into the logs. The gap is `p+ - p-`, the mean probability of being right at true labels
    minus the same at false ones, which `ConfidenceGap` measures. If the true labels lag behind, the
    exponent grows, and false ones count less.

    The paper of the loss describes an adaptive asymmetry that its code does not have; this rule is
    ours. Its state is part of a checkpoint of `ResumableCallbacks`.

    Args:
        loss: The loss, which the model is compiled with.
        target: The gap to hold; at 0 true and false labels are equally sure.
        rate: Growth of the exponent in an epoch for a gap that is too small by 1.
        maximum: Greatest exponent.
        monitor: Name of the gap in the logs, `"val_confidence_gap"` for validation images.

    Raises:
        InputError: If the loss is another one, a number is out of range, or the logs have no gap.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from keras_distill import AdaptiveAsymmetry, AsymmetricLoss, ConfidenceGap
        >>> loss = AsymmetricLoss(gamma_negative=2.0)
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> model.compile("adam", loss=loss, metrics=[ConfidenceGap()])
        >>> images, targets = np.ones((8, 4)), np.eye(8, 3, dtype="int8")
        >>> adaptive = AdaptiveAsymmetry(loss, target=0.1)
        >>> history = model.fit(images, targets, epochs=2, callbacks=[adaptive], verbose=0).history
        >>> len(history["gamma_negative"])
        2
    """

    def __init__(
        self,
        loss: AsymmetricLoss,
        *,
        target: float = 0.0,
        rate: float = 1.0,
        maximum: float = 8.0,
        monitor: str = "confidence_gap",
    ):
        super().__init__()
        if not isinstance(loss, AsymmetricLoss):
            raise InputError(
                f"`loss` is a {type(loss).__name__}, but only AsymmetricLoss has an exponent that "
                "can be adapted."
            )
        if not (-1 < target < 1 and rate > 0 and maximum > 0):
            raise InputError(
                f"`target={target}` must be between -1 and 1, `rate={rate}` and "
                f"`maximum={maximum}` above 0."
            )
        self._loss = loss
        self._target = target
        self._rate = rate
        self._maximum = maximum
        self._monitor = monitor

    def set_model(self, model: keras.Model) -> None:
        """Makes the exponent a variable, which the step of the model reads."""
        super().set_model(model)
        with model.distribute_strategy.scope():
            self._loss.make_adaptive()
        model.train_function = model.test_function = None  # traced before, they hold a constant

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is None or self._monitor not in logs:
            raise InputError(
                f"`monitor={self._monitor!r}` is not in the logs; compile the model with "
                "metrics=[ConfidenceGap()]."
            )
        grown = self._gamma + self._rate * (self._target - float(logs[self._monitor]))
        self._gamma = float(np.clip(grown, 0.0, self._maximum))
        logs["gamma_negative"] = self._gamma

    def get_state(self) -> dict[str, Any]:
        """Returns what `set_state` takes; see `ResumableCallbacks`."""
        return {"gamma_negative": self._gamma}

    def set_state(self, state: dict[str, Any]) -> None:
        """Resumes from an earlier state."""
        self._gamma = state["gamma_negative"]

    @property
    def _gamma(self) -> float:
        return self._loss.get_config()["gamma_negative"]

    @_gamma.setter
    def _gamma(self, value: float) -> None:
        self._loss.gamma_negative.assign(value)
