"""Values of a training's variables at the epoch that its product was taken from."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_distill.methods.optimizers import inner_optimizer, optimizers_of
from keras_distill.models.keras_internals import moving_averages
from keras_distill.runs.checkpoints import CheckpointFolder
from keras_distill.training.training_variables import name_of


def best_value(model: keras.Model, variable: Any, checkpoints: str | Path) -> np.ndarray | None:
    """Reads a variable that is not part of the product, as it was when the product was saved.

    Args:
        model: The compiled model that was trained.
        variable: One of its variables.
        checkpoints: Folder of the checkpoints of `ResumableCallbacks`.

    Returns:
        The value at the best epoch, or at the last if none was chosen, and the moving average if
        the optimiser keeps one; `None` if there is no checkpoint.
    """
    folder = CheckpointFolder(checkpoints)
    newest = folder.newest()
    if newest is None:
        return None
    best = newest.state()["best_step"]
    chosen = next((each for each in folder.all() if each.step == best), newest)
    kept = variable
    for optimizer in map(inner_optimizer, optimizers_of(model).values()):
        if optimizer.use_ema:
            kept = moving_averages(optimizer).get(id(variable), kept)
    return chosen.arrays()[name_of(model, kept)]
