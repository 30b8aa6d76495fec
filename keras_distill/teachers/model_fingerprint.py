"""Hashes of everything that decides a model's outputs."""

import hashlib
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

# Parts of a model's configuration that do not affect its outputs in inference mode.
_IRRELEVANT = ("build_config", "compile_config", "trainable")
# Parts that refer to layers by their names.
_REFERENCES = ("keras_history", "input_layers", "output_layers")


def fingerprint_of(*parts: Any) -> str:
    """Hashes numbers, texts, bytes, arrays and lists or dicts of plain values, in their order.

    Args:
        *parts: What to hash. Arrays count by dtype, shape and bytes, all else by its JSON text.

    Returns:
        32 hexadecimal digits, the same in every process.

    Example:
        >>> fingerprint_of("table", [1, 2]) == fingerprint_of("table", [1, 2])
        True
    """
    total = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, np.ndarray):
            kind, content = f"{part.dtype} {part.shape}", np.ascontiguousarray(part).tobytes()
        elif isinstance(part, bytes):
            kind, content = "bytes", part
        else:
            kind, content = "json", json.dumps(part, sort_keys=True).encode()
        total.update(f"{kind} {len(content)}:".encode())
        total.update(content)
    return total.hexdigest()


def model_fingerprint(model: keras.Model) -> str | None:
    """Hashes a functional model's configuration and weights.

    Names do not count: Keras numbers those that nobody gave, and counts on within a process.

    Args:
        model: The model.

    Returns:
        The hash; `None` if a custom layer does not return its configuration.
    """
    try:
        config = _nameless(keras.saving.serialize_keras_object(model.get_config()), {})
    except (NotImplementedError, TypeError):
        return None
    weights = (keras.ops.convert_to_numpy(weight) for weight in model.weights)
    return fingerprint_of("keras", type(model).__name__, config, *weights)


def folder_fingerprint(folder: Path) -> str:
    """Hashes a SavedModel's graph, variables and assets, by relative path and content.

    Args:
        folder: The folder.

    Returns:
        The hash.
    """
    parts = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name.startswith(("saved_model.pb", "variables/", "assets/")):
            with path.open("rb") as file:
                parts += [name, hashlib.file_digest(file, "blake2b").hexdigest()]
    return fingerprint_of("saved_model", parts)


def _nameless(value: Any, places: dict[str, int]) -> Any:
    """A configuration in which a layer is known by its place in its model, not by its name."""
    if isinstance(value, list | tuple):
        return [_nameless(item, places) for item in value]
    if not isinstance(value, dict):
        return value
    value = {key: item for key, item in value.items() if key not in _IRRELEVANT}
    if isinstance(value.get("layers"), list):  # the configuration of a model
        layers = value["layers"]
        places = {layer["config"]["name"]: place for place, layer in enumerate(layers)}
        value["name"] = ""
        value["layers"] = [
            {**layer, "name": "", "config": {**layer["config"], "name": ""}} for layer in layers
        ]
    return {
        key: _placed(item, places) if key in _REFERENCES else _nameless(item, places)
        for key, item in value.items()
    }


def _placed(reference: Any, places: dict[str, int]) -> Any:
    if isinstance(reference, list | tuple):
        return [_placed(item, places) for item in reference]
    return places.get(reference, reference) if isinstance(reference, str) else reference
