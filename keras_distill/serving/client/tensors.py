"""NumPy arrays and byte strings as the tensors of messages, and back."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_distill.serving.client.messages import TensorProto, enum_name

DT_FLOAT, DT_UINT8, DT_STRING = 1, 4, 7
_NUMBERS = {np.dtype(np.float32): DT_FLOAT, np.dtype(np.uint8): DT_UINT8}


def encode_strings(strings: Sequence[bytes]) -> Any:
    """Returns byte strings as a tensor `(n,)`.

    Args:
        strings: The strings.

    Returns:
        The `TensorProto`.
    """
    tensor = TensorProto(dtype=DT_STRING, string_val=strings)
    tensor.tensor_shape.dim.add(size=len(strings))
    return tensor


def encode_array(array: np.ndarray) -> Any:
    """Returns an array as a tensor of the same shape.

    Args:
        array: float32 or uint8 array.

    Returns:
        A `TensorProto`, with the numbers as `tensor_content`: little-endian, row by row.

    Example:
        >>> encode_array(np.array([[65, 66]], np.uint8)).tensor_content
        b'AB'
    """
    content = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    tensor = TensorProto(dtype=_NUMBERS[array.dtype], tensor_content=content)
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


def decode_float(tensor: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the numbers of a float32 tensor, in whichever of the two encodings they are.

    TF-Serving fills `float_val`, or `tensor_content` by
    `--enable_serialization_as_tensor_content`, which breaks its REST. As in TensorFlow, a
    `float_val` that is too short stands for its last number again and again, and an empty one for
    zeros.

    Args:
        tensor: A `TensorProto`.
        shape: The shape that it has to have.

    Returns:
        float32 array of that shape.

    Raises:
        ValueError: If it has another type or shape, or its numbers do not fill it.

    Example:
        >>> tensor = TensorProto(dtype=DT_FLOAT, float_val=[0.5])
        >>> _ = tensor.tensor_shape.dim.add(size=2)
        >>> decode_float(tensor, (2,))
        array([0.5, 0.5], dtype=float32)
    """
    sizes = tuple(dim.size for dim in tensor.tensor_shape.dim)
    if tensor.dtype != DT_FLOAT or sizes != shape or tensor.tensor_shape.unknown_rank:
        raise ValueError(
            f"a tensor of type {enum_name('DataType', tensor.dtype)} and shape {sizes}, "
            f"not DT_FLOAT and {shape}"
        )
    count = math.prod(shape)
    if tensor.tensor_content:
        if len(tensor.tensor_content) != 4 * count:
            raise ValueError(f"{len(tensor.tensor_content)} bytes in a float32 tensor {shape}")
        return np.frombuffer(tensor.tensor_content, "<f4").astype(np.float32).reshape(shape)
    values = np.array(tensor.float_val or [0.0], np.float32)
    if len(values) > count:
        raise ValueError(f"{len(values)} numbers in a float32 tensor {shape}")
    return np.pad(values, (0, count - len(values)), "edge").reshape(shape)
