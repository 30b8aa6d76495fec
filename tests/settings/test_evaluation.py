import importlib

import pytest

from keras_distill.settings.evaluation import (
    PROTOCOL_OF_RECIPE,
    PROTOCOLS,
    EvaluationSettings,
    evaluate_command,
)
from keras_distill.settings.recipes import RECIPES


def test_every_recipe_has_a_protocol_and_every_protocol_evaluates():
    assert PROTOCOL_OF_RECIPE.keys() == RECIPES.keys()
    assert set(PROTOCOL_OF_RECIPE.values()) <= set(PROTOCOLS)
    for protocol in PROTOCOLS:
        assert importlib.import_module(f"keras_distill.evaluation.{protocol}_protocol").evaluate


def test_flag_files_of_every_recipe_are_read(tmp_path):
    for recipe, settings in RECIPES.items():
        file = tmp_path / "flags.txt"
        file.write_text(f"--recipe={recipe}\n--nodeterministic\n--dataset=glyphs\n--epochs=3\n")
        assert evaluate_command().parse([f"--flagfile={file}"]).dataset == "glyphs"
        assert settings.recipe


@pytest.mark.parametrize(
    ("settings", "seen", "classes", "shown"),
    [
        ({}, False, 2, "classes"),
        ({}, True, 2, "queries"),
        ({}, False, 1, "queries"),
        ({"split": "train"}, False, 2, "queries"),
        ({"intervals": "classes"}, True, 2, "classes"),
    ],
)
def test_intervals_are_over_classes_where_other_classes_are_of_interest(
    settings, seen, classes, shown
):
    given = EvaluationSettings(**settings)
    assert given.shown_intervals(seen=seen, classes=classes) == shown
