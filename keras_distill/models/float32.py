"""Rebuilding a model in float32."""

from typing import Any

import keras


def as_float32(model: keras.Model) -> keras.Model:
    """Rebuilds a model of any dtype policy with float32 layers and the same weights.

    float16 layers are ten times slower than float32 ones on a CPU.

    Args:
        model: A functional model.

    Returns:
        The same model if it is float32 already, otherwise a new one.
    """
    config = keras.saving.serialize_keras_object(model)
    in_float32 = _replace_policies(config)
    if in_float32 == config:
        return model
    rebuilt = keras.saving.deserialize_keras_object(in_float32)
    rebuilt.set_weights(model.get_weights())
    return rebuilt


def _replace_policies(config: Any) -> Any:
    """Copies a configuration with every dtype policy replaced by float32."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return {**config, "config": {**config["config"], "name": "float32"}}
        return {key: _replace_policies(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(_replace_policies(value) for value in config)
    return config
