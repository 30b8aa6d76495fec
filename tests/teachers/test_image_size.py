import pytest

from keras_distill.errors import InputError
from keras_distill.teachers.image_size import (
    agreed_image_size,
    needed_image_size,
    takes_square_images,
)


@pytest.mark.parametrize(
    ("fixed", "asked", "agreed"),
    [(None, None, None), (None, 64, 64), (32, None, 32), (32, 32, 32)],
)
def test_agreement(fixed, asked, agreed):
    assert agreed_image_size(fixed, asked) == agreed


def test_contradiction():
    message = r"^`image_size=64`: `model` takes images of 32 x 32 pixels and of no other size"
    with pytest.raises(InputError, match=message):
        agreed_image_size(32, 64)
    with pytest.raises(InputError, match=r"^`image_size=0` must be positive"):
        agreed_image_size(None, 0)


@pytest.mark.parametrize(
    ("shape", "fits"),
    [
        ((None, 8, 8, 3), True),
        ((1, None, None, 3), True),
        ((None, None, None, None), True),
        ((None, 8, 9, 3), False),
        ((None, 8, None, 3), False),
        ((None, 8, 8, 1), False),
        ((None, 3), False),
    ],
)
def test_square_images(shape, fits):
    assert takes_square_images(shape) == fits


def test_the_needed_size():
    assert needed_image_size(32) == 32
    assert needed_image_size(32, 32, 64) == 32
    assert needed_image_size(None, 48, 64) == 48
    with pytest.raises(
        InputError, match=r"^`model` takes images of any size; give `image_size`\.$"
    ):
        needed_image_size(None)
    with pytest.raises(InputError, match=r"^`image_size=48`: `model` takes 32 pixels\.$"):
        needed_image_size(32, 48)
