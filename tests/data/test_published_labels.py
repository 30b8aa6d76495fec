"""Published multi-label data sets, by tiny data sets of the real builders' features."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from keras_distill import InputError, read_label_targets
from keras_distill.data.published_labels import PUBLISHED_LABELS, unpack_labels

BOX = tfds.features.BBox(0.0, 0.0, 1.0, 1.0)
# Labels of the objects of each image; those of VOC with whether they are difficult.
OBJECTS = {
    "coco": {
        "train": {"t1.jpg": [2, 0, 0], "t2.jpg": []},
        "validation": {"v1.jpg": [79, 2]},
        "test": {"x.jpg": []},
        "test2015": {"y.jpg": []},
    },
    "voc2007": {
        "train": {"1.jpg": [(6, False), (6, True), (14, True)]},
        "validation": {"2.jpg": [(0, True)]},
        "test": {"3.jpg": [(14, False)]},
    },
}
COCO_NAMES = [f"category {number:02d}" for number in range(80)]


def image_bytes(name):
    pixels = np.random.default_rng(list(name.encode())).integers(0, 256, (6, 5, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=70)
    return buffer.getvalue()


def coco_example(number, name, labels):
    objects = [
        {"id": 0, "area": 1, "bbox": BOX, "label": label, "is_crowd": False} for label in labels
    ]
    return {"image/id": number, "objects": objects}


def voc_example(number, name, labels):
    objects = [
        {
            "label": label,
            "bbox": BOX,
            "pose": "left",
            "is_truncated": False,
            "is_difficult": difficult,
        }
        for label, difficult in labels
    ]
    return {
        "objects": objects,
        "labels": sorted({label for label, _ in labels}),
        "labels_no_difficult": sorted({label for label, difficult in labels if not difficult}),
    }


def local_builder(name, data_dir):
    """The real builder, its name, version and features, with a few images made here."""
    published = PUBLISHED_LABELS[name].builder.split("/")
    make = {"coco": coco_example, "voc2007": voc_example}[name]

    class Local(tfds.builder_cls(published[0]), skip_registration=True):
        def _split_generators(self, dl_manager):
            if name == "coco":  # as the real one does when it has read the annotations
                self.info.features["objects"]["label"].names = COCO_NAMES
            return {split: self._generate_examples(split) for split in OBJECTS[name]}

        def _generate_examples(self, split):
            for number, (file, labels) in enumerate(OBJECTS[name][split].items()):
                image = {"image": io.BytesIO(image_bytes(file)), "image/filename": file}
                yield file, image | make(number, file, labels)

    Local.name = published[0]
    return Local(config=published[1], data_dir=data_dir)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    for name in PUBLISHED_LABELS:
        local_builder(name, folder).download_and_prepare()
    return folder


def test_the_builders_have_the_splits_and_features():
    for name, published in PUBLISHED_LABELS.items():
        builder = tfds.builder(published.builder, data_dir="/nowhere")
        assert set(published.splits) <= set(OBJECTS[name])
        features = builder.info.features
        assert {"image", "image/filename", published.present.split("/")[0]} <= set(features)
        assert not published.certain or published.certain in features
    assert builder.info.features["labels"].feature.names[14] == "person"


def test_coco_has_its_categories_as_labels(data_dir):
    images = read_label_targets("coco", data_dir=data_dir)
    assert images.class_names[:4] == ("category 02", "category 00", "category 79", "category 01")
    assert len(images.class_names) == 80
    assert images.paths.tolist() == ["test/v1.jpg", "train/t1.jpg", "train/t2.jpg"]
    assert images.splits.tolist() == ["test", "train", "train"]
    assert images.targets[:, :3].tolist() == [[1, 0, 1], [1, 1, 0], [0, 0, 0]]
    assert images.targets[:, 3:].tolist() == np.zeros((3, 77)).tolist()
    for path in images.paths.tolist():
        assert (images.root / path).read_bytes() == image_bytes(path.split("/")[1])
    some = read_label_targets("coco", data_dir=data_dir, classes=COCO_NAMES, split="test")
    assert some.class_names == tuple(COCO_NAMES)
    assert np.flatnonzero(some.targets[0]).tolist() == [2, 79]


@pytest.mark.parametrize(("difficult", "target"), [("unknown", -1), ("present", 1), ("absent", 0)])
def test_difficult_objects_of_voc(data_dir, difficult, target):
    names = ["aeroplane", "bus", "car", "person"]
    images = read_label_targets("voc2007", data_dir=data_dir, classes=names, difficult=difficult)
    assert images.paths.tolist() == ["test/3.jpg", "train/1.jpg", "validation/2.jpg"]
    assert images.targets.tolist() == [[0, 0, 0, 1], [0, 0, 1, target], [target, 0, 0, 0]]


def test_the_second_call_needs_no_builder(data_dir, monkeypatch):
    first = unpack_labels("coco", data_dir)
    before = {file: file.stat().st_mtime_ns for file in first.rglob("*")}

    def fail(*args, **kwargs):
        raise AssertionError("the images were already there")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "as_dataset", fail)
    assert unpack_labels("coco", data_dir) == first
    assert before == {file: file.stat().st_mtime_ns for file in first.rglob("*")}


@pytest.mark.parametrize("name", PUBLISHED_LABELS)
def test_neither_prepared_nor_a_network_is_an_error_with_the_remedy(name, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise ConnectionError("there is no network in this test")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(InputError, match=rf"`spec={name}`: .*there is no network.*`tfds build "):
        read_label_targets(name, data_dir=tmp_path)
    assert list(tmp_path.rglob("*.jpg")) == []
