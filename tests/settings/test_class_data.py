import pytest
from PIL import Image

from keras_distill.errors import InputError
from keras_distill.settings.class_data import has_split_folders, load_whole_split
from keras_distill.settings.evaluation import EvaluateSettings


@pytest.fixture
def splits(tmp_path):
    """A function that adds a split with one image of a person, and returns the settings."""

    def add(*names):
        for name in names:
            (tmp_path / "splits" / name / f"in_{name}").mkdir(parents=True)
            Image.new("RGB", (4, 4)).save(tmp_path / "splits" / name / f"in_{name}" / "0.png")
        return EvaluateSettings(
            dataset=f"folder:{tmp_path / 'splits'}", cache_dir=str(tmp_path / "cache")
        )

    return add


@pytest.mark.parametrize("validation", ["val", "validation"])
def test_a_split_is_taken_whole(splits, validation):
    settings = splits("train", validation, "test")
    assert has_split_folders(settings.dataset)
    for split, folder in (("validation", validation), ("test", "test")):
        images, skipped = load_whole_split(settings, split)
        assert (images.class_names, skipped) == ((f"in_{folder}",), [])


def test_a_split_has_one_folder(splits):
    settings = splits("train", "val")
    with pytest.raises(InputError, match=r"^`split=test`: .*one folder .* it has train and val\."):
        load_whole_split(settings, "test")
    settings = splits("validation")
    with pytest.raises(InputError, match=r"it has validation and val\."):
        load_whole_split(settings, "validation")


def test_other_folders_are_classes(splits):
    settings = splits("train", "test", "wren")
    assert not has_split_folders(settings.dataset)
    assert load_whole_split(settings, "test")[0].class_names == ("test", "train", "wren")
    for dataset in ("folder:nowhere", "folder:", "cub", "faces:."):
        assert not has_split_folders(dataset)
