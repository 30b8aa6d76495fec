"""Loading of images whose classes are the same in every split."""

from pathlib import Path
from typing import Any

from keras_distill.errors import InputError, renamed_arguments
from keras_distill.settings.data import DataSettings, without_unreadable


def has_split_folders(dataset: str) -> bool:
    """Tells whether a data set is a folder whose sub-folders are splits, such as `train`, `test`.

    Args:
        dataset: The setting `dataset`.
    """
    return bool(_split_folders(dataset))


def _split_folders(dataset: str) -> dict[str, str]:
    from keras_distill.data.class_images import split_folders

    kind, _, path = dataset.partition(":")
    root = Path(path).expanduser()
    return split_folders(root) if kind == "folder" and path and root.is_dir() else {}


def load_whole_split(settings: DataSettings, split: str) -> tuple[Any, list[str]]:
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
    if splits := _split_folders(dataset):
        folders = [folder for folder, each in splits.items() if each == split]
        if len(folders) != 1:
            had = " and ".join(folders or splits)
            raise InputError(
                f"`split={split}`: `dataset={dataset}` must have one folder of this split; it has "
                f"{had}."
            )
        dataset = f"{dataset.rstrip('/')}/{folders[0]}"
    with renamed_arguments(name="dataset"):
        images = find_images(dataset, settings.data_dir)
    if not dataset.startswith("folder:"):
        return images, []
    return without_unreadable(settings, images)
