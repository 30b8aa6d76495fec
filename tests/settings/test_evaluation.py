import importlib

import pytest

from keras_distill.errors import InputError
from keras_distill.settings.evaluation import (
    PROTOCOLS,
    EvaluateSettings,
    EvaluationSettings,
    evaluate_command,
    protocol_of,
)
from keras_distill.settings.recipes import RECIPES


def test_every_recipe_has_a_protocol_and_every_protocol_evaluates():
    for recipe, settings in RECIPES.items():
        assert protocol_of(settings(recipe=recipe)) in PROTOCOLS
    for protocol in PROTOCOLS:
        assert importlib.import_module(f"keras_distill.evaluation.{protocol}_protocol").evaluate


@pytest.mark.parametrize(
    ("settings", "protocol"),
    [
        ({"recipe": "ranked_regression", "scores": "a.csv"}, "regression"),
        ({"recipe": "ranked_regression", "points": "csv"}, "counting"),
        ({"recipe": "ranked_regression", "stages": "rank", "head": "density"}, "counting"),
        ({"recipe": "ranked_regression", "dataset": "kadid:kadid"}, "regression"),
        ({"recipe": "multilabel", "dataset": "labels:a.csv"}, "multilabel"),
        ({"recipe": "distill", "dataset": "cub"}, "retrieval"),
    ],
)
def test_the_protocol_follows_from_the_run(settings, protocol):
    assert protocol_of(RECIPES[settings["recipe"]](**settings)) == protocol


def test_flag_files_of_every_recipe_are_read(tmp_path):
    for recipe, settings in RECIPES.items():
        file = tmp_path / "flags.txt"
        file.write_text(f"--recipe={recipe}\n--nodeterministic\n--dataset=glyphs\n--epochs=3\n")
        assert evaluate_command().parse([f"--flagfile={file}"]).dataset == "glyphs"
        assert settings.recipe


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"protocol": "regression"}, "--dataset is required"),
        (
            {"protocol": "regression", "dataset": "cub"},
            "--dataset=cub is unknown; give folder:PATH",
        ),
        ({"protocol": "counting", "dataset": "folder:."}, "--protocol=counting needs --points"),
        ({"protocol": "retrieval", "dataset": "folder:.", "points": "csv"}, "reads no scores"),
    ],
)
def test_data_of_scores_and_points_are_checked(settings, said):
    with pytest.raises(InputError, match=said):
        EvaluateSettings(**settings).check()


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


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--protocol=retrieval", "--crops=3"], "--crops is not offered by --protocol=retrieval"),
        (["--protocol=retrieval", "--top_ks=3"], "--top_ks is not offered by --protocol=retrieval"),
        (["--protocol=accuracy", "--map_ks=3"], "--map_ks is not offered by --protocol=accuracy"),
        (["--protocol=verification", "--per_class"], "--per_class is not offered"),
        (["--protocol=retrieval", "--word_vectors=a"], "--word_vectors is not offered"),
        (["--protocol=retrieval", "--comparisons=a"], "--comparisons is not offered"),
    ],
)
def test_flags_of_other_protocols_are_refused(flags, said, tmp_path):
    data = "--dataset=glyphs" if "--protocol=accuracy" not in flags else "--dataset=cifar10"
    with pytest.raises(InputError, match=said):
        evaluate_command().parse([data, *flags]).check()


def test_degradations_of_vectors_are_refused(tmp_path):
    (tmp_path / "vectors").mkdir()
    (tmp_path / "albums" / "event").mkdir(parents=True)
    given = {"dataset": f"albums:{tmp_path}/albums", "album_vectors": f"{tmp_path}/vectors"}
    with pytest.raises(InputError, match="--degrade=blur:2 has no effect on vectors"):
        EvaluateSettings(**given, protocol="multilabel", degrade="blur:2").check()


@pytest.mark.parametrize("dataset", ["cifar100", "imagenet_folder:images"])
def test_data_that_are_split_by_image_are_classified(dataset):
    assert protocol_of(EvaluateSettings(dataset=dataset)) == "accuracy"
