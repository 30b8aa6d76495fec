"""Conversion between tensors of requests or answers and arrays."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from keras_distill.serving.embedded.refusal import Refusal, invalid


def read_tensor(name: str, tensor: Any, most_bytes: int) -> np.ndarray:
    """Returns the array that a `TensorProto` holds.

    A message of thirty bytes can stand for a terabyte, as one number that is repeated; so the
    claimed size is checked first.

    Args:
        name: Name of the input, for the message.
        tensor: The tensor.
        most_bytes: Maximum size of its numbers in bytes.

    Returns:
        The array; of `bytes` objects if it holds strings.

    Raises:
        Refusal: If it claims more than it may, or its content does not fit its shape.
    """
    sizes = tuple(dim.size for dim in tensor.tensor_shape.dim)
    try:
        if tensor.tensor_shape.unknown_rank or min(sizes, default=0) < 0:
            raise ValueError("a tensor without a shape")
        dtype = tf.as_dtype(tensor.dtype)
        numbers = dtype != tf.string
        count = math.prod(sizes)
        if not numbers and count != len(tensor.string_val):
            raise ValueError("more strings are claimed than there are")
        if numbers and count * dtype.size > most_bytes:
            raise invalid(
                f"tensor parsing error: {name} of shape {list(sizes)} claims {count * dtype.size} "
                f"bytes, more than the {most_bytes} that are accepted (the server's "
                "max_message_megabytes)."
            )
        if numbers and tensor.tensor_content:
            return np.frombuffer(tensor.tensor_content, dtype.as_numpy_dtype).reshape(sizes)
        return tf.make_ndarray(tensor)
    except Refusal:
        raise
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise invalid(f"tensor parsing error: {name}") from error


def write_tensor(tensor: Any, array: np.ndarray) -> None:
    """Fills a `TensorProto` as TF-Serving does: float32 number by number, others as bytes.

    Args:
        tensor: An empty tensor, which is changed.
        array: The array.
    """
    if array.dtype != np.float32:
        tensor.CopyFrom(tf.make_tensor_proto(array))
        return
    tensor.dtype = tf.float32.as_datatype_enum
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    tensor.float_val.extend(array.ravel().tolist())
