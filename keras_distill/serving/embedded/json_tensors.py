"""Conversion between TF-Serving's JSON, by row or by column, and tensors."""

import base64
import binascii
from typing import Any

import numpy as np
import tensorflow as tf

from keras_distill.serving.embedded.refusal import invalid

_BINARY = "b64"


def request_tensors(body: Any, signature: Any) -> tuple[dict[str, Any], bool]:
    """Reads the inputs of a request.

    Args:
        body: The decoded JSON: an object with `instances`, a list of values or of objects by name
            of input; or with `inputs`, one value or an object by name of input. Strings of bytes
            are `{"b64": ...}`.
        signature: The SignatureDef, which knows the types.

    Returns:
        `TensorProto`s by name, and whether they came as rows.

    Raises:
        Refusal: If it is something else, or a value does not have the type of its input.
    """
    rows = "instances" in body
    if rows == ("inputs" in body):
        raise invalid(
            "JSON Value: Not formatted correctly expecting only one of 'inputs' or 'instances' "
            "keys to exist "
            if rows
            else "Missing 'inputs' or 'instances' key"
        )
    columns = _columns(body["instances"]) if rows else body["inputs"]
    if not _is_named(columns):
        if len(signature.inputs) != 1:
            raise invalid(f"The inputs have to be named: {', '.join(sorted(signature.inputs))}.")
        columns = {next(iter(signature.inputs)): columns}
    tensors = {}
    for name, value in columns.items():
        # An unknown name is refused later, in the words of gRPC's refusal.
        dtype = tf.as_dtype(signature.inputs[name].dtype) if name in signature.inputs else tf.string
        try:
            tensors[name] = _tensor(value, dtype)
        except RecursionError as error:
            raise invalid(f"Input {name} has too many dimensions.") from error
        except (ValueError, TypeError, OverflowError, binascii.Error) as error:
            raise invalid(f"Input {name} cannot be read as {dtype.name}: {error}") from error
    return tensors, rows


def response_values(outputs: Any, *, rows: bool) -> dict[str, Any]:
    """Returns the outputs of a response as plain values for JSON.

    Args:
        outputs: `TensorProto`s by name.
        rows: Whether to answer row by row, as in the request.

    Returns:
        `predictions` or `outputs`; values without name if there is one output.
    """
    values = {name: _value(tensor) for name, tensor in outputs.items()}
    if not rows:
        return {"outputs": next(iter(values.values())) if len(values) == 1 else values}
    if len(values) == 1:
        return {"predictions": next(iter(values.values()))}
    columns = zip(*values.values(), strict=True)
    return {"predictions": [dict(zip(values, row, strict=True)) for row in columns]}


def _columns(instances: Any) -> Any:
    """Turns rows with names into columns; rows without names stay unchanged."""
    if not isinstance(instances, list) or not instances:
        raise invalid("'instances' has to be a list of values, and not an empty one.")
    if not _is_named(instances[0]):
        return instances
    names = instances[0].keys()
    if not all(_is_named(row) and row.keys() == names for row in instances):
        raise invalid("All instances have to name the same inputs.")
    return {name: [row[name] for row in instances] for name in names}


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() != {_BINARY}


def _tensor(value: Any, dtype: tf.DType) -> Any:
    if dtype == tf.string:
        strings: list[bytes] = []
        shape = _read_strings(value, strings)
        return tf.make_tensor_proto(strings, tf.string, shape)
    array = np.array(value)
    kinds = "iuf" if dtype.is_floating else "b" if dtype.is_bool else "iu"
    if array.size and array.dtype.kind not in kinds:
        raise ValueError("it holds something else, or lists of different lengths")
    with np.errstate(over="ignore"):
        numbers = array.astype(dtype.as_numpy_dtype)
    if dtype.is_integer and not np.array_equal(numbers, array):
        raise ValueError("a number is out of range")
    return tf.make_tensor_proto(numbers)


def _read_strings(value: Any, strings: list[bytes]) -> list[int]:
    """Appends the strings of a nested list, and returns its shape."""
    if isinstance(value, list):
        shapes = [_read_strings(inner, strings) for inner in value]
        if any(shape != shapes[0] for shape in shapes):
            raise ValueError("its lists have different lengths")
        return [len(value), *(shapes[0] if shapes else [])]
    if isinstance(value, dict) and value.keys() == {_BINARY} and isinstance(value[_BINARY], str):
        strings.append(base64.b64decode(value[_BINARY], validate=True))
    elif isinstance(value, str):
        strings.append(value.encode())
    else:
        raise ValueError("it holds something else")
    return []


def _value(tensor: Any) -> Any:
    value = tf.make_ndarray(tensor).tolist()
    return _json_strings(value) if tensor.dtype == tf.string.as_datatype_enum else value


def _json_strings(value: Any) -> Any:
    if isinstance(value, list):
        return [_json_strings(inner) for inner in value]
    return {_BINARY: base64.b64encode(value).decode()}
