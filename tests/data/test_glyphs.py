"""The glyph data set: complete or absent, the same every time, and no gift to raw pixels."""

import itertools
import multiprocessing
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_distill.data import glyphs
from keras_distill.data.glyphs import write_glyphs
from keras_distill.errors import InputError

SMALL = {"classes": 6, "images_per_class": 3, "image_size": 32}


def contents(folder: Path) -> dict[str, bytes]:
    """Returns the bytes of every file by its path inside `folder`."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.glob("*/*"))}


def test_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    first = write_glyphs(tmp_path / "a", **SMALL)
    second = write_glyphs(tmp_path / "b", **SMALL)
    assert first.name == second.name
    assert contents(first) == contents(second)


def test_a_larger_set_begins_with_the_smaller_one(tmp_path: Path) -> None:
    small = contents(write_glyphs(tmp_path, **SMALL))
    large = contents(write_glyphs(tmp_path, classes=7, images_per_class=4, image_size=32))
    assert small.items() < large.items()


def test_another_seed_gives_another_alphabet(tmp_path: Path) -> None:
    first = write_glyphs(tmp_path, **SMALL)
    second = write_glyphs(tmp_path, **SMALL, seed=1)
    assert first != second
    assert not set(contents(first).values()) & set(contents(second).values())


@pytest.mark.parametrize(
    ("argument", "value"),
    [("classes", 5), ("images_per_class", 2), ("image_size", 33), ("seed", 1)],
)
def test_every_argument_is_in_the_name(tmp_path: Path, argument: str, value: int) -> None:
    usual = write_glyphs(tmp_path, **SMALL)
    assert write_glyphs(tmp_path, **{**SMALL, argument: value}) != usual


def test_layout_is_one_folder_a_class_in_class_order(tmp_path: Path) -> None:
    folder = write_glyphs(tmp_path, classes=12, images_per_class=2, image_size=16)
    assert folder.parent == tmp_path
    names = sorted(path.name for path in folder.iterdir())
    assert [name.split(".")[0] for name in names] == [f"{label:03d}" for label in range(12)]
    assert len({name.split(".")[1] for name in names}) == 12
    for name in names:
        assert sorted(p.name for p in (folder / name).iterdir()) == ["0000.jpg", "0001.jpg"]


def test_pictures_are_rgb_jpegs_of_the_size_asked_for(tmp_path: Path) -> None:
    for path in write_glyphs(tmp_path, **SMALL).glob("*/*"):
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (32, 32))
            assert np.asarray(image).std() > 3


def test_second_call_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_glyphs(tmp_path, **SMALL)
    before = {path: path.stat().st_mtime_ns for path in [tmp_path, *tmp_path.rglob("*")]}
    monkeypatch.setattr(glyphs, "_take_picture", None)
    assert write_glyphs(tmp_path, **SMALL) == folder
    assert before == {path: path.stat().st_mtime_ns for path in [tmp_path, *tmp_path.rglob("*")]}


def test_an_interrupted_call_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, pictures = glyphs._take_picture, itertools.count()

    def interrupt(*args: object) -> Image.Image:
        if next(pictures) == 10:
            raise KeyboardInterrupt
        return whole(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(glyphs, "_take_picture", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_glyphs(tmp_path, **SMALL)
    assert not list(tmp_path.iterdir())
    assert len(contents(write_glyphs(tmp_path, **SMALL))) == 18


def test_a_killed_write_publishes_nothing_and_does_no_harm(tmp_path: Path) -> None:
    call = f"""write_glyphs({str(tmp_path)!r}, classes=4, images_per_class=10000, image_size=16)"""
    command = f"from keras_distill.data.glyphs import write_glyphs; {call}"
    with subprocess.Popen([sys.executable, "-c", command]) as process:
        while not list(tmp_path.rglob("*.jpg")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert all(path.name.startswith(".") for path in tmp_path.iterdir())
    assert list(tmp_path.iterdir())
    assert len(contents(write_glyphs(tmp_path, **SMALL))) == 18


@pytest.mark.slow
def test_two_processes_at_once_both_succeed(tmp_path: Path) -> None:
    arguments = {"classes": 8, "images_per_class": 10, "image_size": 32}
    expected = contents(write_glyphs(tmp_path / "alone", **arguments))
    shared = tmp_path / "shared"
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=write_glyphs, args=(shared,), kwargs=arguments) for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    (folder,) = shared.iterdir()
    assert contents(folder) == expected


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("classes", 1),
        ("classes", 1001),
        ("classes", 8.0),
        ("images_per_class", 0),
        ("image_size", 8),
        ("image_size", True),
        ("seed", -1),
    ],
)
def test_unusable_arguments_are_named(tmp_path: Path, argument: str, value: object) -> None:
    with pytest.raises(InputError, match=f"{argument}={value}"):
        write_glyphs(tmp_path / "new", **{**SMALL, argument: value})  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


def test_a_file_in_place_of_the_root_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file"):
        write_glyphs(tmp_path / "file", **SMALL)


def test_letters_of_a_family_differ_even_when_mirrored() -> None:
    for seed in range(5):
        family = glyphs._make_family(np.random.default_rng((seed, 7)))
        letters = [letter for _, letter in family]
        mirrored = [[stroke * (-1, 1) for stroke in letter] for letter in letters]
        assert all(len(stroke) for letter in letters for stroke in letter)
        for i, j in itertools.combinations(range(len(letters)), 2):
            assert glyphs._distance(letters[i], letters[j]) > 0.3
            assert glyphs._distance(letters[i], mirrored[j]) > 0.3


def test_a_letter_counts_as_its_mirror_image() -> None:
    (_, letter), *_ = glyphs._make_family(np.random.default_rng(3))
    assert glyphs._distance(letter, [stroke * (-1, 1) for stroke in letter]) < 1e-9


@pytest.mark.slow
def test_raw_pixels_are_a_weak_embedding(tmp_path: Path) -> None:
    folder = write_glyphs(tmp_path, classes=24, images_per_class=12, image_size=32)
    paths = sorted(folder.glob("*/*.jpg"))[12 * 12 :]
    labels = np.array([path.parent.name for path in paths])
    for mode in ("L", "RGB"):
        pixels = np.stack([pixels_of(path, mode) for path in paths])
        squares = (pixels**2).sum(axis=1)
        distances = squares[:, None] + squares - 2 * pixels @ pixels.T
        np.fill_diagonal(distances, np.inf)
        recall = (labels[distances.argmin(axis=1)] == labels).mean()
        assert recall < 0.3  # chance is 0.08


def pixels_of(path: Path, mode: str) -> np.ndarray:
    """Returns the picture as one vector, from 0 to 1."""
    with Image.open(path) as image:
        return np.asarray(image.convert(mode), np.float32).ravel() / 255
