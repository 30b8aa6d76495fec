"""Recipes that `train` knows, and their settings."""

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any

from absl import flags

from keras_distill.settings.command import Command
from keras_distill.settings.dashed_flags import DashedFlagValues
from keras_distill.settings.distill import DistillSettings
from keras_distill.settings.head_sharing import HeadSharingSettings
from keras_distill.settings.multilabel import MultiLabelSettings
from keras_distill.settings.ranked_regression import RankedRegressionSettings
from keras_distill.settings.training import TrainSettings

#: Settings by recipe, which is the module of that name in `keras_distill.recipes`.
RECIPES: dict[str, type[TrainSettings]] = {
    "distill": DistillSettings,
    "head_sharing": HeadSharingSettings,
    "multilabel": MultiLabelSettings,
    "ranked_regression": RankedRegressionSettings,
}


def train_command(argv: Sequence[str] = (), description: str = "") -> Command[Any]:
    """Makes the command `train` with the flags of the recipe that the arguments name.

    Args:
        argv: Arguments without the program's name; may name flag files.
        description: Text of the help.

    Returns:
        The command. A flag of another recipe is refused by a sentence that names that recipe.
    """
    recipe = _recipe_of(argv)
    own = {field.name for field in dataclasses.fields(RECIPES[recipe])}
    foreign = {
        field.name: f"belongs to the recipe {name}: give --recipe={name}, or leave it out"
        for name, settings in RECIPES.items()
        for field in dataclasses.fields(settings)
        if field.name not in own
    }
    command = Command("keras_distill.train", description, RECIPES[recipe], foreign=foreign)
    flags.register_validator(
        "recipe",
        lambda name: name in RECIPES,
        f"is unknown; give one of {', '.join(RECIPES)}.",
        flag_values=command.flags,
    )
    return command


def _recipe_of(argv: Sequence[str]) -> str:
    """The recipe that arguments name; the default if they are invalid."""
    values = DashedFlagValues()
    flags.DEFINE_string("flagfile", None, "", flag_values=values)
    flags.DEFINE_string("recipe", TrainSettings.recipe, "", flag_values=values)
    with contextlib.suppress(flags.Error):
        values(["train", *argv], known_only=True)
    named = values["recipe"].value
    return named if named in RECIPES else TrainSettings.recipe
