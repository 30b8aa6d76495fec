"""Warnings of `evaluate`, and of `train`'s validation, about measurements that mean nothing."""

import json
import shutil

import keras
import numpy as np
import pytest


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """An embedder of mean colours, and one that embeds all images alike."""
    folder = tmp_path_factory.mktemp("colours")
    for name, scale in (("good", 1.0), ("alike", 1e-9)):
        image = keras.Input((32, 32, 3), name="image")
        x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(scale / 255)(image))
        x = keras.layers.Dense(3, kernel_initializer="identity", bias_initializer="ones")(x)
        keras.Model(image, keras.layers.UnitNormalization()(x)).save(folder / f"{name}.keras")
    return folder


@pytest.fixture
def evaluate(here, tmp_path):
    """Evaluates; returns the warnings on the console and the figures."""

    def run(model, dataset, *flags):
        file = tmp_path / "figures.json"
        given = [f"--model={model}", f"--dataset=folder:{dataset}", "--train_classes=0:1"]
        ended = here("evaluate", *given, "--test_classes=1:", *flags, f"--json={file}")
        assert (ended.code, ended.err) == (0, "")
        said = [line for line in ended.out.splitlines() if line.startswith("warning: ")]
        figures = json.loads(file.read_text())
        assert said == [f"warning: {warning}" for warning in figures["warnings"]]
        return said, figures

    return run


@pytest.fixture
def singles(photos, tmp_path):
    """The same classes with one image each, but for the last, which has two."""
    for folder in sorted(photos.glob("class_*")):
        (tmp_path / "singles" / folder.name).mkdir(parents=True)
        for file in sorted(folder.iterdir())[: 2 if folder.name == "class_5" else 1]:
            shutil.copy(file, tmp_path / "singles" / folder.name)
    return tmp_path / "singles"


def test_a_good_measurement_has_no_warnings(evaluate, colours, photos):
    said, figures = evaluate(colours / "good.keras", photos)
    assert said == []
    assert figures["recall"]["1"] > 0.5
    assert figures["chance"]["recall"]["1"] == pytest.approx(9 / 49)


def test_embeddings_that_are_alike(evaluate, colours, photos):
    said, figures = evaluate(colours / "alike.keras", photos)
    assert figures["recall"]["1"] == pytest.approx(1 / 5, abs=0.1)
    alike, at_chance = said
    assert alike.startswith("warning: All embeddings are alike: their standard deviation is ")
    assert "cannot be told from chance, 0.1837 on these 50 images of 5 classes." in at_chance


@pytest.mark.slow
def test_classes_that_mean_nothing(evaluate, colours, photos, singles):
    (sentence,), figures = evaluate(colours / "good.keras", photos, "--test_classes=3:4")
    assert figures["recall"]["1"] == 1.0
    assert "All 10 images are of one class, so every measure is 1 whatever the model" in sentence
    said, figures = evaluate(colours / "good.keras", singles)
    assert figures["recall"]["1"] <= 1 / 3
    assert "4 of 6 queries are the only image of their class" in said[-1]
    assert "so Recall@K is at most 0.3333." in said[-1]
    (sentence,), _ = evaluate(colours / "good.keras", singles, "--test_classes=1:5")
    assert "Each of the 4 classes has one image, so no query has a match" in sentence


@pytest.mark.slow
def test_the_gallery_of_another_model_is_judged_too(evaluate, colours, photos):
    other = f"--gallery_model={colours / 'alike.keras'}"
    said, _ = evaluate(colours / "good.keras", photos, other)
    assert said[0].startswith("warning: All gallery embeddings are alike: ")


@pytest.mark.slow
def test_a_validation_class_alone(here, photos, tiny, tmp_path):
    given = [f"--dataset=folder:{photos}", *tiny, f"--run_dir={tmp_path / 'run'}"]
    ended = here("train", *given, "--validation_classes=3:4")
    assert ended.code == 0
    expected = "validation classes: All 10 images are of one class, so every measure is 1"
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["validation"]["recall"]["1"] == 1.0
    assert [warning.startswith(expected) for warning in summary["warnings"]] == [True]
    before, _, after = ended.out.partition("epoch 1/1")
    assert f"warning: {expected}" in before
    assert f"warning: {expected}" in after


@pytest.mark.slow
def test_statistics_that_lag_are_named_in_the_summary(here, photos, tiny, tmp_path, monkeypatch):
    from keras_distill.methods import method

    class Frozen:
        """Loses the statistics of each step."""

        def __init__(self, model, step):
            self._norms = [
                layer
                for layer in model._flatten_layers()
                if isinstance(layer, keras.layers.BatchNormalization)
            ]

        def __enter__(self):
            for norm in self._norms:
                norm.momentum = 1.0
                norm.moving_variance.assign(np.full(norm.moving_variance.shape, 1e9))

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(method, "warmed_up_momentum", Frozen)
    given = [f"--dataset=folder:{photos}", *tiny, f"--run_dir={tmp_path / 'run'}"]
    ended = here("train", *given, "--validation_classes=2:4")
    assert ended.code == 0
    assert "In inference mode the student embeds all images alike (standard dev" in ended.out
    assert "collapsing? " in ended.out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["collapsed"] is True
    assert summary["collapse_cause"] == "batch_norm_statistics"
    (warning,) = summary["warnings"]
    assert warning.startswith("validation classes: Recall@1 ")
    assert "cannot be told from chance, 0.4737 on these 20 images of 2 classes." in warning
