import hashlib
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from keras_distill.data.image_fingerprint import images_fingerprint
from keras_distill.data.image_set import ImageSet
from keras_distill.errors import InputError

CONTENTS = {"a/1.jpg": b"one", "a/2.jpg": b"two", "b/ü 3.png": b"", "b/deep/4.png": b"one"}


@pytest.fixture
def images(tmp_path):
    for path, content in CONTENTS.items():
        (tmp_path / "set" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / path).write_bytes(content)
    return ImageSet(tmp_path / "set", np.array(list(CONTENTS)), np.array([0, 0, 1, 1]), ("a", "b"))


def test_is_the_hash_of_paths_and_digests_in_order(images):
    total = hashlib.blake2b(digest_size=16)
    for path, content in CONTENTS.items():
        digest = hashlib.blake2b(content, digest_size=16).digest()
        total.update(path.encode() + b"\0" + digest)
    assert images_fingerprint(images) == total.hexdigest()
    assert len(images_fingerprint(images)) == 32


def test_neither_folder_nor_labels_nor_times_count(images, tmp_path):
    before = images_fingerprint(images)
    copy = shutil.copytree(images.root, tmp_path / "copy")
    assert images_fingerprint(replace(images, root=copy)) == before
    os.utime(images.root / "a/1.jpg", (0, 0))
    (images.root / "a/notes.txt").write_text("not in the list")
    other = replace(images, labels=images.labels[::-1], class_names=("b", "a"))
    assert images_fingerprint(other) == before


def test_every_byte_path_and_place_counts(images):
    seen = [images_fingerprint(images)]
    for chosen in ([1, 0, 2, 3], [0, 1, 2], [0, 1, 2, 3, 3], [0, 3, 1, 2]):
        seen.append(images_fingerprint(images.select(np.array(chosen))))
    (images.root / "a/2.jpg").write_bytes(b"twp")
    seen.append(images_fingerprint(images))
    (images.root / "a/2.jpg").write_bytes(b"two")
    assert images_fingerprint(images) == seen[0]
    (images.root / "a/2.jpg").rename(images.root / "a/3.jpg")
    paths = images.paths.copy()
    paths[1] = "a/3.jpg"
    seen.append(images_fingerprint(replace(images, paths=paths)))
    assert len(set(seen)) == len(seen)


def test_equal_contents_that_change_places_count(images):
    before = images_fingerprint(images)
    (images.root / "a/1.jpg").write_bytes(b"two")
    (images.root / "a/2.jpg").write_bytes(b"one")
    assert images_fingerprint(images) != before


def test_empty_list():
    nothing = ImageSet(".", np.array([], str), np.array([], np.int64), ())
    assert images_fingerprint(nothing) == hashlib.blake2b(digest_size=16).hexdigest()


@pytest.mark.parametrize("damage", ["missing", "folder"])
def test_unreadable_file_is_named(images, damage):
    path = images.root / "a/2.jpg"
    path.unlink()
    if damage == "folder":
        path.mkdir()
    reason = {"missing": "No such file or directory", "folder": "Is a directory"}[damage]
    with pytest.raises(InputError, match=rf"^'{path}' could not be read: {reason}\.$"):
        images_fingerprint(images)
