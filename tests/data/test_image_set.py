import re

import numpy as np
import pytest

from keras_distill import InputError
from keras_distill.data.image_set import image_id, read_folder, read_pictures


def write(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")
    return root


def test_sub_folders_in_alphabetical_order_are_the_classes(tmp_path):
    write(tmp_path, "wren/2.jpg", "wren/1.jpg", "finch/a.png", "Auk/x.jpeg")
    images = read_folder(str(tmp_path))
    assert images.root == tmp_path
    assert images.class_names == ("Auk", "finch", "wren")
    assert images.paths.tolist() == ["Auk/x.jpeg", "finch/a.png", "wren/1.jpg", "wren/2.jpg"]
    assert images.labels.tolist() == [0, 1, 2, 2]
    assert images.labels.dtype == np.int64
    assert images.classes.tolist() == [0, 1, 2]
    assert len(images) == 4


def test_images_lie_at_any_depth_and_anything_else_is_passed_over(tmp_path):
    images = [
        "a/1.JPG",
        "a/2.Jpeg",
        "a/3.PNG",
        "a/deep/down/4.jpg",
        "a/with space/fünf.jpg",
        "b/6.png",
    ]
    others = [
        "readme.txt",
        "loose.jpg",
        "a/notes.txt",
        "a/clip.gif",
        "a/.hidden.jpg",
        "a/jpg",
        "a/x.jpg.part",
        ".cache/7.jpg",
        "b/Thumbs.db",
    ]
    write(tmp_path, *images, *others)
    (tmp_path / "b/folder.jpg").mkdir()
    assert read_folder(tmp_path).paths.tolist() == sorted(images)


def test_ids_are_unique_numbers_of_the_relative_path_alone(tmp_path):
    before = read_folder(write(tmp_path / "one", "a/1.jpg", "c/1.jpg", "c/2.jpg"))
    after = read_folder(
        write(tmp_path / "two", "a/0.jpg", "a/1.jpg", "b/1.jpg", "c/1.jpg", "c/2.jpg")
    )
    ids = dict(zip(after.paths.tolist(), after.ids.tolist(), strict=True))
    assert before.ids.tolist() == [ids[path] for path in before.paths]
    assert before.ids.tolist() == [image_id(path) for path in before.paths.tolist()]
    assert len(set(ids.values())) == 5
    assert before.ids.dtype == np.int64
    assert (after.ids >= 0).all()
    # Written down, so that vectors cached by id survive a new release.
    assert before.ids[0] == 25129059969767257


def test_selections_keep_labels_ids_and_all_class_names(tmp_path):
    images = read_folder(write(tmp_path, "a/1.jpg", "b/1.jpg", "b/2.jpg", "c/1.jpg", "d/1.jpg"))
    middle = images.of_classes(range(1, 3))
    assert middle.paths.tolist() == ["b/1.jpg", "b/2.jpg", "c/1.jpg"]
    assert middle.labels.tolist() == [1, 1, 2]
    assert middle.classes.tolist() == [1, 2]
    assert middle.class_names == images.class_names
    np.testing.assert_array_equal(middle.ids, images.ids[1:4])
    assert images.select(np.array([4, 0])).paths.tolist() == ["d/1.jpg", "a/1.jpg"]
    assert images.select(images.labels == 1).labels.tolist() == [1, 1]


def test_errors_name_the_folder(tmp_path):
    missing = tmp_path / "missing"
    with pytest.raises(InputError, match=re.escape(f"{str(missing)!r} does not exist")):
        read_folder(missing)
    flat = write(tmp_path / "flat", "1.jpg", ".hidden/2.jpg")
    with pytest.raises(InputError, match=re.escape(f"{str(flat)!r} has no sub-folders")):
        read_folder(flat)
    with pytest.raises(InputError, match="does not exist"):
        read_folder(flat / "1.jpg")
    holed = write(tmp_path / "holed", "a/1.jpg", "b/note.txt")
    with pytest.raises(InputError, match=re.escape(f"{str(holed / 'b')!r} has no JPEG or PNG")):
        read_folder(holed)


# Pictures in no order


def test_pictures_need_no_classes(tmp_path):
    write(tmp_path, "b/2.jpg", "b/deep/1.png", "a/1.JPG", "loose.jpeg", "a/.hidden.jpg", "note.txt")
    images = read_pictures(tmp_path)
    assert images.root == tmp_path
    assert images.paths.tolist() == ["a/1.JPG", "b/2.jpg", "b/deep/1.png", "loose.jpeg"]
    assert images.class_names == ("a", "b")
    assert images.labels.tolist() == [0, 1, 1, -1]
    assert images.labels.dtype == np.int64


def test_pictures_of_a_folder_without_classes(tmp_path):
    images = read_pictures(write(tmp_path, "2.jpg", "1.jpg"))
    assert images.paths.tolist() == ["1.jpg", "2.jpg"]
    assert images.class_names == ()
    assert images.labels.tolist() == [-1, -1]


@pytest.mark.parametrize("name", ["nowhere", "empty", "note.txt"])
def test_no_pictures(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "note.txt").write_text("")
    with pytest.raises(InputError, match=rf"{name}' has no JPEG or PNG images"):
        read_pictures(tmp_path / name)
