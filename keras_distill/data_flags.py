"""The flags that name a data set and its splits, shared by the commands."""

from pathlib import Path
from typing import Any

from keras_distill.command_line import Command
from keras_distill.errors import InputError

DATASETS = ("cub", "cars196", "sop", "glyphs")


def define_data_flags(command: Command) -> None:
    """Adds the flags that name a data set and its splits to a command."""
    group = "Data"
    command.string(
        group,
        "dataset",
        "",
        f"{', '.join(DATASETS)} (the first three through tensorflow-datasets, glyphs generated), "
        "or folder:PATH with one sub-folder of JPEG or PNG images a class. Required.",
    )
    command.string(
        group,
        "data_dir",
        "~/tensorflow_datasets",
        "Folder where data sets that are not a folder lie, or are put.",
    )
    command.string(
        group,
        "train_classes",
        "",
        "Classes to train on as A:B, B exclusive, in alphabetical order; first half if empty.",
    )
    command.string(
        group,
        "validation_classes",
        "",
        "Classes within --train_classes, as A:B, held out from training to choose settings on.",
    )
    command.string(group, "test_classes", "", "Classes to test on, as A:B; second half if empty.")
    command.boolean(
        group,
        "strict_images",
        False,
        "Make a corrupt or truncated image an error instead of skipping it with a warning.",
    )


def check_data_flags(flags: Any) -> None:
    """Rejects a data set that cannot exist before anything slow is loaded.

    Args:
        flags: The parsed flags.

    Raises:
        InputError: If the name is unknown or the folder is missing.
    """
    kind, _, path = flags.dataset.partition(":")
    if not flags.dataset:
        raise InputError(f"--dataset is required: {', '.join(DATASETS)}, or folder:PATH.")
    if kind == "folder" and path:
        if not Path(path).expanduser().is_dir():
            raise InputError(f"--dataset={flags.dataset}: there is no folder {path!r}.")
    elif flags.dataset not in DATASETS:
        raise InputError(
            f"--dataset={flags.dataset} is unknown; give one of {', '.join(DATASETS)}, or "
            "folder:PATH."
        )


def load_flagged_images(flags: Any, *splits: str) -> tuple[list[Any], list[str]]:
    """Loads splits of the data set that the flags name, without unreadable images.

    Args:
        flags: The parsed flags.
        *splits: Some of `"train"`, `"validation"`, `"test"`.

    Returns:
        The `ImageSet` of each split, `None` for a validation split that the flags do not name; and
        the relative paths of the images that were skipped.

    Raises:
        InputError: If the data set is of no use, or has a corrupt image and `--strict_images`.
    """
    from keras_distill.data.dataset import load_dataset
    from keras_distill.data.readable_images import drop_unreadable

    dataset = load_dataset(
        flags.dataset,
        data_dir=flags.data_dir,
        train_classes=flags.train_classes,
        validation_classes=flags.validation_classes,
        test_classes=flags.test_classes,
    )
    found, skipped = [], []
    for split in splits:
        images = getattr(dataset, split)
        if images is not None and flags.dataset.startswith("folder:"):
            images, corrupt = drop_unreadable(images, strict=flags.strict_images)
            skipped += corrupt
        found.append(images)
    return found, skipped
