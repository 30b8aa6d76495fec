import re

import numpy as np
import pytest
from PIL import Image

from keras_distill import InputError, load_dataset
from keras_distill.data import dataset as dataset_module
from keras_distill.data.dataset import parse_classes


@pytest.fixture
def folder(tmp_path):
    """Seven classes; class c has c + 1 images."""
    for label in range(7):
        (tmp_path / f"class{label}").mkdir()
        for index in range(label + 1):
            image = Image.new("RGB", (4, 4), (label, index, 0))
            image.save(tmp_path / f"class{label}/{index}.png")
    return tmp_path


def test_by_default_the_first_half_trains_and_the_rest_tests(folder):
    dataset = load_dataset(f"folder:{folder}")
    assert dataset.name == f"folder:{folder}"
    assert dataset.train.classes.tolist() == [0, 1, 2]
    assert dataset.test.classes.tolist() == [3, 4, 5, 6]
    assert dataset.validation is None
    # Labels are positions in the whole data set, not in the split.
    assert dataset.test.labels.tolist() == [3] * 4 + [4] * 5 + [5] * 6 + [6] * 7
    assert dataset.test.class_names == tuple(f"class{label}" for label in range(7))
    assert dataset.test.root == folder


def test_explicit_splits(folder):
    dataset = load_dataset(f"folder:{folder}", train_classes="4:", test_classes=":2")
    assert dataset.train.classes.tolist() == [4, 5, 6]
    assert dataset.test.classes.tolist() == [0, 1]
    dataset = load_dataset(f"folder:{folder}", train_classes="0:2")
    assert dataset.train.classes.tolist() == [0, 1]
    assert dataset.test.classes.tolist() == [3, 4, 5, 6]


def test_validation_classes_are_taken_out_of_training(folder):
    dataset = load_dataset(
        f"folder:{folder}", train_classes="0:5", validation_classes="2:4", test_classes="5:7"
    )
    assert dataset.train.labels.tolist() == [0, 1, 1, 4, 4, 4, 4, 4]
    assert dataset.validation.labels.tolist() == [2] * 3 + [3] * 4
    assert not np.isin(dataset.validation.ids, dataset.train.ids).any()


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train_classes": "0:5"}, r"train_classes=0:5` and `test_classes=3:7` overlap.*=0:3`\."),
        ({"train_classes": "1:4", "test_classes": "0:2"}, r"=1:4` and `test_classes=0:2` overlap"),
        ({"test_classes": "0:"}, r"train_classes=0:3` and `test_classes=0:7` overlap"),
        ({"validation_classes": "2:4"}, r"validation_classes=2:4` must lie within `train.*0:3"),
        ({"validation_classes": "0:3"}, r"validation_classes=0:3` must .* leave classes to train"),
        ({"train_classes": "0:8"}, r"train_classes='0:8'` does not lie within the 7 classes, 0:7"),
    ],
)
def test_impossible_splits(folder, splits, message):
    with pytest.raises(InputError, match=message):
        load_dataset(f"folder:{folder}", **splits)


def test_the_remedy_for_an_overlap_can_be_used(folder):
    with pytest.raises(InputError) as error:
        load_dataset(f"folder:{folder}", test_classes="1:7")
    remedy = re.search(r" `train_classes=(\S+)`\.$", str(error.value))[1]
    dataset = load_dataset(f"folder:{folder}", train_classes=remedy, test_classes="1:7")
    assert dataset.train.classes.tolist() == [0]


@pytest.mark.parametrize("value", ["5", "a:b", "0:b", "1.5:2", "0-5", "0:2:4", ",", "0;5"])
def test_a_malformed_range_names_argument_value_and_form(value):
    message = f"`value={value!r}` is not of the form A:B, e.g. 0:3"
    with pytest.raises(InputError, match=re.escape(message)):
        parse_classes(value, 7)


@pytest.mark.parametrize("value", ["3:3", "4:2", "-2:3", "0:8", "7:", "9:12", "0:0"])
def test_an_empty_or_impossible_range(value):
    message = f"`value={value!r}` does not lie within the 7 classes, 0:7"
    with pytest.raises(InputError, match=re.escape(message)):
        parse_classes(value, 7)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("", None), ("2:5", range(2, 5)), (":5", range(5)), ("2:", range(2, 7)), (":", range(7))],
)
def test_ranges(value, expected):
    assert parse_classes(value, 7) == expected


@pytest.mark.parametrize("name", ["", "birds", "folder", "folder:", "CUB", "glyph"])
def test_unknown_names(name):
    with pytest.raises(InputError, match=f"name={name!r}` is unknown; choose one of cub, cars196"):
        load_dataset(name)


def test_a_folder_without_its_prefix(tmp_path):
    with pytest.raises(InputError) as caught:
        load_dataset(str(tmp_path))
    assert str(caught.value) == f"`name='{tmp_path}'` is a folder; give 'folder:{tmp_path}'."


def test_a_missing_folder(tmp_path):
    with pytest.raises(InputError, match="does not exist; give folder:PATH"):
        load_dataset(f"folder:{tmp_path / 'nowhere'}")


def test_one_class_is_too_few(tmp_path):
    (tmp_path / "only").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "only/1.png")
    with pytest.raises(InputError, match="has one class only"):
        load_dataset(f"folder:{tmp_path}")


def test_a_folder_may_have_a_colon_and_start_at_home(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    assert len(load_dataset(f"folder:~/{tmp_path.name}").test) == 22
    colon = folder.rename(folder.with_name("a:b"))
    assert len(load_dataset(f"folder:{colon}").test) == 22


def test_glyphs_are_written_below_data_dir(folder, monkeypatch, tmp_path):
    asked = []

    def write_glyphs(root):
        asked.append(root)
        return folder

    monkeypatch.setattr(dataset_module, "write_glyphs", write_glyphs)
    dataset = load_dataset("glyphs", data_dir=tmp_path / "data")
    assert asked == [tmp_path / "data/keras_distill"]
    assert dataset.test.classes.tolist() == [3, 4, 5, 6]


def test_unlabelled_images_of_the_same_data_set(folder):
    dataset = load_dataset(
        f"folder:{folder}",
        train_classes=":2",
        test_classes="5:",
        unlabelled=f"folder:{folder}",
        unlabelled_classes="2:5",
    )
    assert dataset.unlabelled.classes.tolist() == [2, 3, 4]
    together = dataset.train.with_unlabelled(dataset.unlabelled)
    assert together.labels.tolist() == [0, 1, 1] + 12 * [-1]
    assert together.classes.tolist() == [0, 1]
    np.testing.assert_array_equal(together.paths, [*dataset.train.paths, *dataset.unlabelled.paths])
    assert load_dataset(f"folder:{folder}").unlabelled is None


def test_unlabelled_images_of_another_folder(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    for label in range(2):
        (other / f"class{label}").mkdir()
        Image.new("RGB", (4, 4), (9, 9, label)).save(other / f"class{label}" / "0.png")
    link = other / "link" / "deeper"
    link.parent.mkdir()
    link.symlink_to(folder)
    (other / "link" / "0.png").write_bytes((other / "class0" / "0.png").read_bytes())
    dataset = load_dataset(f"folder:{link}", unlabelled=f"folder:{other}", unlabelled_classes=":2")
    together = dataset.train.with_unlabelled(dataset.unlabelled)
    assert together.labels.tolist() == [0, 1, 1, 2, 2, 2, -1, -1]
    assert all((together.root / path).is_file() for path in together.paths)
    assert all("/link/" not in f"{together.root / path}" for path in together.paths)
    # Their relative paths are among those of the data set, but their ids are not.
    assert dataset.unlabelled.paths[0] == dataset.train.paths[0]
    assert len(set(together.ids.tolist())) == len(together)
    np.testing.assert_array_equal(together.ids[:6], dataset.train.ids)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("", r"in the test split"),
        ("4:7", r"in the test split, and nothing may learn"),
        ("2:4", r"in the validation split, and nothing may learn"),
        ("0:2", r"3 of the images, such as '.*class0/0\.png', are in the train split, and they"),
        ("6:9", r"unlabelled_classes='6:9'` does not lie within the 7 classes"),
    ],
)
def test_unlabelled_images_of_a_split_are_refused(folder, classes, message):
    splits = {"train_classes": "0:4", "validation_classes": "2:4", "test_classes": "5:7"}
    with pytest.raises(InputError, match=message):
        load_dataset(
            f"folder:{folder}",
            **splits,
            unlabelled=f"folder:{folder}/../{folder.name}",
            unlabelled_classes=classes,
        )


@pytest.mark.parametrize("kind", ["link", "copy"])
def test_a_test_image_among_unlabelled_ones_is_found_under_another_name(
    kind, folder, tmp_path_factory
):
    more = tmp_path_factory.mktemp("more")
    for label in range(2):
        (more / f"class{label}").mkdir()
        Image.new("RGB", (4, 4), (9, 9, label)).save(more / f"class{label}" / "0.png")
    splits = {"train_classes": "0:4", "test_classes": "5:7", "unlabelled": f"folder:{more}"}
    assert len(load_dataset(f"folder:{folder}", **splits).unlabelled) == 2
    image = next((folder / "class6").iterdir())
    hidden = more / "class1" / "1.png"
    if kind == "link":
        hidden.symlink_to(image)
    else:
        hidden.write_bytes(image.read_bytes())
    with pytest.raises(InputError, match=rf"1 of the images, such as '{hidden}', are in the test"):
        load_dataset(f"folder:{folder}", **splits)
    hidden.unlink()
    hidden.write_bytes(next((folder / "class1").iterdir()).read_bytes())
    assert len(load_dataset(f"folder:{folder}", **splits).unlabelled) == 3  # a copy for training


def test_unknown_unlabelled_data_set(folder):
    with pytest.raises(InputError, match="unlabelled='bees'` is unknown"):
        load_dataset(f"folder:{folder}", unlabelled="bees")
