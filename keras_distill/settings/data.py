"""The flags that name a data set and its splits, shared by the commands."""

import re
from pathlib import Path
from typing import Any

from keras_distill.data.pixel_limit import MAX_PIXELS
from keras_distill.errors import InputError
from keras_distill.settings.command import Command

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
        "Make a corrupt, truncated or too large image an error instead of skipping it with a "
        "warning.",
    )
    command.integer(
        group, "max_pixels", MAX_PIXELS, "Height times width of the largest image that is taken.", 1
    )
    command.string(
        group,
        "cache_dir",
        "runs/teacher_cache",
        "Folder of the caches of all runs, and of what is known of large folders: which files can "
        "be decoded, so that it is tried once.",
    )


def check_data_flags(flags: Any) -> None:
    """Rejects a data set that cannot exist before anything slow is loaded.

    Args:
        flags: The parsed flags.

    Raises:
        InputError: If the name is unknown or the folder is missing.
    """
    if not flags.dataset:
        raise InputError(f"--dataset is required: {', '.join(DATASETS)}, or folder:PATH.")
    check_name("dataset", flags.dataset, flags.dataset)


def check_name(flag: str, value: str, name: str) -> None:
    """Rejects the name of a data set, a part of a flag's value, that cannot exist."""
    kind, _, path = name.partition(":")
    if kind == "folder" and path:
        if not Path(path).expanduser().is_dir():
            raise InputError(f"--{flag}={value}: there is no folder {path!r}.")
    elif name not in DATASETS:
        if name and Path(name).expanduser().is_dir():
            raise InputError(
                f"--{flag}={value}: {name!r} is a folder; give --{flag}=folder:{value}."
            )
        raise InputError(
            f"--{flag}={value} is unknown; give one of {', '.join(DATASETS)}, or folder:PATH."
        )


def parse_unlabelled(value: str) -> tuple[str, str]:
    """Reads `--unlabelled`.

    Args:
        value: `NAME` or `NAME:A:B`.

    Returns:
        The name, and the classes as `A:B` or empty.

    Example:
        >>> parse_unlabelled("folder:photos:50:75")
        ('folder:photos', '50:75')
    """
    match = re.fullmatch(r"(.*?)(?::(\d*:\d*))?", value)
    assert match is not None
    return match[1], match[2] or ""


def load_training_images(flags: Any) -> tuple[Any, Any, list[str]]:
    """Loads what a training learns from.

    Args:
        flags: The parsed flags; see `define_train_flags`.

    Returns:
        The `ImageSet` of the training split, with the unlabelled images after it; that of the
        validation split or `None`; and the relative paths of the images that were skipped.

    Raises:
        InputError: As `load_flagged_images`.
    """
    splits, skipped = load_flagged_images(flags, "train", "validation", "unlabelled")
    train, validation, unlabelled = splits
    return train if unlabelled is None else train.with_unlabelled(unlabelled), validation, skipped


def load_flagged_images(flags: Any, *splits: str) -> tuple[list[Any], list[str]]:
    """Loads splits of the data set that the flags name, without unreadable images.

    Args:
        flags: The parsed flags.
        *splits: Some of `"train"`, `"validation"`, `"test"`, `"unlabelled"`.

    Returns:
        The `ImageSet` of each split, `None` for a validation or an unlabelled split that the flags
        do not name; and the relative paths of the images that were skipped.

    Raises:
        InputError: If the data set is of no use, or has a corrupt image and `--strict_images`.
    """
    from rich.console import Console

    from keras_distill.data.dataset import load_dataset
    from keras_distill.data.readable_images import drop_unreadable
    from keras_distill.settings.progress import work_progress

    unlabelled = parse_unlabelled(flags.unlabelled if "unlabelled" in splits else "")
    dataset = load_dataset(
        flags.dataset,
        data_dir=flags.data_dir,
        train_classes=flags.train_classes,
        validation_classes=flags.validation_classes,
        test_classes=flags.test_classes,
        unlabelled=unlabelled[0],
        unlabelled_classes=unlabelled[1],
    )
    found, skipped = [], []
    for split in splits:
        images = getattr(dataset, split)
        name = unlabelled[0] if split == "unlabelled" else flags.dataset
        if images is not None and name.startswith("folder:"):
            images, corrupt = drop_unreadable(
                images,
                strict=flags.strict_images,
                max_pixels=flags.max_pixels,
                memory=Path(flags.cache_dir).expanduser(),
                progress=lambda total: work_progress(
                    "checking images", total, "images", Console(stderr=True), transient=True
                ),
            )
            skipped += corrupt
        found.append(images)
    return found, skipped
