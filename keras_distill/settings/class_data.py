"""Loading of images whose classes are the same in every split."""

from pathlib import Path
from typing import Any

from keras_distill.errors import InputError, renamed_arguments
from keras_distill.settings.data import DataSettings, without_unreadable

#: Sub-folders that are splits, not classes, if a folder has several of them and no others.
SPLITS = ("train", "validation", "test")


def has_split_folders(dataset: str) -> bool:
    """Tells whether a data set is a folder whose sub-folders are splits, such as `train`, `test`.

    Args:
        dataset: The setting `dataset`.
    """
    kind, _, path = dataset.partition(":")
    root = Path(path).expanduser()
    if kind != "folder" or not path or not root.is_dir():
        return False
    names = {each.name for each in root.iterdir() if each.is_dir() and each.name[0] != "."}
    return len(names) > 1 and names <= set(SPLITS)


def load_class_images(settings: DataSettings, split: str) -> tuple[Any, list[str]]:
    """Loads the images of all classes of one split.

    Args:
        settings: The settings, whose `dataset` is a folder of splits with a sub-folder a class, or
            any other data set, all of which is taken for every split.
        split: `"train"`, `"validation"` or `"test"`.

    Returns:
        The `ImageSet` without unreadable images, and the relative paths of those that were skipped.

    Raises:
        InputError: If the data set cannot be used, or has a corrupt image and `--strict_images`.
    """
    from keras_distill.data.dataset import find_images

    dataset = settings.dataset
    if has_split_folders(dataset):
        folder = Path(dataset.partition(":")[2]).expanduser() / split
        if not folder.is_dir():
            raise InputError(f"`split={split}`: `dataset={dataset}` has no folder {split!r}.")
        dataset = f"folder:{folder}"
    with renamed_arguments(name="dataset"):
        images = find_images(dataset, settings.data_dir)
    if not dataset.startswith("folder:"):
        return images, []
    return without_unreadable(settings, images)
