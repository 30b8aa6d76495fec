"""Optimisers of a model that may have several."""

import keras


def optimizers_of(model: keras.Model) -> dict[str, keras.optimizers.Optimizer]:
    """Returns the optimisers of a compiled model by name; see `Method.optimizers`.

    Args:
        model: A `Method`, or any other model, which has one, `""`.

    Returns:
        The optimisers.
    """
    return getattr(model, "optimizers", None) or {"": model.optimizer}


def build_optimizers(model: keras.Model) -> None:
    """Makes the variables of all optimisers of a compiled model that have none yet."""
    if hasattr(model, "build_optimizers"):
        model.build_optimizers()
    elif not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
