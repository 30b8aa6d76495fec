import keras
import pytest
from PIL import Image

from keras_distill import InputError, ScoreScale
from keras_distill.data.image_set import read_pictures
from keras_distill.evaluation.indexed_pictures import index_pictures
from keras_distill.evaluation.poor_images import drop_poor_images
from keras_distill.settings.index import IndexSettings


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Grey pictures of 0, 10, …, 50, and a model of the mean of a picture."""
    root = tmp_path_factory.mktemp("pictures")
    for value in range(0, 60, 10):
        Image.new("RGB", (40, 32), (value, value, value)).save(root / f"{value}.png")
    for name, higher in (("higher", True), ("lower", False)):
        image = keras.Input((32, 32, 3), name="image")
        head = keras.layers.Dense(1, kernel_initializer=keras.initializers.Constant(1 / 3))
        score = head(keras.layers.GlobalAveragePooling2D()(image))
        scale = ScoreScale(higher_is_better=higher)
        keras.Model(image, {"score": scale(score)}).save(root / f"{name}.keras")
    return root


@pytest.mark.slow
def test_the_worst_are_listed_first(folder):
    images = read_pictures(folder)
    kept, poor = drop_poor_images(images, folder / "higher.keras", 25)
    assert sorted(kept.paths.tolist()) == ["30.png", "40.png", "50.png"]
    assert list(poor) == ["0.png", "10.png", "20.png"]
    assert list(poor.values()) == pytest.approx([0, 10, 20])
    kept, poor = drop_poor_images(images, folder / "lower.keras", 25)
    assert sorted(kept.paths.tolist()) == ["0.png", "10.png", "20.png"]
    assert list(poor) == ["50.png", "40.png", "30.png"]
    with pytest.raises(
        InputError, match="`least=99` leaves none of 6 images, whose scores are from 0"
    ):
        drop_poor_images(images, folder / "higher.keras", 99)


def test_pictures_of_an_index(folder):
    settings = IndexSettings(images=str(folder), quality_model=str(folder / "higher.keras"))
    images, left_out = index_pictures(settings)
    assert len(images) == 6
    assert left_out == {"skipped_images": []}
    images, left_out = index_pictures(settings.replace(least_quality=45.0, quality_crops=0))
    assert images.paths.tolist() == ["50.png"]
    assert len(left_out["poor_images"]) == 5


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"least_quality": 3.0}, "--quality_model and --least_quality belong together"),
        ({"quality_crops": 3}, "--quality_crops needs --quality_model"),
        ({"quality_model": "none", "least_quality": 1.0}, "--quality_model=none does not exist"),
    ],
)
def test_unusable_flags(folder, tmp_path, given, said):
    model = str(folder / "higher.keras")
    settings = IndexSettings(
        images=str(folder), out=str(tmp_path / "out"), model=model, given=frozenset(given), **given
    )
    with pytest.raises(InputError, match=said):
        settings.check("build")
