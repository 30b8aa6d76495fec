import os

import numpy as np
import pytest

from keras_distill import InputError
from keras_distill.data.image_set import read_pictures
from keras_distill.data.picture_list import list_pictures


def write(root, *paths, size=3):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x" * size)
    return root


@pytest.fixture
def folder(tmp_path):
    paths = ["b/1.jpg", "a/2.PNG", "a/deep/3.jpeg", "loose.jpg", "a.b/4.jpg"]
    others = ["a/x.txt", "a/.hidden.jpg", "a/x.jpg.part"]
    return write(tmp_path / "photos", *paths, *others)


def test_a_folder_is_listed_in_the_order_of_paths(folder):
    pictures = list_pictures(str(folder))
    expected = read_pictures(folder)
    assert pictures.paths == expected.paths.tolist()
    assert pictures.class_names == expected.class_names == ("a", "a.b", "b")
    assert pictures.sizes.tolist() == [3] * 5
    images = pictures.images(range(1, 4))
    assert images.paths.tolist() == expected.paths[1:4].tolist()
    np.testing.assert_array_equal(images.labels, expected.labels[1:4])
    assert images.root == folder


def test_a_data_set_is_its_folder(folder):
    (folder / "loose.jpg").unlink()
    by_name = list_pictures(f"folder:{folder}")
    assert by_name.paths == list_pictures(str(folder)).paths


@pytest.mark.parametrize(
    ("pattern", "root", "paths"),
    [
        ("photos/*/*.jpg", "photos", ["a.b/4.jpg", "b/1.jpg"]),
        ("photos/**/*.jp*g", "photos", ["a.b/4.jpg", "a/deep/3.jpeg", "b/1.jpg", "loose.jpg"]),
        ("photos/**/**/*.jp*g", "photos", ["a.b/4.jpg", "a/deep/3.jpeg", "b/1.jpg", "loose.jpg"]),
        ("photos/a/[0-9]*", "photos/a", ["2.PNG"]),
        ("*/b/1.jpg", ".", ["photos/b/1.jpg"]),
    ],
)
def test_a_pattern_counts_from_its_last_plain_folder(folder, monkeypatch, pattern, root, paths):
    monkeypatch.chdir(folder.parent)
    pictures = list_pictures(pattern)
    assert (str(pictures.root), pictures.paths) == (root, paths)
    absolute = list_pictures(f"{folder.parent}/{pattern}")
    assert absolute.paths == paths
    assert absolute.root.resolve() == (folder.parent / root).resolve()
    assert all((absolute.root / path).is_file() for path in paths)


def test_the_fingerprint_is_of_paths_and_sizes(folder):
    before = list_pictures(str(folder)).fingerprint
    os.utime(folder / "b" / "1.jpg", (0, 0))
    assert list_pictures(str(folder)).fingerprint == before
    write(folder, "b/1.jpg", size=4)
    resized = list_pictures(str(folder)).fingerprint
    (folder / "b" / "1.jpg").rename(folder / "b" / "5.jpg")
    assert len({before, resized, list_pictures(str(folder)).fingerprint}) == 3


def test_names_may_be_no_utf8(folder):
    with open(os.fsencode(folder) + b"/b/\xff.jpg", "wb"):
        pass
    pictures = list_pictures(str(folder))
    assert "b/\udcff.jpg" in pictures.paths
    assert len(pictures.fingerprint) == 32


@pytest.mark.parametrize("named", ["{}/a/deep/down", "{}/*.gif", "{}/empty"])
def test_nothing_to_list_is_an_error(folder, named):
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match="images="):
        list_pictures(named.format(folder))
