"""Models that take images of any size."""

from typing import Any

import keras

from keras_distill.errors import InputError
from keras_distill.models.layer_calls import replace_calls


def with_open_size(model: keras.Model) -> keras.Model:
    """Rebuilds a model of square images of one size for images of any size.

    Convolutions and averages do not depend on the size, so that the result has the same weights
    and, at the former size, the same outputs. Height and width should be multiples of the stride of
    the backbone, 32 for most.

    Args:
        model: A functional model of images, such as one of `build_counter` or `build_scorer`.

    Returns:
        A model of its own, with a copy of the weights.

    Raises:
        InputError: If the model has layers that need the size, such as a flattened map.

    Example:
        >>> counter = build_counter("mobilenet", alpha=0.25, image_size=64, backbone_weights="none")
        >>> with_open_size(counter).input_shape
        (None, None, None, 3)
    """
    config = keras.saving.serialize_keras_object(model)
    try:
        rebuilt = keras.saving.deserialize_keras_object(_opened(config))
        rebuilt.set_weights(model.get_weights())
    except (ValueError, TypeError) as error:
        raise InputError(
            f"`model` {model.name!r} cannot take images of another size than "
            f"{model.input_shape[1]}: {error}"
        ) from error
    replace_calls(rebuilt)
    return rebuilt


def _opened(config: Any) -> Any:
    """Copies a configuration with every input of images open in height and width."""
    if isinstance(config, dict):
        if config.get("class_name") == "InputLayer":
            shape = config["config"]["batch_shape"]
            if len(shape) == 4:
                opened = [shape[0], None, None, shape[3]]
                return {**config, "config": {**config["config"], "batch_shape": opened}}
        return {key: _opened(value) for key, value in config.items() if key != "build_config"}
    if isinstance(config, (list, tuple)):
        return type(config)(_opened(value) for value in config)
    return config
