from pathlib import Path
from types import SimpleNamespace

import pytest

from keras_distill.data import readable_images
from keras_distill.settings.data import load_images


def test_images_are_decoded_at_the_first_start_only(photos, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(readable_images, "WORTHWHILE", 1)
    flags = SimpleNamespace(
        dataset=f"folder:{photos}",
        data_dir="",
        train_classes="",
        validation_classes="0:1",
        test_classes="",
        strict_images=False,
        max_pixels=10**8,
        cache_dir=str(tmp_path / "cache"),
    )
    first, skipped = load_images(flags, "train", "validation", "test")
    assert [len(split) for split in first] == [20, 10, 30]
    assert skipped == []
    assert len(list(Path(flags.cache_dir).glob("verified-*.npz"))) == 1
    monkeypatch.setattr(readable_images, "_check", lambda max_pixels: 1 / 0)
    second, skipped = load_images(flags, "train", "validation", "test")
    assert [len(split) for split in second] == [20, 10, 30]
    assert skipped == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["train", "cache", "doctor"])
def test_a_folder_without_its_prefix_is_recognised(early, photos, name):
    ended = early(name, f"--dataset={photos.name}", cwd=photos.parent)
    said = "--dataset=photos: 'photos' is a folder; give --dataset=folder:photos.\n"
    assert (ended.code, ended.err.partition(": ")[2][: len(said)]) == (2, said)


def test_a_folder_without_its_prefix_is_recognised_in_parts_of_flags(early, photos):
    ended = early(
        "train", f"--dataset=folder:{photos}", "--unlabelled=photos:4:", cwd=photos.parent
    )
    said = "--unlabelled=photos:4:: 'photos' is a folder; give --unlabelled=folder:photos:4:.\n"
    assert (ended.code, ended.err.partition(": ")[2][: len(said)]) == (2, said)
