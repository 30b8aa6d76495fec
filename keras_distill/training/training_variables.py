"""Variables of a training as arrays: weights, optimisers and metrics."""

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from keras_distill.errors import InputError
from keras_distill.methods.optimizers import build_optimizers, optimizers_of

WEIGHTS, OPTIMIZER, METRICS = "model", "optimizer", "metrics"


def read_variables(model: keras.Model) -> dict[str, np.ndarray]:
    """Copies everything that a training step of a model may change.

    Args:
        model: A compiled model: its weights, the statistics of batch normalisations, the seeds of
            random layers; the moments, iterations, moving averages and loss scale of each of its
            optimisers; the sums of its metrics.

    Returns:
        The arrays, named by group and place, such as `model/0`; for an optimiser with a name, see
        `Method.optimizers`, such as `optimizer/critic/0`.
    """
    return {name: _readable(_value(variable)) for name, variable in _variables(model)}


def assign_variables(model: keras.Model, arrays: Mapping[str, np.ndarray], *groups: str) -> None:
    """Restores the variables that `read_variables` copied.

    Args:
        model: A model built like the one that was read.
        arrays: The arrays of `read_variables`, maybe among others.
        *groups: `WEIGHTS`, `OPTIMIZER` or `METRICS`.

    Raises:
        InputError: If the arrays are of another model.
    """
    variables = {name: v for name, v in _variables(model) if name.partition("/")[0] in groups}
    stored = {name for name in arrays if name.partition("/")[0] in groups}
    if unmatched := variables.keys() ^ stored:
        raise InputError(
            f"the checkpoint is of another model: {len(stored)} variables are stored, and there "
            f"are {len(variables)}, such as {min(unmatched)!r}."
        )
    for name, variable in variables.items():
        value = _value(variable)
        array = arrays[name]
        if _readable(value).dtype != array.dtype or value.shape != array.shape:
            raise InputError(
                f"the checkpoint is of another model: {variable.path} is {array.dtype} "
                f"{array.shape} there, and {value.dtype} {value.shape} here."
            )
        variable.assign(array.view(value.dtype))


def name_of(model: keras.Model, variable: Any) -> str:
    """Returns the name of a variable among those of `read_variables`.

    Args:
        model: The model.
        variable: One of its variables, or of its optimisers' or metrics'.

    Raises:
        InputError: If it is none of them.
    """
    for name, each in _variables(model):
        if each is variable:
            return name
    raise InputError(f"`variable` {variable.path!r} is not one of {model.name!r}.")


def _variables(model: keras.Model) -> Iterator[tuple[str, Any]]:
    build_optimizers(model)
    optimizers = {
        f"{OPTIMIZER}/{name}".rstrip("/"): optimizer.variables
        for name, optimizer in optimizers_of(model).items()
    }
    groups = {WEIGHTS: model.variables, **optimizers, METRICS: model.metrics_variables}
    for group, variables in groups.items():
        for place, variable in enumerate(variables):
            yield f"{group}/{place}", variable


def _value(variable: Any) -> np.ndarray:
    return np.array(keras.ops.convert_to_numpy(variable))


def _readable(array: np.ndarray) -> np.ndarray:
    """The bits as integers where NumPy's files have no type, as for bfloat16."""
    return array.view(f"u{array.itemsize}") if array.dtype.kind == "V" else array
