"""Feature maps from within a model, from the forward pass that yields its embeddings."""

import threading
from collections.abc import Sequence
from typing import Any

import keras

from keras_distill.models.inner_layers import map_layers
from keras_distill.models.unit_norm import find_unit_norm

#: Name of the vectors before the unit norm among the outputs of a tap.
UNNORMALISED = "unnormalised"


class FeatureTap:
    """Runs a model and returns the outputs of some of its inner layers too.

    The model runs once, so that its moving statistics are updated once. Its layers are tapped on
    the objects, which changes neither its outputs nor what is saved.

    Args:
        model: A functional or sequential model; layers may lie in models within it.
        layers: Names of layers with a feature map, or their paths; see `find_path`.
        unnormalised: Whether the vectors before the unit norm are recorded too, as `UNNORMALISED`;
            the model's output, if it ends without one.

    Raises:
        InputError: If there is no such layer, if several have the name, or if the unit norm is not
            found.

    Example:
        >>> from keras_distill import build_embedder
        >>> embedder = build_embedder(
        ...     "mobilenet", alpha=0.25, image_size=64, backbone_weights="none"
        ... )
        >>> tap = FeatureTap(embedder, ["conv_pw_11_relu"])
        >>> embeddings, maps = tap(keras.ops.zeros((2, 64, 64, 3)))
        >>> maps["conv_pw_11_relu"].shape
        TensorShape([2, 4, 4, 128])
    """

    def __init__(self, model: keras.Model, layers: Sequence[str], *, unnormalised: bool = False):
        self.model = model
        self._unnormalised = unnormalised
        norm = find_unit_norm(model) if unnormalised else None
        chosen = map_layers(model, layers)
        self.shapes: dict[str, tuple[int | None, ...]] = {
            name: tuple(layer.output.shape) for name, layer in chosen.items()
        }
        self._recorded = threading.local()  # each replica is traced in a thread of its own
        for name, layer in chosen.items():
            object.__setattr__(layer, "call", self._recording(name, layer.call))
        if norm is not None:
            object.__setattr__(norm, "call", self._recording_input(norm.call))

    def __call__(self, images: Any, training: bool = False) -> tuple[Any, dict[str, Any]]:
        """Runs the model.

        Args:
            images: Its input.
            training: Whether it runs in training mode.

        Returns:
            Its output, and the outputs of the layers by name, maybe with `UNNORMALISED`.
        """
        self._recorded.maps = {}
        try:
            outputs = self.model(images, training=training)
            if self._unnormalised:
                self._recorded.maps.setdefault(UNNORMALISED, outputs)
            return outputs, self._recorded.maps
        finally:
            self._recorded.maps = None

    def _recording(self, name: str, original: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            output = original(*args, **kwargs)
            maps = getattr(self._recorded, "maps", None)
            if maps is not None and name not in maps:
                maps[name] = output
            return output

        return call

    def _recording_input(self, original: Any) -> Any:
        def call(vectors: Any, *args: Any, **kwargs: Any) -> Any:
            maps = getattr(self._recorded, "maps", None)
            if maps is not None:
                maps[UNNORMALISED] = vectors
            return original(vectors, *args, **kwargs)

        return call
