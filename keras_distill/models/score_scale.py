"""Scale of a score: a layer that keeps what the numbers mean."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_distill.errors import InputError
from keras_distill.models.keras_internals import all_layers

#: Name of the output of a model of `build_scorer`.
SCORE = "score"


@keras.saving.register_keras_serializable("keras_distill")
class ScoreScale(keras.layers.Layer):
    """Brings a score of unit scale to that of the human scores: `mean + deviation * x`.

    The head below it starts near 0, and so the model near the mean score, whatever the scale is;
    the layer is saved and exported with the model.

    Args:
        mean: Mean of the training scores.
        deviation: Their standard deviation.
        higher_is_better: Whether a higher score is a better one.
        name: Name of the layer, which is that of the output.

    Raises:
        InputError: If a number is not finite, or the deviation not positive.

    Example:
        >>> import numpy as np
        >>> ScoreScale(3.0, 0.5)(np.array([[2.0]])).numpy()
        array([[4.]], dtype=float32)
    """

    def __init__(
        self,
        mean: float = 0.0,
        deviation: float = 1.0,
        higher_is_better: bool = True,
        *,
        name: str = SCORE,
        **kwargs: Any,
    ):
        if not (math.isfinite(mean) and 0 < deviation < math.inf):
            raise InputError(
                f"ScoreScale: `mean={mean}` and `deviation={deviation}` must be finite, and the "
                "deviation above 0; give those of the training scores."
            )
        super().__init__(name=name, **{"dtype": "float32", **kwargs})
        self.mean, self.deviation = float(mean), float(deviation)
        self.higher_is_better = bool(higher_is_better)

    def call(self, x: Any) -> Any:
        """Returns the scaled scores."""
        return self.mean + self.deviation * ops.cast(x, "float32")

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Returns the shape of the scores."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "mean": self.mean,
            "deviation": self.deviation,
            "higher_is_better": self.higher_is_better,
        }


def find_score_scale(model: keras.Model) -> ScoreScale | None:
    """Finds the scale of a model's score.

    Args:
        model: The model; it may have been saved and loaded.

    Returns:
        The layer; `None` if the model has none.
    """
    found = [each for each in all_layers(model, include_self=False) if isinstance(each, ScoreScale)]
    return found[-1] if found else None
