"""Settings of a data set, and loading of its splits."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_distill.data.pixel_limit import MAX_PIXELS
from keras_distill.errors import InputError, renamed_arguments
from keras_distill.settings.settings import Settings, setting

DATASETS = ("cub", "cars196", "sop", "glyphs")


@dataclass(frozen=True, kw_only=True)
class SourceSettings(Settings, group="Data"):
    """Images on disk, whatever their labels are."""

    data_dir: str = setting(
        "~/tensorflow_datasets", "Folder where data sets that are not a folder lie, or are put."
    )
    strict_images: bool = setting(
        False,
        "Make a corrupt, truncated or too large image an error instead of skipping it with a "
        "warning.",
        free=True,
    )
    max_pixels: int = setting(
        MAX_PIXELS, "Height times width of the largest image that is used.", least=1
    )
    cache_dir: str = setting(
        "runs/teacher_cache",
        "Folder of the caches of all runs, and of the lists of files in large folders that can be "
        "decoded, so that they are checked once.",
        free=True,
    )


def check_shares(settings: Any, of: str) -> None:
    """Rejects `validation_share` and `test_share` that are no shares.

    Args:
        settings: Settings with both.
        of: What is divided, such as `"images"`.

    Raises:
        InputError: If one is negative, or leaves nothing to train on.
    """
    for name in ("validation_share", "test_share"):
        if not 0 <= (value := getattr(settings, name)) < 1:
            raise InputError(f"--{name}={value} is a share of the {of}, below 1.")


@dataclass(frozen=True, kw_only=True)
class DataSettings(SourceSettings, group="Data"):
    """Images of classes, and their division into training, validation and test."""

    dataset: str = setting(
        "",
        f"{', '.join(DATASETS)} (the first three through tensorflow-datasets, glyphs generated), "
        "or folder:PATH with one sub-folder of JPEG or PNG images a class. Required.",
    )
    train_classes: str = setting(
        "", "Classes to train on as A:B, B exclusive, in alphabetical order; first half if empty."
    )
    validation_classes: str = setting(
        "", "Classes within --train_classes, as A:B, held out from training to choose settings on."
    )
    test_classes: str = setting("", "Classes to test on, as A:B; second half if empty.")

    def check(self) -> None:
        """Rejects a data set that cannot exist before anything slow is loaded.

        Raises:
            InputError: If the name is unknown or the folder is missing.
        """
        if not self.dataset:
            raise InputError(f"--dataset is required: {', '.join(DATASETS)}, or folder:PATH.")
        check_name("dataset", self.dataset, self.dataset)

    def check_data(self) -> None:
        """Rejects a data set that cannot exist; a command that takes others overrides this."""
        DataSettings.check(self)


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


def load_images(
    settings: DataSettings, *splits: str, unlabelled: str | None = None
) -> tuple[list[Any], list[str]]:
    """Loads splits of the data set that the settings name, without unreadable images.

    Args:
        settings: The settings.
        *splits: Some of `"train"`, `"validation"`, `"test"`.
        unlabelled: Unlabelled images to load after them, as `--unlabelled`; none if `None`.

    Returns:
        The `ImageSet` of each split, `None` for a validation or an unlabelled split that is not
        named; and the relative paths of the images that were skipped.

    Raises:
        InputError: If the data set cannot be used, or has a corrupt image and `--strict_images`.
    """
    from keras_distill.data.dataset import load_dataset

    name, classes = parse_unlabelled(unlabelled or "")
    with renamed_arguments(name="dataset", unlabelled_classes=f"unlabelled={unlabelled}"):
        dataset = load_dataset(
            settings.dataset,
            data_dir=settings.data_dir,
            train_classes=settings.train_classes,
            validation_classes=settings.validation_classes,
            test_classes=settings.test_classes,
            unlabelled=name,
            unlabelled_classes=classes,
        )
    found, skipped = [], []
    for split in (*splits, "unlabelled") if unlabelled is not None else splits:
        images = getattr(dataset, split)
        source = name if split == "unlabelled" else settings.dataset
        if images is not None and source.startswith("folder:"):
            images, corrupt = without_unreadable(settings, images)
            skipped += corrupt
        found.append(images)
    return found, skipped


def without_unreadable(settings: SourceSettings, images: Any) -> tuple[Any, list[str]]:
    """Leaves out the images of a folder that cannot be used.

    Args:
        settings: The settings.
        images: The `ImageSet`.

    Returns:
        The `ImageSet` of the others, and the relative paths of the images that were skipped.

    Raises:
        InputError: If there are such images and `strict_images`.
    """
    from rich.console import Console

    from keras_distill.data.readable_images import drop_unreadable
    from keras_distill.settings.progress import work_progress

    with renamed_arguments(strict="strict_images"):
        return drop_unreadable(
            images,
            strict=settings.strict_images,
            max_pixels=settings.max_pixels,
            memory=Path(settings.cache_dir).expanduser(),
            progress=lambda total: work_progress(
                "checking images", total, "images", Console(stderr=True), transient=True
            ),
        )
