"""Settings of a data set of images of one class each, split by image, and loading of its splits."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_distill.errors import InputError, renamed_arguments
from keras_distill.settings.data import SourceSettings, check_shares, without_unreadable
from keras_distill.settings.settings import Settings, setting

PUBLISHED = ("cifar10", "cifar100")
_KINDS = ("folder", "imagenet_folder", "faces")
_NAMES = f"{', '.join(PUBLISHED)}, {', '.join(f'{kind}:PATH' for kind in _KINDS)}"


@dataclass(frozen=True, kw_only=True)
class ImageSplitSettings(Settings, group="Data"):
    """Division of images of one class each into training, validation and test."""

    validation_share: float = setting(
        0.1,
        "Share of the training images of each class to validate on, if the data set has no "
        "validation split; 0 for none.",
    )
    test_share: float = setting(
        0.2, "Share of the images of each class to test on, if the data set is not split."
    )
    split_seed: int = setting(0, "Seed of the split.", least=0, most=2**32 - 1)
    least_images: int = setting(
        1,
        "Leave out classes with fewer training images, such as people with one photograph.",
        least=1,
    )

    def check_shares(self) -> None:
        """Rejects what cannot work.

        Raises:
            InputError: If a share is none.
        """
        check_shares(self, "images")


@dataclass(frozen=True, kw_only=True)
class ClassDataSettings(SourceSettings, ImageSplitSettings, group="Data"):
    """Data."""

    dataset: str = setting(
        "",
        f"{_NAMES}. The first two come through tensorflow-datasets. folder has one sub-folder of "
        "JPEG or PNG images a class, maybe below train, validation and test; imagenet_folder has "
        "them below train and val, which is tested on; faces has one sub-folder a person, and "
        "nothing to test on. Required.",
    )

    def check(self) -> None:
        """Rejects a data set that cannot exist before anything slow is loaded.

        Raises:
            InputError: If the name is unknown, or the folder is missing.
        """
        check_class_dataset(self.dataset)
        self.check_shares()


def check_class_dataset(dataset: str) -> None:
    """Rejects the name of a data set of classes that cannot exist.

    Args:
        dataset: The setting `dataset`.

    Raises:
        InputError: If it is unknown, or a folder is missing.
    """
    if not dataset:
        raise InputError(f"--dataset is required: {_NAMES}.")
    kind, _, path = dataset.partition(":")
    if kind in _KINDS and path:
        if not Path(path).expanduser().is_dir():
            raise InputError(f"--dataset={dataset}: there is no folder {path!r}.")
    elif dataset not in PUBLISHED:
        if Path(dataset).expanduser().is_dir():
            raise InputError(
                f"--dataset={dataset}: {dataset!r} is a folder; give --dataset=folder:{dataset}."
            )
        raise InputError(f"--dataset={dataset} is unknown; give one of {_NAMES}.")


def load_class_splits(settings: Any) -> Any:
    """Loads the data set of classes that the settings name, unreadable images included.

    Args:
        settings: `SourceSettings` and `ImageSplitSettings` with `dataset`.

    Returns:
        The `ClassImages`.

    Raises:
        InputError: If the data set cannot be used.
    """
    from keras_distill.data.class_images import load_class_images

    with renamed_arguments(name="dataset", seed="split_seed"):
        return load_class_images(
            settings.dataset,
            data_dir=settings.data_dir,
            validation_share=settings.validation_share,
            test_share=settings.test_share,
            seed=settings.split_seed,
            least_images=settings.least_images,
        )


def load_split_images(settings: Any, *splits: str) -> tuple[list[Any], list[str]]:
    """Loads splits of the data set of classes that the settings name.

    Args:
        settings: `SourceSettings` and `ImageSplitSettings` with `dataset`.
        *splits: Some of `"train"`, `"validation"`, `"test"`.

    Returns:
        The `ImageSet` of each split, without unreadable images, `None` for one that has no images;
        and the relative paths of the images that were skipped.

    Raises:
        InputError: If the data set cannot be used, or has a corrupt image and `--strict_images`.
    """
    loaded = load_class_splits(settings)
    found: list[Any] = []
    skipped: list[str] = []
    for split in splits:
        images = getattr(loaded, split)
        if images is not None and settings.dataset not in PUBLISHED:
            images, corrupt = without_unreadable(settings, images)
            skipped += corrupt
        found.append(images if images is not None and len(images) else None)
    return found, skipped
