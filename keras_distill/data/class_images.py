"""Data sets of images of one class each, split by image."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_distill.data.classified_sets import CLASSIFIED_SETS, unpack_classified
from keras_distill.data.dataset import DEFAULT_DATA_DIR
from keras_distill.data.image_set import ImageSet, read_folder, read_pictures
from keras_distill.data.image_split import split_by_image
from keras_distill.errors import InputError

#: Kinds of folders, the first word of a name `KIND:PATH`.
FOLDER_KINDS = ("folder", "imagenet_folder", "faces")
# Sub-folders that are splits, in a folder that has nothing else.
_SPLIT_FOLDERS = {
    "folder": {"train": "train", "validation": "validation", "val": "validation", "test": "test"},
    "imagenet_folder": {"train": "train", "val": "test"},
}


@dataclass(frozen=True, eq=False)
class ClassImages:
    """A data set whose splits share their classes.

    Attributes:
        name: The name that it was loaded by.
        train: The images to learn from.
        validation: Images to choose settings and the epoch on; `None` if there are none.
        test: The images to report on; `None` if there are none.
    """

    name: str
    train: ImageSet
    validation: ImageSet | None
    test: ImageSet | None


def load_class_images(
    name: str,
    *,
    data_dir: str | Path = DEFAULT_DATA_DIR,
    validation_share: float = 0.1,
    test_share: float = 0.2,
    seed: int = 0,
    least_images: int = 1,
) -> ClassImages:
    """Finds a data set of images of one class each, and splits it by image.

    Args:
        name: `cifar10` or `cifar100` (through tensorflow-datasets); `folder:PATH` with one
            sub-folder of JPEG or PNG images a class, or with the sub-folders `train`, `test` and
            maybe `validation` (or `val`) that hold these; `imagenet_folder:PATH` with `train` and
            `val`, which is tested on; or `faces:PATH` with one sub-folder a person, all of them to
            train on.
        data_dir: Where the data sets that are not a folder lie, or are put.
        validation_share: Share of the training images of each class to validate on, if the data set
            has no validation split; 0 for none.
        test_share: Share of the images of each class to test on, if the data set is not split;
            none of `faces`.
        seed: Seed of the split.
        least_images: Classes with fewer training images are left out.

    Returns:
        The splits, with labels in the alphabetical order of the classes.

    Raises:
        InputError: If the name or the folder cannot be used, or splits have different classes.

    Example:
        >>> digits = load_class_images("folder:digits", test_share=0.3)  # doctest: +SKIP
        >>> len(digits.train), len(digits.test)  # doctest: +SKIP
        (1132, 539)
    """
    images, parts = _found(name, data_dir)
    if parts is None:
        shares = {} if name.startswith("faces:") else {"test": test_share}
        parts = split_by_image(images.labels, shares, seed=seed).astype("<U10")
    if validation_share and not (parts == "validation").any():
        rows = np.flatnonzero(parts == "train")
        parts[rows] = split_by_image(
            images.labels[rows], {"validation": validation_share}, seed=seed
        )
    if least_images > 1:
        images, parts = _with_images(name, images, parts, least_images)
    _check_classes(name, images, parts)

    def of(part: str) -> ImageSet | None:
        chosen = parts == part
        return images.select(chosen) if chosen.any() else None

    train = of("train")
    assert train is not None  # _check_classes
    return ClassImages(name, train, of("validation"), of("test"))


def split_folders(path: str | Path) -> dict[str, str]:
    """Finds the sub-folders of a folder that are splits, if it has no others.

    Args:
        path: The folder.

    Returns:
        `train`, `validation` or `test` by the name of the sub-folder, which is that or `val`; empty
        if the sub-folders are classes.
    """
    folders = _sub_folders(Path(path))
    known = _SPLIT_FOLDERS["folder"]
    if not folders <= known.keys():
        return {}
    return {folder: known[folder] for folder in known if folder in folders}


def _found(name: str, data_dir: str | Path) -> tuple[ImageSet, np.ndarray | None]:
    """All images of a data set, and the split of each; `None` if it is not split."""
    kind, _, text = name.partition(":")
    if name in CLASSIFIED_SETS:
        return _of_splits(unpack_classified(name, Path(data_dir).expanduser()), "folder")
    if kind not in FOLDER_KINDS or not text:
        raise InputError(
            f"`name={name!r}` is unknown; give one of {', '.join(CLASSIFIED_SETS)}, or "
            f"{', '.join(f'{each}:PATH' for each in FOLDER_KINDS)}."
        )
    path = Path(text).expanduser()
    if not path.is_dir():
        raise InputError(f"`name={name!r}`: there is no folder {text!r}.")
    if kind == "faces":
        return _people(path), None
    if kind == "folder":
        if not (splits := split_folders(path)):
            return read_folder(path), None
        if "train" not in splits:
            raise InputError(
                f"`name={name!r}` lacks the sub-folder 'train'; it has {', '.join(splits)} alone."
            )
        return _of_splits(path, kind)
    if lacking := _SPLIT_FOLDERS[kind].keys() - _sub_folders(path):
        raise InputError(
            f"`name={name!r}` lacks the sub-folder {min(lacking)!r}; it needs train and val, with "
            "one sub-folder a class each."
        )
    return _of_splits(path, kind)


def _sub_folders(path: Path) -> set[str]:
    return {each.name for each in path.iterdir() if each.is_dir() and each.name[0] != "."}


def _of_splits(root: Path, kind: str) -> tuple[ImageSet, np.ndarray]:
    """The images of sub-folders that are splits, with the classes of all of them."""
    read = {
        folder: read_folder(root / folder)
        for folder in _SPLIT_FOLDERS[kind]
        if (root / folder).is_dir()
    }
    names = sorted({each for images in read.values() for each in images.class_names})
    place = {each: label for label, each in enumerate(names)}
    paths, labels, parts = [], [], []
    for folder, images in read.items():
        number = np.array([place[each] for each in images.class_names])
        paths += [f"{folder}/{path}" for path in images.paths.tolist()]
        labels.append(number[images.labels])
        parts += [_SPLIT_FOLDERS[kind][folder]] * len(images)
    found = ImageSet(root, np.array(paths), np.concatenate(labels).astype(np.int64), tuple(names))
    return found, np.array(parts, "<U10")


def _people(root: Path) -> ImageSet:
    """The images of a folder of people; people without images, and images of nobody, are left."""
    images = read_pictures(root)
    images = images.select(images.labels >= 0)
    if not len(images):
        raise InputError(
            f"folder {str(root)!r} has no sub-folders with images; it needs one a person."
        )
    return images


def _with_images(
    name: str, images: ImageSet, parts: np.ndarray, least: int
) -> tuple[ImageSet, np.ndarray]:
    """Leaves out the classes that have few training images."""
    counts = np.bincount(images.labels[parts == "train"], minlength=len(images.class_names))
    kept = counts >= least
    if not kept.any():
        raise InputError(
            f"`least_images={least}`: no class of `name={name!r}` has so many training images; the "
            f"largest has {counts.max()}."
        )
    chosen = kept[images.labels]
    number = np.cumsum(kept) - 1
    names = tuple(np.array(images.class_names)[kept].tolist())
    left = images.select(chosen)
    return ImageSet(left.root, left.paths, number[left.labels], names), parts[chosen]


def _check_classes(name: str, images: ImageSet, parts: np.ndarray) -> None:
    trained = np.unique(images.labels[parts == "train"])
    unknown = np.setdiff1d(images.labels, trained)
    if len(unknown):
        raise InputError(
            f"`name={name!r}`: {len(unknown)} of {len(images.class_names)} classes, such as "
            f"{images.class_names[unknown[0]]!r}, have no training images; all splits must have "
            "the same classes. Give the folder of one split, or faces:PATH, if its people are "
            "to be told from others."
        )
    if len(trained) < 2:
        raise InputError(f"`name={name!r}` has one class only; a classifier needs two or more.")
