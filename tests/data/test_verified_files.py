import io
import os
import shutil
from contextlib import nullcontext

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_distill.data import readable_images
from keras_distill.data.decoding import decode_image
from keras_distill.data.image_set import read_folder
from keras_distill.data.readable_images import drop_unreadable
from keras_distill.data.verified_files import VerifiedFiles, _warn_once
from keras_distill.errors import InputError


def jpeg(side):
    buffer = io.BytesIO()
    Image.new("RGB", (side, side)).save(buffer, "JPEG")
    return buffer.getvalue()


SOUND = ["a/0.jpg", "a/1.jpg", "a/2.jpg", "b/3.jpg", "b/4.jpg"]


@pytest.fixture(autouse=True)
def _few_images_are_worth_it(monkeypatch):
    monkeypatch.setattr(readable_images, "WORTHWHILE", 1)
    _warn_once.cache_clear()


@pytest.fixture
def root(tmp_path):
    """Five sound images of different sizes, and one that is none."""
    for side, path in enumerate(SOUND, 10):
        (tmp_path / "set" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / path).write_bytes(jpeg(side))
    (tmp_path / "set/b/corrupt.jpg").write_bytes(jpeg(20)[:-40])
    return tmp_path / "set"


@pytest.fixture
def check(root, tmp_path, monkeypatch):
    """Drops what is unreadable; returns what is left and the sides of what was decoded for it."""
    sides = []

    def decode(data):
        image = decode_image(data)
        tf.py_function(lambda image: sides.append(image.shape[0]), [image], [])
        return image

    monkeypatch.setattr(readable_images, "decode_image", decode)
    monkeypatch.setattr(readable_images, "_check", readable_images._check.__wrapped__)  # traced now

    def run(choose=slice(None), memory=tmp_path / "cache", **options):
        sides.clear()
        images = read_folder(root)
        kept, dropped = drop_unreadable(
            images.select(np.arange(len(images))[choose]), memory=memory, **options
        )
        return kept.paths.tolist(), dropped, sorted(sides)

    return run


def test_what_passed_is_not_decoded_again(check, caplog):
    assert check() == (SOUND, ["b/corrupt.jpg"], [10, 11, 12, 13, 14])
    caplog.clear()
    assert check() == (SOUND, ["b/corrupt.jpg"], [])
    assert "Skipping a corrupt or truncated image" in caplog.text  # as at the first time
    with pytest.raises(InputError, match="1 of 6 images"):
        check(strict=True)


def test_what_is_new_or_changed_is_decoded(check, root):
    check()
    (root / "a/new.jpg").write_bytes(jpeg(30))
    (root / "a/0.jpg").write_bytes(jpeg(31))
    os.utime(root / "a/1.jpg", ns=(1, 1))
    time = (root / "a/2.jpg").stat().st_mtime_ns
    (root / "a/2.jpg").write_bytes(jpeg(32))
    os.utime(root / "a/2.jpg", ns=(time, time))  # only its size tells
    (root / "b/corrupt.jpg").write_bytes(jpeg(33))
    paths = sorted([*SOUND, "a/new.jpg", "b/corrupt.jpg"])
    assert check() == (paths, [], [11, 30, 31, 32, 33])
    (root / "b/3.jpg").write_bytes(b"")
    paths.remove("b/3.jpg")
    assert check() == (paths, ["b/3.jpg"], [])


@pytest.mark.slow
def test_a_change_within_a_second_is_a_change(check, root):
    second = 1_700_000_000 * 10**9
    os.utime(root / "a/0.jpg", ns=(second, second))
    check()
    os.utime(root / "a/0.jpg", ns=(second, second + 4_000_000))  # the coarsest clock of Linux
    assert check()[2] == [10]


@pytest.mark.slow
def test_splits_share_what_is_known(check):
    assert check(slice(3))[2] == [10, 11, 12]
    assert check(slice(3, None))[2] == [13, 14]
    assert check()[2] == []


@pytest.mark.slow
def test_other_limits_and_other_folders_are_others(check, root):
    check()
    assert check(max_pixels=13**2) == (SOUND[:4], ["b/4.jpg", "b/corrupt.jpg"], [10, 11, 12, 13])
    assert check(max_pixels=13**2) == (SOUND[:4], ["b/4.jpg", "b/corrupt.jpg"], [])
    assert check() == (SOUND, ["b/corrupt.jpg"], [])
    root.rename(root.with_name("before"))
    shutil.copytree(root.with_name("before"), root)  # with the times of the files
    assert check()[2] == []
    root.rename(root.with_name("elsewhere"))
    root.symlink_to("before")
    assert check()[2] == [10, 11, 12, 13, 14]


@pytest.mark.quick(2)
@pytest.mark.parametrize("damage", ["empty", "cut", "text", "flipped", "another array"])
def test_a_damaged_memory_is_made_anew(damage, check, tmp_path, caplog):
    check()
    (file,) = (tmp_path / "cache").iterdir()
    data = file.read_bytes()
    if damage == "another array":
        with file.open("wb") as opened:
            np.savez(opened, paths=np.zeros(3, np.uint8), stamps=np.zeros((2, 2), np.int64))
    else:
        flipped = data.replace(b"a/1.jpg", b"a/3.jpg")
        cases = {"empty": b"", "cut": data[:300], "text": b"{}" * 200, "flipped": flipped}
        file.write_bytes(cases[damage])
    caplog.clear()
    assert check() == (SOUND, ["b/corrupt.jpg"], [10, 11, 12, 13, 14])
    assert caplog.text.count(f"{file} is damaged and made again") == 1
    assert check()[2] == []


def test_a_place_that_cannot_be_written(check, tmp_path, caplog):
    place = tmp_path / "file"
    place.touch()
    for _ in range(2):
        assert check(memory=place) == (SOUND, ["b/corrupt.jpg"], [10, 11, 12, 13, 14])
    assert caplog.text.count("will be decoded again at the next start") == 1
    assert place.read_bytes() == b""


def test_a_check_that_is_stopped_keeps_what_it_has(check, monkeypatch):
    monkeypatch.setattr(readable_images, "_BATCH", 2)

    def stop(rows):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(progress=lambda total: nullcontext(stop))
    assert len(check()[2]) == 3


def test_it_is_saved_now_and_then(check, tmp_path, monkeypatch):
    monkeypatch.setattr(readable_images, "_BATCH", 2)
    monkeypatch.setattr(readable_images, "_BATCHES_BETWEEN_SAVES", 1)
    saved = []

    def look(rows):
        saved.append(len(list((tmp_path / "cache").glob("verified-*.npz"))))

    check(progress=lambda total: nullcontext(look))
    assert saved == [0, 1, 1]


def test_progress_counts_what_is_to_be_decoded(check, root):
    def progress(total):
        totals.append(total)
        return nullcontext(done.append)

    totals, done = [], []
    check(progress=progress)
    check(progress=progress)
    assert (totals, done) == ([6, 1], [5])


def test_a_file_that_changes_while_it_is_decoded_is_not_known(root, tmp_path):
    images = read_folder(root).select(np.arange(2))
    files = VerifiedFiles(tmp_path / "cache", images)
    (root / "a/0.jpg").write_bytes(b"something else")
    (root / "a/1.jpg").unlink()
    files.remember(np.ones(2, bool))
    again = VerifiedFiles(tmp_path / "cache", images)
    assert again.known().tolist() == [False, False]


def test_few_images_leave_no_file(check, tmp_path, monkeypatch):
    monkeypatch.setattr(readable_images, "WORTHWHILE", 7)
    for _ in range(2):
        assert check()[2] == [10, 11, 12, 13, 14]
    assert not (tmp_path / "cache").exists()


def test_a_memory_of_nothing_is_no_damage(root, tmp_path, caplog):
    images = read_folder(root)
    VerifiedFiles(tmp_path / "cache", images).remember(np.zeros(len(images), bool))
    assert not VerifiedFiles(tmp_path / "cache", images).known().any()
    assert caplog.messages == []
