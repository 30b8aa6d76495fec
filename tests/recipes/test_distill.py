import keras
import pytest

from keras_distill.errors import InputError
from keras_distill.models.embedder import build_embedder
from keras_distill.models.frozen_batch_norm import batch_norms, keeps_statistics
from keras_distill.recipes.distill import _build_student
from keras_distill.settings.command import Command
from keras_distill.settings.distill import DistillSettings

COMMAND = Command("test", "doc", DistillSettings)
SMALL = {"alpha": 0.25, "image_size": 32, "backbone_layer": "conv_pw_1_relu"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "backbone.weights.h5"
    whole = build_embedder(alpha=0.25, image_size=32, backbone_weights="none")
    whole.get_layer("trunk").save_weights(file)
    return file


def student(*given):
    flags = [f"--{name}={value}" for name, value in SMALL.items()]
    settings = COMMAND.parse(["--dataset=glyphs", "--embedding_dim=8", *flags, *given])
    settings.check()
    return _build_student(settings)


@pytest.mark.slow
def test_the_statistics_of_the_backbone_are_frozen(weights):
    given = f"--backbone_weights={weights}"
    norms = batch_norms(student(given, "--freeze_batch_norm"))
    assert norms
    assert all(map(keeps_statistics, norms))
    assert not any(map(keeps_statistics, batch_norms(student(given))))


def test_dropout_is_that_of_the_flag():
    given = "--backbone_weights=none"
    assert student(given, "--dropout=0.25").get_layer("dropout").rate == 0.25
    assert "dropout" not in [layer.name for layer in student(given).layers]


def test_a_backbone_without_batch_normalisation(monkeypatch, weights):
    def without(*args, **kwargs):
        image = keras.Input((32, 32, 3), name="image")
        x = keras.layers.Conv2D(2, 3, name="trunk")(image)
        return keras.Model(image, keras.layers.Flatten()(x))

    monkeypatch.setattr("keras_distill.recipes.distill.build_embedder", without)
    with pytest.raises(InputError, match=r"^`freeze_batch_norm`: there is no .* leave it out\.$"):
        student(f"--backbone_weights={weights}", "--freeze_batch_norm")
