"""Data sets by name, split by class as in the paper."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from keras_distill.data.common_images import common_images
from keras_distill.data.glyphs import write_glyphs
from keras_distill.data.image_set import ImageSet, read_folder
from keras_distill.data.published_sets import PUBLISHED_SETS, unpack
from keras_distill.errors import InputError, renamed_arguments

DEFAULT_DATA_DIR = "~/tensorflow_datasets"


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in class-disjoint splits.

    Attributes:
        name: The name that it was loaded by.
        train: The images to learn from.
        validation: Held-out training classes, to choose settings on; `None` if none are held out.
        test: The images to report on.
        unlabelled: Images to learn from without their classes; `None` if there are none.
    """

    name: str
    train: ImageSet
    validation: ImageSet | None
    test: ImageSet
    unlabelled: ImageSet | None = None


def load_dataset(
    name: str,
    *,
    data_dir: str | Path = DEFAULT_DATA_DIR,
    train_classes: str = "",
    validation_classes: str = "",
    test_classes: str = "",
    unlabelled: str = "",
    unlabelled_classes: str = "",
) -> Dataset:
    """Finds a data set and splits it by class.

    Args:
        name: `cub`, `cars196` or `sop` (through tensorflow-datasets), `glyphs` (generated), or
            `folder:PATH` with one sub-folder of JPEG or PNG images a class.
        data_dir: Where the data sets that are not a folder lie, or are put.
        train_classes: Training classes as `A:B`, B exclusive; by default the first half.
        validation_classes: Classes within `train_classes` to hold out from training.
        test_classes: Test classes as `A:B`; by default the second half.
        unlabelled: Name of a data set to learn from without its classes.
        unlabelled_classes: Its classes to take, as `A:B`; by default all.

    Returns:
        The splits. Labels are the indices of the classes in the whole data set.

    Raises:
        InputError: If the name, the folder or a range of classes cannot be used.

    Example:
        >>> birds = load_dataset("folder:photos", train_classes="0:50")  # doctest: +SKIP
        >>> len(birds.train), len(birds.test)  # doctest: +SKIP
        (2953, 1464)
    """
    images = find_images(name, data_dir)
    count = len(images.class_names)
    half = None
    if name in PUBLISHED_SETS:
        half = min(PUBLISHED_SETS[name].train_classes, count // 2)
    if count < 2:
        raise InputError(
            f"`name={name!r}` has one class only; a metric needs at least two to learn from and "
            "two others to test on."
        )
    half = count // 2 if half is None else half
    with renamed_arguments(value="train_classes"):
        train = parse_classes(train_classes, count) or range(half)
    with renamed_arguments(value="test_classes"):
        test = parse_classes(test_classes, count) or range(half, count)
    with renamed_arguments(value="validation_classes"):
        validation = parse_classes(validation_classes, count)
    if set(train) & set(test):
        raise InputError(
            f"`train_classes={_text(train)}` and `test_classes={_text(test)}` overlap; the "
            "protocol is class-disjoint. Give both, e.g. "
            f"`train_classes={_text(range(test.start))}`."
        )
    train_images = images.of_classes(train)
    validation_images = None
    if validation is not None:
        if not set(validation) < set(train):
            raise InputError(
                f"`validation_classes={_text(validation)}` must lie within "
                f"`train_classes={_text(train)}` and leave classes to train on."
            )
        validation_images = images.of_classes(validation)
        train_images = train_images.select(
            ~np.isin(train_images.labels, np.arange(validation.start, validation.stop))
        )
    dataset = Dataset(name, train_images, validation_images, images.of_classes(test))
    if not unlabelled:
        return dataset
    with renamed_arguments(name="unlabelled", value="unlabelled_classes"):
        more = find_images(unlabelled, data_dir)
        chosen = parse_classes(unlabelled_classes, len(more.class_names))
    if chosen is not None:
        more = more.of_classes(chosen)
    _check_unlabelled(unlabelled, more, dataset)
    return replace(dataset, unlabelled=more)


def _check_unlabelled(name: str, images: ImageSet, dataset: Dataset) -> None:
    for split, why in (
        ("test", "nothing may learn from it"),
        ("validation", "nothing may learn from it"),
        ("train", "they are labelled already"),
    ):
        taken = getattr(dataset, split)
        # A copy of a training image leaks nothing.
        common = [] if taken is None else common_images(images, taken, copies=split != "train")
        if common:
            raise InputError(
                f"`unlabelled={name!r}`: {len(common)} of the images, such as {common[0]!r}, are "
                f"in the {split} split, and {why}; choose other classes, as {name}:A:B, or remove "
                "the copies and links among them."
            )


def find_images(name: str, data_dir: str | Path = DEFAULT_DATA_DIR) -> ImageSet:
    """Finds all images of a data set, not split.

    Args:
        name: As of `load_dataset`.
        data_dir: Where the data sets that are not a folder lie, or are put.

    Returns:
        The images.

    Raises:
        InputError: If the name or the folder cannot be used.
    """
    kind, _, path = name.partition(":")
    if kind == "folder" and path:
        return read_folder(Path(path).expanduser())
    if name == "glyphs":
        return read_folder(write_glyphs(Path(data_dir).expanduser() / "keras_distill"))
    if name in PUBLISHED_SETS:
        return read_folder(unpack(name, Path(data_dir).expanduser()))
    if name and Path(name).expanduser().is_dir():
        raise InputError(f"`name={name!r}` is a folder; give 'folder:{name}'.")
    raise InputError(
        f"`name={name!r}` is unknown; choose one of {', '.join(PUBLISHED_SETS)}, glyphs, or "
        "folder:PATH."
    )


def parse_classes(value: str, count: int) -> range | None:
    """Reads a range of classes.

    Args:
        value: `A:B`, B exclusive; either side may be missing; empty for `None`.
        count: Number of classes in the data set.

    Returns:
        The range, or `None`.

    Raises:
        InputError: If it is not such a range, is empty, or exceeds the data set.
    """
    if not value:
        return None
    start, colon, stop = value.partition(":")
    try:
        classes = range(int(start or 0), int(stop or count))
    except ValueError:
        colon = ""
        classes = range(0)
    if not colon:
        raise InputError(f"`value={value!r}` is not of the form A:B, e.g. 0:{count // 2}.")
    if not 0 <= classes.start < classes.stop <= count:
        raise InputError(f"`value={value!r}` does not lie within the {count} classes, 0:{count}.")
    return classes


def _text(classes: range) -> str:
    return f"{classes.start}:{classes.stop}"
