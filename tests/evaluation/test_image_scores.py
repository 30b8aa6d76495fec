import keras
import numpy as np
import pytest
from keras import ops
from PIL import Image

from keras_distill import InputError
from keras_distill.data.image_set import read_pictures
from keras_distill.evaluation.image_densities import ImageCounter
from keras_distill.evaluation.image_scores import ImageScorer, score_images


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for index, shape in enumerate([(40, 60), (20, 24), (64, 33)]):
        pixels = random.integers(0, 50 * (index + 1), (*shape, 3), np.uint8)
        Image.fromarray(pixels).save(root / f"{index}.png")
    return read_pictures(root)


def model(size=32):
    """The mean of the red channel, as a score, and in cells of 8 pixels."""
    image = keras.Input((size, size, 3), name="image")
    pooled = keras.layers.AveragePooling2D(8)(image)
    layer = keras.layers.Conv2D(1, 1, kernel_initializer="ones", use_bias=False, name="conv")
    density = layer(pooled)
    score = keras.layers.GlobalAveragePooling2D()(density)
    return keras.Model(image, {"score": score, "density": density})


def pixels(images, row):
    return np.asarray(Image.open(images.files()[row]), np.float64).sum(-1)


def test_a_whole_image_has_its_mean(images):
    expected = pixels(images, 0)[:40, :56].mean()  # whole cells
    found = score_images(model(), images, crops=0)
    np.testing.assert_allclose(found[0], expected, rtol=1e-4)


def test_crops_average_to_it_and_depend_on_the_image_alone(images):
    many = score_images(model(), images, crops=60)
    for row in (0, 2):
        np.testing.assert_allclose(many[row], pixels(images, row).mean(), rtol=0.05)
    few = ImageScorer(model(), crops=3)
    np.testing.assert_array_equal(few(images), few(images))
    np.testing.assert_array_equal(few(images.select(np.array([2]))), few(images)[2:])
    other = ImageScorer(model(), crops=3, seed=1)
    assert (other(images) != few(images)).any()


@pytest.mark.slow
def test_present_weights_are_used(images):
    for crops in (0, 2):
        source = model()
        scorer = ImageScorer(source, crops=crops)
        before = scorer(images)
        source.get_layer("conv").set_weights([np.full((1, 1, 3, 1), 2.0)])
        np.testing.assert_allclose(scorer(images), 2 * before, rtol=1e-5)


def test_densities_are_of_whole_images_padded_by_their_edges(images):
    counter = ImageCounter(model())
    assert counter.stride == 8
    found = list(counter(images))
    assert [density.shape for density, _ in found] == [(8, 8), (4, 4), (8, 8)]
    assert [shape for _, shape in found] == [(40, 60), (20, 24), (64, 33)]
    whole = pixels(images, 1)
    np.testing.assert_allclose(found[1][0][0, 0], whole[:8, :8].mean(), rtol=1e-4)
    np.testing.assert_allclose(found[1][0][3, 3], whole[-1, -1], rtol=1e-4)


def test_models_without_the_output_and_diverged_ones(images):
    image = keras.Input((32, 32, 3), name="image")
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    other = keras.Model(image, {"logits": pooled})
    for kind, output in ((ImageScorer, "score"), (ImageCounter, "density")):
        with pytest.raises(InputError, match=f"returns logits, and no {output}"):
            kind(other)
    broken = keras.Model(image, {"score": ops.log(pooled[:, :1] - 1e4)})
    with pytest.raises(InputError, match="not finite"):
        score_images(broken, images, crops=1)
