"""Arrays in the configuration of a loss."""

import base64
from typing import Any

import numpy as np


def array_config(array: np.ndarray) -> dict[str, Any]:
    """Turns an array into a value for JSON, exactly, and in a third of the room of a list.

    Args:
        array: float32 array.

    Returns:
        Its shape, and its bytes as base64.
    """
    data = base64.b64encode(array.astype("<f4").tobytes()).decode()
    return {"shape": list(array.shape), "float32": data}


def array_from_config(config: Any) -> np.ndarray:
    """Returns the array that `array_config` was given."""
    return np.frombuffer(base64.b64decode(config["float32"]), "<f4").reshape(config["shape"])
