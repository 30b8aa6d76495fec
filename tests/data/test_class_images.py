import io
import os

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from keras_distill.data.class_images import load_class_images, split_folders
from keras_distill.data.classified_sets import CLASSIFIED_SETS, unpack_classified
from keras_distill.errors import InputError


def fill(folder, **counts):
    """Makes a sub-folder a class with so many images."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            image = Image.new("RGB", (4, 4), (index, len(name), 0))
            image.save(folder / name / f"{index}.png")
    return folder


def counted(images):
    if images is None:
        return None
    names = np.array(images.class_names)[images.labels]
    return {str(name): int((names == name).sum()) for name in images.class_names}


def test_a_folder_is_split_by_image(tmp_path):
    fill(tmp_path, cat=20, dog=10)
    loaded = load_class_images(f"folder:{tmp_path}", test_share=0.2, validation_share=0.25)
    assert counted(loaded.test) == {"cat": 4, "dog": 2}
    assert counted(loaded.validation) == {"cat": 4, "dog": 2}
    assert counted(loaded.train) == {"cat": 12, "dog": 6}
    every = [*loaded.train.paths, *loaded.validation.paths, *loaded.test.paths]
    assert len(set(every)) == 30
    again = load_class_images(f"folder:{tmp_path}", test_share=0.2, validation_share=0.25)
    assert again.test.paths.tolist() == loaded.test.paths.tolist()
    other = load_class_images(f"folder:{tmp_path}", test_share=0.2, seed=1)
    assert other.test.paths.tolist() != loaded.test.paths.tolist()
    alone = load_class_images(f"folder:{tmp_path}", test_share=0, validation_share=0)
    assert (alone.validation, alone.test, len(alone.train)) == (None, None, 30)


@pytest.mark.parametrize("validation", ["", "val", "validation"])
def test_sub_folders_are_splits(tmp_path, validation):
    fill(tmp_path / "train", cat=10, dog=10)
    fill(tmp_path / "test", dog=3, cat=1)
    if validation:
        fill(tmp_path / validation, dog=2)
    loaded = load_class_images(f"folder:{tmp_path}", validation_share=0.2)
    assert counted(loaded.test) == {"cat": 1, "dog": 3}
    expected = {"cat": 0, "dog": 2} if validation else {"cat": 2, "dog": 2}
    assert counted(loaded.validation) == expected
    assert loaded.train.paths[0].startswith("train/cat/")
    assert loaded.train.root == tmp_path


def test_a_class_that_is_called_as_a_split(tmp_path):
    fill(tmp_path, train=5, boat=5)
    loaded = load_class_images(f"folder:{tmp_path}", test_share=0.4, validation_share=0)
    assert counted(loaded.test) == {"boat": 2, "train": 2}
    assert split_folders(tmp_path) == {}
    fill(tmp_path / "others" / "val", cat=2, dog=2)
    fill(tmp_path / "others" / "test", cat=2, dog=2)
    assert split_folders(tmp_path / "others") == {"val": "validation", "test": "test"}
    with pytest.raises(InputError, match=r"lacks the sub-folder 'train'; it has val, test alone\."):
        load_class_images(f"folder:{tmp_path / 'others'}")


def test_the_validation_images_of_imagenet_are_tested_on(tmp_path):
    fill(tmp_path / "train", n01=4, n02=4)
    fill(tmp_path / "val", n01=2, n02=2)
    fill(tmp_path / "devkit", readme=1)
    loaded = load_class_images(f"imagenet_folder:{tmp_path}", validation_share=0.25)
    assert counted(loaded.test) == {"n01": 2, "n02": 2}
    assert counted(loaded.validation) == {"n01": 1, "n02": 1}
    with pytest.raises(InputError, match="lacks the sub-folder 'train'"):
        load_class_images(f"imagenet_folder:{tmp_path / 'train'}")


def test_people_are_all_trained_on_and_some_are_left_out(tmp_path):
    fill(tmp_path, ann=3, bob=1, cem=2, dee=0)
    Image.new("RGB", (4, 4)).save(tmp_path / "nobody.png")
    loaded = load_class_images(f"faces:{tmp_path}", validation_share=0)
    assert counted(loaded.train) == {"ann": 3, "bob": 1, "cem": 2}
    assert loaded.test is None
    several = load_class_images(f"faces:{tmp_path}", validation_share=0, least_images=2)
    assert counted(several.train) == {"ann": 3, "cem": 2}
    assert several.train.labels.tolist() == [0, 0, 0, 1, 1]
    with pytest.raises(InputError, match=r"least_images=4`: no class .* the largest has 3"):
        load_class_images(f"faces:{tmp_path}", validation_share=0, least_images=4)


def test_unusable_data(tmp_path):
    fill(tmp_path / "train", cat=2, dog=2)
    fill(tmp_path / "test", cow=2)
    with pytest.raises(InputError, match=r"1 of 3 classes, such as 'cow', have no training images"):
        load_class_images(f"folder:{tmp_path}")
    with pytest.raises(InputError, match="has one class only"):
        load_class_images(f"folder:{tmp_path / 'test'}")
    with pytest.raises(InputError, match="there is no folder 'nowhere'"):
        load_class_images("folder:nowhere")
    with pytest.raises(InputError, match="is unknown; give one of cifar10, cifar100, or folder:P"):
        load_class_images("cub")
    os.makedirs(tmp_path / "nobody")
    with pytest.raises(InputError, match="has no JPEG or PNG images"):
        load_class_images(f"faces:{tmp_path / 'nobody'}")


CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def png(split, label, index):
    pixels = np.random.default_rng([len(split), label, index]).integers(0, 256, (32, 32, 3))
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def local_builder(name, data_dir):
    """The real builder, its name, version and features, with a few images made here."""

    class Local(tfds.builder_cls(name), skip_registration=True):
        def _split_generators(self, dl_manager):
            # As the real one, which reads them from what it has downloaded.
            self.info.features["label"].names = CIFAR10
            return {split: self._generate_examples(split) for split in ("train", "test")}

        def _generate_examples(self, split):
            more = {} if name == "cifar10" else {"coarse_label": 1}
            for label in range(10):
                for index in range(2):
                    image = io.BytesIO(png(split, label, index))
                    example = {"image": image, "label": label, "id": f"{split}_{label}_{index}"}
                    yield f"{label}-{index}", example | more

    Local.name = name
    return Local(data_dir=data_dir)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    local_builder("cifar10", folder).download_and_prepare()
    return folder


@pytest.mark.parametrize("name", CLASSIFIED_SETS)
def test_the_builders_have_the_features_that_are_read(name):
    features = tfds.builder_cls(name)(data_dir="/nowhere").info.features
    assert isinstance(features["image"], tfds.features.Image)
    assert features["label"].num_classes == (10 if name == "cifar10" else 100)


def test_a_published_set_keeps_its_splits_and_bytes(prepared, monkeypatch):
    folder = unpack_classified("cifar10", prepared)
    assert folder.parent == prepared / "keras_distill"
    loaded = load_class_images("cifar10", data_dir=prepared, validation_share=0)
    assert loaded.train.class_names[:3] == ("airplane", "automobile", "bird")
    assert counted(loaded.test) == dict.fromkeys(loaded.train.class_names, 2)
    birds = {(folder / path).read_bytes() for path in loaded.test.paths if "/bird/" in path}
    assert birds == {png("test", 2, 0), png("test", 2, 1)}

    def fail(*args, **kwargs):
        raise AssertionError("the images were already there")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "as_dataset", fail)
    assert unpack_classified("cifar10", prepared) == folder


def test_neither_prepared_nor_a_network_is_an_error_with_the_remedy(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise ConnectionError("there is no network in this test")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(InputError, match=r"cifar100 in .*there is no network.*`tfds build cifar"):
        load_class_images("cifar100", data_dir=tmp_path)
