"""Optimisers of a model that may have several."""

from typing import Any

import keras


def optimizers_of(model: keras.Model) -> dict[str, keras.optimizers.Optimizer]:
    """Returns the optimisers of a compiled model by name; see `Method.optimizers`.

    Args:
        model: A `Method`, or any other model, which has one, `""`.

    Returns:
        The optimisers.
    """
    return getattr(model, "optimizers", None) or {"": model.optimizer}


def variables_of(model: keras.Model, optimizer: str) -> list[keras.Variable]:
    """Returns the variables that an optimiser of a model updates; see `Method.variables_of`."""
    if hasattr(model, "variables_of"):
        return model.variables_of(optimizer)
    return model.trainable_variables


def inner_optimizer(optimizer: keras.optimizers.Optimizer) -> Any:
    """Returns the optimiser that makes the steps, within the one that scales the loss, if any."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def value_name(name: str, optimizer: str) -> str:
    """Returns the name of a value of an optimiser in logs: without its own if that is `""`.

    Example:
        >>> value_name("learning_rate", ""), value_name("learning_rate", "critic")
        ('learning_rate', 'learning_rate_critic')
    """
    return f"{name}_{optimizer}" if optimizer else name


def is_value(name: str, base: str) -> bool:
    """Tells whether a name in logs is a value of some optimiser; see `value_name`."""
    return name == base or name.startswith(f"{base}_")


def build_optimizers(model: keras.Model) -> None:
    """Makes the variables of all optimisers of a compiled model that have none yet."""
    if hasattr(model, "build_optimizers"):
        model.build_optimizers()
    elif not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
