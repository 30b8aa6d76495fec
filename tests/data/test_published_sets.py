import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from keras_distill import InputError, load_dataset
from keras_distill.data.published_sets import PUBLISHED_SETS, PublishedSet, unpack

EXTRA_FEATURES = {
    "cub": {
        "image/filename": "x.jpg",
        "label_name": "x",
        "bbox": tfds.features.BBox(0.0, 0.0, 1.0, 1.0),
        "segmentation_mask": np.zeros((6, 5, 1), np.uint8),
    },
    "cars196": {"bbox": tfds.features.BBox(0.0, 0.0, 1.0, 1.0), "id": "x"},
    "sop": {"super_class_id/num": 3, "super_class_id": "coffee_maker"},
}
CLASSES = 4
IN_SPLIT = {"train": 2, "test": 1}


def image_bytes(split, label, index):
    rng = np.random.default_rng([len(split), label, index])
    image = Image.fromarray(rng.integers(0, 256, (6, 5, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    image.save(buffer, "PNG" if label == 2 else "JPEG", quality=70)
    return buffer.getvalue()


def local_builder(name, data_dir):
    """The real builder, its name, version and features, with a few images made here."""

    class Local(tfds.builder_cls(PUBLISHED_SETS[name].builder), skip_registration=True):
        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(split) for split in IN_SPLIT}

        def _generate_examples(self, split):
            for label in range(CLASSES):
                for index in range(IN_SPLIT[split]):
                    image = io.BytesIO(image_bytes(split, label, index))
                    example = {"image": image, PUBLISHED_SETS[name].label: label}
                    yield f"{label}-{index}", example | EXTRA_FEATURES[name]

    Local.name = PUBLISHED_SETS[name].builder
    return Local(data_dir=data_dir)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A tensorflow-datasets folder with all three sets prepared in it."""
    data_dir = tmp_path_factory.mktemp("prepared")
    for name in PUBLISHED_SETS:
        local_builder(name, data_dir).download_and_prepare()
    return data_dir


@pytest.fixture
def data_dir(prepared, tmp_path):
    return shutil.copytree(prepared, tmp_path / "data")


@pytest.fixture
def offline(monkeypatch):
    def fail(*args, **kwargs):
        raise ConnectionError("there is no network in this test")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)


def files(folder):
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


def test_the_published_sets_and_their_splits():
    assert PUBLISHED_SETS["cub"] == PublishedSet("caltech_birds2011", "label", 100)
    assert PUBLISHED_SETS["cars196"] == PublishedSet("cars196", "label", 98)
    assert PUBLISHED_SETS["sop"] == PublishedSet("stanford_online_products", "class_id", 11318)
    test_classes = {}
    for name, published in PUBLISHED_SETS.items():
        features = tfds.builder_cls(published.builder)(data_dir="/nowhere").info.features
        assert isinstance(features["image"], tfds.features.Image)
        test_classes[name] = features[published.label].num_classes - published.train_classes
    assert test_classes == {"cub": 100, "cars196": 98, "sop": 11316}


def test_all_that_the_builders_import_while_preparing_is_installed():
    # tensorflow-datasets imports these at first use and declares none of them.
    for published in PUBLISHED_SETS.values():
        assert tfds.builder_cls(published.builder).code_path.suffix == ".py"
    assert tfds.core.lazy_imports.cv2.imdecode
    assert tfds.core.lazy_imports.scipy.io.loadmat


@pytest.mark.parametrize("name", PUBLISHED_SETS)
def test_the_folder_holds_the_published_bytes_of_both_builder_splits(name, data_dir):
    folder = unpack(name, str(data_dir))
    version = tfds.builder_cls(PUBLISHED_SETS[name].builder).VERSION
    assert folder == data_dir / "keras_distill" / f"{PUBLISHED_SETS[name].builder}-{version}"
    class_folders = sorted(folder.iterdir())
    assert [path.name[:6] for path in class_folders] == [f"{label:05d}." for label in range(4)]
    for label, class_folder in enumerate(class_folders):
        expected = {
            image_bytes(split, label, index)
            for split, count in IN_SPLIT.items()
            for index in range(count)
        }
        found = files(class_folder)
        assert len(found) == 3
        assert {path.read_bytes() for path in found} == expected
        assert {path.suffix for path in found} == {".png" if label == 2 else ".jpg"}
        assert {path.name.split("_")[0] for path in found} == {"train", "test"}


@pytest.mark.parametrize("name", PUBLISHED_SETS)
def test_a_set_is_loaded_in_two_halves_of_classes(name, data_dir):
    dataset = load_dataset(name, data_dir=data_dir)
    assert dataset.name == name
    assert dataset.train.labels.tolist() == [0] * 3 + [1] * 3
    assert dataset.test.labels.tolist() == [2] * 3 + [3] * 3
    assert dataset.validation is None


def test_the_paper_s_number_of_training_classes_is_used_where_there_are_as_many(
    data_dir, monkeypatch
):
    monkeypatch.setitem(PUBLISHED_SETS, "cars196", PublishedSet("cars196", "label", 1))
    dataset = load_dataset("cars196", data_dir=data_dir)
    assert dataset.train.classes.tolist() == [0]
    assert dataset.test.classes.tolist() == [1, 2, 3]


def test_class_names_become_folder_names(data_dir):
    names = [path.name for path in sorted(unpack("cars196", data_dir).iterdir())]
    assert names[:2] == ["00000.AM General Hummer SUV 2000", "00001.Acura RL Sedan 2012"]


def test_the_second_call_touches_nothing(data_dir, monkeypatch):
    first = unpack("cub", data_dir)
    before = [(path, path.stat().st_mtime_ns) for path in files(first)]

    def fail(*args, **kwargs):
        raise AssertionError("the images were already there")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "as_dataset", fail)
    assert unpack("cub", data_dir) == first
    shutil.rmtree(data_dir / "caltech_birds2011")  # the unpacked images suffice
    assert unpack("cub", data_dir) == first
    assert [(path, path.stat().st_mtime_ns) for path in files(first)] == before


@pytest.mark.parametrize("name", PUBLISHED_SETS)
def test_neither_prepared_nor_a_network_is_an_error_with_the_remedy(name, tmp_path, offline):
    builder = PUBLISHED_SETS[name].builder
    message = rf"name={name}`: .*{builder} in .*there is no network.*`tfds build {builder}`"
    with pytest.raises(InputError, match=message):
        load_dataset(name, data_dir=tmp_path)
    assert files(tmp_path) == []


def test_an_interrupted_unpacking_leaves_nothing_and_the_next_call_repeats_it(
    data_dir, monkeypatch
):
    original, written = Path.write_bytes, []

    def write_four(path, data):
        if len(written) == 4:
            raise KeyboardInterrupt
        written.append(path)
        return original(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_four)
    with pytest.raises(KeyboardInterrupt):
        unpack("sop", data_dir)
    assert len(written) == 4
    assert list((data_dir / "keras_distill").iterdir()) == []
    monkeypatch.undo()
    assert len(files(unpack("sop", data_dir))) == CLASSES * sum(IN_SPLIT.values())


def test_a_full_disk_while_unpacking_is_an_error_with_the_remedy(data_dir, monkeypatch):
    def fail(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(InputError, match=r"No space left on device.*Free some space"):
        unpack("sop", data_dir)
    assert list((data_dir / "keras_distill").iterdir()) == []
