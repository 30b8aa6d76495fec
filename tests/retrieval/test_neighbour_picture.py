import numpy as np
import pytest
from PIL import Image

from keras_distill import InputError
from keras_distill.retrieval.neighbour_picture import draw_neighbours

COLOURS = [(250, 10, 10), (10, 250, 10), (10, 10, 250), (250, 250, 10)]


@pytest.fixture
def images(tmp_path):
    files = [tmp_path / f"{number}.png" for number in range(len(COLOURS))]
    for file, colour in zip(files, COLOURS, strict=True):
        Image.new("RGB", (60, 40), colour).save(file)
    return files


def share(picture, colour):
    return (np.abs(np.asarray(picture).astype(int) - colour).max(axis=2) < 5).mean(axis=0)


def test_query_and_neighbours_stand_from_left_to_right(images, tmp_path):
    file = tmp_path / "deep" / "found.png"
    draw_neighbours(images[0], images[1:], ["a", "b" * 99, "größe"], file)
    picture = Image.open(file).convert("RGB")
    places = [np.flatnonzero(share(picture, colour) > 0.3).mean() for colour in COLOURS]
    assert places == sorted(places)
    assert len({round(place / picture.width * 4) for place in places}) == 4


@pytest.mark.parametrize("count", [1, 5, 6, 11, 13])
def test_any_number_of_neighbours(images, tmp_path, count):
    draw_neighbours(images[0], [images[1]] * count, ["x"] * count, tmp_path / "found.png")
    picture = Image.open(tmp_path / "found.png").convert("RGB")
    green = (np.abs(np.asarray(picture).astype(int) - COLOURS[1]).max(axis=2) < 5).sum()
    red = (np.abs(np.asarray(picture).astype(int) - COLOURS[0]).max(axis=2) < 5).sum()
    assert green / red == pytest.approx(count, rel=0.05)


def test_photographs_are_shown_upright(photograph, tmp_path):
    for name, data in zip(("phone.jpg", "upright.jpg"), photograph(8, (40, 90)), strict=True):
        (tmp_path / name).write_bytes(data)
        draw_neighbours(tmp_path / name, [], [], tmp_path / f"{name}.png")
    stored, upright = (
        np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB"), float)
        for name in ("phone.jpg", "upright.jpg")
    )
    np.testing.assert_allclose(stored, upright, atol=12)


def test_an_image_that_is_gone_or_no_image_is_a_grey_square(images, tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    gone = [tmp_path / "gone.jpg", tmp_path / "text.jpg"]
    draw_neighbours(images[0], gone, ["x", "y"], tmp_path / "found.png")
    picture = Image.open(tmp_path / "found.png").convert("RGB")
    assert (share(picture, (200, 200, 200)) > 0.3).mean() > 0.4


def test_a_place_that_cannot_be_written(images, tmp_path):
    with pytest.raises(InputError, match="could not be written"):
        draw_neighbours(images[0], images[1:2], ["x"], images[2] / "found.png")
