import pytest

from keras_distill import evaluate, index, serve, train
from keras_distill.data.pixel_limit import MAX_PIXELS


@pytest.mark.parametrize("module", [train, evaluate, index, serve])
def test_training_and_serving_take_the_same_images(module):
    assert module.COMMAND.flags["max_pixels"].default == MAX_PIXELS
