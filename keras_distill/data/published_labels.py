"""Published multi-label data sets, unpacked from tensorflow-datasets into images and a CSV file."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from keras_distill.data.published_sets import prepare
from keras_distill.publishing import published_folder

#: Names of the files that `unpack_labels` writes.
LABELS_FILE, CLASSES_FILE = "labels.csv", "classes.txt"


@dataclass(frozen=True)
class PublishedLabels:
    """One multi-label data set of tensorflow-datasets.

    Attributes:
        builder: Name of the builder and its configuration.
        splits: From splits of the builder that have labels to `train`, `validation` or `test`.
        present: Feature that holds the labels of an image, repeated for each object; levels are
            separated by `/`.
        certain: Feature that holds those labels among them that are not only those of difficult
            objects; empty if all are.
    """

    builder: str
    splits: Mapping[str, str]
    present: str
    certain: str = ""

    def labels_of(self, example: Mapping[str, Any]) -> tuple[list[int], list[int]]:
        """Returns the labels of an image.

        Args:
            example: Features of the image, as the builder yields them.

        Returns:
            The labels that the image has, and those of which only difficult objects are seen, each
            sorted.

        Example:
            >>> example = {"labels": np.array([3, 3, 7]), "labels_no_difficult": np.array([7])}
            >>> PUBLISHED_LABELS["voc2007"].labels_of(example)
            ([7], [3])
        """
        present = set(_values(example, self.present))
        certain = set(_values(example, self.certain)) if self.certain else present
        return sorted(present & certain), sorted(present - certain)


# The papers train on COCO's training images and report on its validation images, as those of the
# test have no published labels.
PUBLISHED_LABELS = {
    "coco": PublishedLabels("coco/2014", {"train": "train", "validation": "test"}, "objects/label"),
    "voc2007": PublishedLabels(
        "voc/2007",
        {"train": "train", "validation": "validation", "test": "test"},
        "labels",
        "labels_no_difficult",
    ),
}


def unpack_labels(name: str, data_dir: str | Path) -> Path:
    """Writes a published data set as JPEG files, `labels.csv` and `classes.txt`, once.

    The files hold the bytes as published. `labels.csv` is one of `read_label_csv`.

    Args:
        name: A key of `PUBLISHED_LABELS`.
        data_dir: Folder of tensorflow-datasets, where the builder is or will be prepared.

    Returns:
        The folder, `data_dir/keras_distill/BUILDER-VERSION`.

    Raises:
        InputError: If the builder is not prepared and cannot be downloaded.
    """
    import tensorflow_datasets as tfds  # slow to import, and only needed here

    published = PUBLISHED_LABELS[name]
    builder = tfds.builder(published.builder, data_dir=str(Path(data_dir).expanduser()))
    target = Path(data_dir).expanduser() / "keras_distill"
    target = target / f"{published.builder.replace('/', '-')}-{builder.version}"
    if target.is_dir():
        return target
    prepare(builder, published.builder, name=name, data_dir=data_dir)
    logging.info("Unpacking %s into %s", published.builder, target)
    class_names = _class_names(builder.info.features, published.present)
    with published_folder(target) as folder:
        (folder / CLASSES_FILE).write_text("".join(f"{each}\n" for each in class_names))
        rows = []
        for source, split in published.splits.items():
            (folder / split).mkdir()
            examples = builder.as_dataset(
                split=source, decoders={"image": tfds.decode.SkipDecoding()}
            )
            for example in examples.as_numpy_iterator():
                path = f"{split}/{example['image/filename'].decode()}"
                (folder / path).write_bytes(example["image"])
                labels = published.labels_of(example)
                rows.append([path, split, *(_joined(class_names, each) for each in labels)])
        with (folder / LABELS_FILE).open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["file", "split", "labels", "unknown"])
            writer.writerows(sorted(rows))  # the builder has them in an order of its own
    return target


def _values(example: Mapping[str, Any], name: str) -> list[int]:
    value: Any = example
    for level in name.split("/"):
        value = value[level]
    return np.asarray(value).tolist()


def _class_names(features: Any, name: str) -> list[str]:
    for level in name.split("/"):
        features = features[level]
    return list(getattr(features, "feature", features).names)


def _joined(class_names: Sequence[str], labels: Sequence[int]) -> str:
    return "|".join(class_names[label] for label in labels)
