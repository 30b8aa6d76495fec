"""Checks of a request against a signature, with TF-Serving's messages."""

from collections.abc import Collection, Sequence
from typing import Any

import grpc
import numpy as np
import tensorflow as tf

from keras_distill.serving.embedded.refusal import Refusal, invalid

_NAMES_IN_C = {"float16": "half", "float32": "float", "float64": "double"}


def find_signature(signatures: Any, name: str) -> Any:
    """Returns a signature of a model.

    Args:
        signatures: SignatureDefs by name.
        name: The name of one of them.

    Raises:
        Refusal: If there is none.
    """
    if name not in signatures:
        message = f'Serving signature key "{name}" not found.'
        raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, message)
    return signatures[name]


def check_names(signature: Any, given: Collection[str]) -> None:
    """Refuses inputs whose names differ from the signature.

    Args:
        signature: The SignatureDef.
        given: Names of the inputs in the request.

    Raises:
        Refusal: If one is missing, or does not belong there.
    """
    sent, wanted = set(given), set(signature.inputs)
    if len(sent) != len(wanted):
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(wanted)} len({_set(sent)}) != "
            f"len({_set(wanted)}). Sent extra: {_set(sent - wanted)}. Missing but required: "
            f"{_set(wanted - sent)}."
        )
    for name in sorted(wanted - sent):
        raise invalid(
            f"Signature input alias: {name}(feed name: {signature.inputs[name].name}) not found in "
            "request and no default value provided. Inputs expected to be in the request "
            f"{_set(sent)}, or default input alias set: "
        )


def chosen_outputs(signature: Any, wanted: Sequence[str]) -> list[str]:
    """Returns the names of the outputs that a request wants.

    Args:
        signature: The SignatureDef.
        wanted: The request's `output_filter`; all outputs if it is empty.

    Raises:
        Refusal: If one does not exist or is named twice.
    """
    for place, name in enumerate(wanted):
        if name not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {name} Outputs expected to be in the "
                f"set {_set(signature.outputs)}."
            )
        if name in wanted[:place]:
            raise invalid(f"duplicate output tensor alias: {name}")
    return list(wanted) or sorted(signature.outputs)


def check_arrays(signature: Any, arrays: dict[str, np.ndarray]) -> None:
    """Refuses arrays of another type or shape than in the signature, and empty batches.

    Args:
        signature: The SignatureDef.
        arrays: The inputs.

    Raises:
        Refusal: For the first input that does not fit.
    """
    for place, name in enumerate(sorted(signature.inputs)):
        wanted, array = signature.inputs[name], arrays[name]
        dtype, given = tf.as_dtype(wanted.dtype), tf.as_dtype(array.dtype)
        if given != dtype:
            raise invalid(
                f"Expects arg[{place}] to be {_in_c(dtype)} but {_in_c(given)} is provided"
            )
        if wanted.tensor_shape.unknown_rank:
            continue
        sizes = [dim.size for dim in wanted.tensor_shape.dim]
        fits = array.ndim == len(sizes) and all(
            size in (-1, found) for size, found in zip(sizes, array.shape, strict=True)
        )
        if not fits:
            node = wanted.name.replace(":", "_")
            raise invalid(
                f"Shape of tensor _arg_{node}_{place} {_shape(array.shape)} is not compatible with "
                f"expected shape {_shape(sizes)}."
            )
        if sizes[:1] == [-1] and array.shape[0] == 0:
            raise invalid(f"Input {name} is an empty batch: shape {_shape(array.shape)}.")


def _set(names: Collection[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _in_c(dtype: tf.DType) -> str:
    return _NAMES_IN_C.get(dtype.name, dtype.name)


def _shape(sizes: Sequence[int]) -> str:
    return "[" + ",".join("?" if size < 0 else str(size) for size in sizes) + "]"
