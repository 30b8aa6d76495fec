"""Names of the classes of a model's logits, kept in the model."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import keras
from keras import ops

from keras_distill.errors import InputError
from keras_distill.models.keras_internals import all_layers

#: Name of the output of a classifier.
LOGITS = "logits"

Activation: TypeAlias = Literal["sigmoid", "softmax"]


@keras.saving.register_keras_serializable("keras_distill")
class LabelNames(keras.layers.Layer):
    """Returns logits as they are, in float32, and keeps the names of their classes.

    The names are saved with the model, and exported with it. The layer has the name of the output
    that it describes.

    Args:
        names: Name of each class, in the order of the logits.
        thresholds: Probability from which each class counts as present; `None` for 0.5. May be set
            later, on the attribute, for example when they were calibrated.
        activation: What turns the logits into probabilities: `"sigmoid"` where an image may have
            several labels, `"softmax"` where it has one.
        **kwargs: As of `keras.layers.Layer`.

    Raises:
        InputError: If names are empty or repeated, thresholds do not match them, or the activation
            is unknown.

    Example:
        >>> import keras
        >>> layer = LabelNames(["cat", "dog"])
        >>> layer(keras.ops.ones((1, 2))).shape, layer.names
        (TensorShape([1, 2]), ('cat', 'dog'))
    """

    def __init__(
        self,
        names: Sequence[str],
        thresholds: Sequence[float] | None = None,
        activation: Activation = "sigmoid",
        **kwargs: Any,
    ):
        super().__init__(**{"name": LOGITS, "dtype": "float32", **kwargs})
        self.names = checked_names(names)
        if activation not in ("sigmoid", "softmax"):
            raise InputError(f"`activation={activation!r}` is unknown; give sigmoid or softmax.")
        self.activation = activation
        self.thresholds = thresholds

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """Probability from which each class counts as present; `None` for 0.5."""
        return self._thresholds

    @thresholds.setter
    def thresholds(self, values: Sequence[float] | None) -> None:
        if values is not None:
            values = tuple(map(float, values))
            if len(values) != len(self.names) or not all(0 <= value <= 1 for value in values):
                raise InputError(
                    f"`thresholds` are {len(values)} values for {len(self.names)} labels; give a "
                    "probability from 0 to 1 for each."
                )
        self._thresholds = values

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Checks that there is a logit for each name."""
        if input_shape[-1] != len(self.names):
            raise InputError(
                f"`names` has {len(self.names)} labels for {input_shape[-1]} logits; give one each."
            )

    def call(self, logits: Any) -> Any:
        """Returns the logits."""
        return ops.cast(logits, "float32")

    def probabilities(self, logits: Any) -> Any:
        """Returns the probabilities of logits `(batch, classes)`, float32."""
        logits = ops.cast(logits, "float32")
        return ops.sigmoid(logits) if self.activation == "sigmoid" else ops.softmax(logits)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Returns the shape of the logits."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "names": list(self.names),
            "thresholds": None if self.thresholds is None else list(self.thresholds),
            "activation": self.activation,
        }


def checked_names(names: Sequence[str], argument: str = "labels") -> tuple[str, ...]:
    """Checks names of labels.

    Args:
        names: The names.
        argument: What messages call them.

    Returns:
        The names.

    Raises:
        InputError: If there are none, one is empty, or one occurs twice.
    """
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise InputError(f"`{argument}={names!r}` is not a list of names; give a list of strings.")
    names = tuple(names)
    if not names or not all(name.strip() for name in names):
        raise InputError(f"`{argument}` must be names, and none of them may be empty.")
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InputError(f"`{argument}` has {', '.join(twice)} more than once; give each one once.")
    return names


def find_labels(model: keras.Model, output: str = LOGITS) -> LabelNames | None:
    """Finds the names of the classes of an output.

    Args:
        model: The model; it may have been saved and loaded.
        output: Name of the output.

    Returns:
        The layer that has the names; `None` if they are not known.

    Example:
        >>> classifier = build_classifier(
        ...     ["cat", "dog"], "mobilenet", alpha=0.25, image_size=32, backbone_weights="none"
        ... )
        >>> find_labels(classifier).names
        ('cat', 'dog')
    """
    found = [
        layer
        for layer in all_layers(model, include_self=False)
        if isinstance(layer, LabelNames) and layer.name == output
    ]
    return found[-1] if found else None
