"""Weights whose batch normalisations are folded into the convolutions, in each recipe."""

import keras
import numpy as np
import pytest

from keras_distill.models.frozen_batch_norm import batch_norms

FLAGS = {
    "distill": [
        *("--train_classes=:4", "--test_classes=4:", "--embedding_dim=8"),
        *("--classes_per_batch=2", "--images_per_class=2"),
    ],
    "head_sharing": ["--test_share=0.3", "--batch_size=4"],
    "multilabel": ["--batch_size=4"],
    "ranked_regression": ["--stages=fine_tune", "--batch_size=4"],
}


@pytest.fixture(scope="module")
def folded_weights(tmp_path_factory):
    file = tmp_path_factory.mktemp("folded") / "phone.weights.h5"
    backbone = keras.applications.MobileNet(
        (32, 32, 3), alpha=0.25, include_top=False, weights=None
    )
    for norm in batch_norms(backbone):
        bias = np.random.default_rng(0).normal(0, 1, norm.beta.shape)
        norm.set_weights([np.ones_like(bias), bias, 0 * bias, np.full_like(bias, 0.999)])
    backbone.save_weights(file)
    return file


@pytest.fixture
def data(photos, tmp_path):
    """The flags that name the data of a recipe."""
    files = sorted(photos.rglob("*.jpg")) + sorted(photos.rglob("*.png"))
    names = [file.relative_to(photos).as_posix() for file in files]
    labels, scores = tmp_path / "labels.csv", tmp_path / "scores.csv"
    rows = [f"{name},{'train' if i % 3 else 'test'},{name[6]}" for i, name in enumerate(names)]
    labels.write_text("\n".join(["file,split,labels", *rows, ""]))
    rows = [f"{name},{name[6]}.5,{i}" for i, name in enumerate(names)]
    scores.write_text("\n".join(["file,score,reference", *rows, ""]))
    folder = f"--dataset=folder:{photos}"
    return {
        "distill": [folder],
        "head_sharing": [folder],
        "multilabel": [f"--dataset=labels:{labels}", f"--images={photos}"],
        "ranked_regression": [folder, f"--scores={scores}"],
    }


@pytest.mark.slow
@pytest.mark.parametrize("recipe", FLAGS)
def test_they_get_statistics_before_they_are_trained(recipe, here, data, folded_weights, tmp_path):
    given = [f"--recipe={recipe}", *data[recipe], *FLAGS[recipe]]
    given += ["--backbone=mobilenet", "--alpha=0.25", "--image_size=32", "--steps_per_epoch=2"]
    given += [f"--backbone_weights={folded_weights}", "--epochs=1", f"--cache_dir={tmp_path}"]
    ended = here("train", *given, f"--run_dir={tmp_path / 'run'}")
    assert ended.code == 0, ended.err
    said = "The batch normalisations of the weights were folded into the convolutions"
    assert ended.out.count(said) == 1
    ended = here("train", *given, "--freeze_batch_norm", f"--run_dir={tmp_path / 'frozen'}")
    assert ended.code == 0, ended.err
    assert said not in ended.out
