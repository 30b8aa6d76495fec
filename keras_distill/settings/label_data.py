"""Settings of a data set whose images have several labels, and loading of its splits."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_distill.errors import InputError, renamed_arguments
from keras_distill.settings.data import SourceSettings, check_shares, without_unreadable
from keras_distill.settings.settings import Settings, setting

#: Layouts of files with labels; the first word of `--dataset`.
LAYOUTS = ("labels", "open_images", "coco_json", "voc", "albums")
PUBLISHED = ("coco", "voc2007")
_NAMES = (
    "labels:FILE.csv (columns file, labels and maybe split), open_images:FILE.csv, "
    "coco_json:FILE.json, voc:FOLDER, albums:FOLDER (LABEL/ALBUM/*.jpg) or albums:FILE.csv "
    f"(columns album and labels), {', '.join(PUBLISHED)}"
)
_ARGUMENTS = {
    "spec": "dataset",
    "descriptions": "label_descriptions",
    "missing": "missing_images",
    "separator": "label_separator",
}


@dataclass(frozen=True, kw_only=True)
class LabelFileSettings(Settings, group="Data"):
    """Files that hold the labels of images."""

    images: str = setting(
        "",
        "Folder of the images of a multi-label data set, or of pairs; by default the one of their "
        "file.",
    )
    classes: str = setting(
        "",
        "Labels of a multi-label data set to use: their names, as cat,dog, or a text file with one "
        "a line; all if empty, the most frequent first.",
    )
    other_labels: str = setting(
        "error",
        "What labels are that --classes does not have: error, or ignore.",
        choices=["error", "ignore"],
    )
    label_separator: str = setting(
        "", "What stands between the labels of labels:FILE.csv; |, ; or a space if empty."
    )
    label_descriptions: str = setting(
        "", "CSV file of the names of the labels of open_images:FILE.csv."
    )
    difficult: str = setting(
        "unknown",
        "What a label is of which a VOC image has difficult objects only.",
        choices=["unknown", "present", "absent"],
    )
    missing_images: str = setting(
        "error",
        "What a listed image is that does not exist: error, or skip with a warning.",
        choices=["error", "skip"],
    )
    validation_share: float = setting(
        0.1,
        "Share of the training images to validate on, if a multi-label data set has no validation "
        "split; 0 for none. Each label keeps its share.",
    )
    test_share: float = setting(
        0.2,
        "Share of the images to test on, if a multi-label data set is not split at all.",
    )

    album_vectors: str = setting(
        "",
        "For albums: folder of vectors that `python -m keras_distill.embed` wrote of the folder of "
        "the albums, to train on; empty to train on the photographs themselves.",
    )

    def check_label_files(self) -> None:
        """Rejects what cannot work.

        Raises:
            InputError: If a flag cannot be used.
        """
        if self.images and not Path(self.images).expanduser().is_dir():
            raise InputError(f"--images={self.images}: there is no such folder.")
        descriptions = self.label_descriptions
        if descriptions and not Path(descriptions).expanduser().is_file():
            raise InputError(f"--label_descriptions={descriptions}: there is no such file.")
        if self.album_vectors and not Path(self.album_vectors).expanduser().is_dir():
            raise InputError(f"--album_vectors={self.album_vectors}: there is no such folder.")
        check_shares(self, "images")


@dataclass(frozen=True, kw_only=True)
class LabelDataSettings(SourceSettings, LabelFileSettings, group="Data"):
    """Data."""

    dataset: str = setting("", f"{_NAMES}. Required.")

    def check(self) -> None:
        """Rejects a data set that cannot exist before anything slow is loaded.

        Raises:
            InputError: If the name is unknown, or a file or folder is missing.
        """
        check_label_dataset(self.dataset)
        self.check_label_files()


def is_label_dataset(dataset: str) -> bool:
    """Tells whether a name is that of a multi-label data set."""
    return dataset in PUBLISHED or dataset.partition(":")[0] in LAYOUTS


def is_album_dataset(dataset: str) -> bool:
    """Tells whether a name is that of a data set of albums."""
    return dataset.partition(":")[0] == "albums"


def check_label_dataset(dataset: str) -> None:
    """Rejects the name of a multi-label data set that cannot exist.

    Args:
        dataset: The setting `dataset`.

    Raises:
        InputError: If it is none, or a file or folder is missing.
    """
    from keras_distill.data.label_targets import parse_label_spec

    if not dataset:
        raise InputError(f"--dataset is required: {_NAMES}.")
    if dataset not in PUBLISHED:
        with renamed_arguments(**_ARGUMENTS):
            parse_label_spec(dataset)


def load_label_images(settings: Any, *splits: str) -> tuple[list[Any], list[str]]:
    """Loads splits of the multi-label data set that the settings name.

    Args:
        settings: `SourceSettings` and `LabelFileSettings` with `dataset`.
        *splits: Some of `"train"`, `"validation"`, `"test"`.

    Returns:
        The `MultiLabelImages` of each split, without unreadable images, `None` for one that has no
        images; and the relative paths of the images that were skipped.

    Raises:
        InputError: If the data set cannot be used, or has a corrupt image and `--strict_images`.
    """
    import numpy as np

    from keras_distill.data.label_targets import read_label_targets

    def read(classes: Any, other_labels: str) -> Any:
        with renamed_arguments(**_ARGUMENTS):
            return read_label_targets(
                settings.dataset,
                images=settings.images or None,
                classes=classes,
                data_dir=settings.data_dir,
                separator=settings.label_separator or None,
                descriptions=settings.label_descriptions or None,
                difficult=settings.difficult,
                other_labels=other_labels,
                missing=settings.missing_images,
            )

    images = read(named_classes(settings.classes), settings.other_labels)
    parts = split_of(images, settings, lambda: read(None, "ignore"))
    kept, skipped = without_unreadable(settings, images.unlabelled)
    readable = np.isin(images.paths, kept.paths)
    found = []
    for split in splits:
        chosen = images.select((parts == split) & readable)
        found.append(chosen if len(chosen) else None)
    return found, skipped


def named_classes(value: str) -> Any:
    """Reads `--classes`: the names, or the path of a file; `None` if it is empty."""
    if not value or Path(value).expanduser().is_file():
        return value or None
    return [name.strip() for name in value.split(",") if name.strip()]


def load_albums(settings: Any, *splits: str) -> tuple[list[Any], list[str]]:
    """Loads splits of the albums that the settings name.

    Args:
        settings: `SourceSettings` and `LabelFileSettings` with `dataset`.
        *splits: Some of `"train"`, `"validation"`, `"test"`.

    Returns:
        The `Albums` of each split, with vectors if `album_vectors` names them, `None` for one that
        has no albums; and the relative paths of the photographs that were skipped.

    Raises:
        InputError: As `load_label_images`, or if the vectors are of other photographs.
    """
    import numpy as np

    from keras_distill.data.album_targets import read_albums
    from keras_distill.data.album_vectors import with_vectors

    def read(classes: Any, other_labels: str) -> Any:
        with renamed_arguments(**_ARGUMENTS):
            return read_albums(
                settings.dataset,
                images=settings.images or None,
                classes=classes,
                separator=settings.label_separator or None,
                other_labels=other_labels,
                missing=settings.missing_images,
            )

    albums = read(named_classes(settings.classes), settings.other_labels)
    # Before any photograph is left out.
    parts = split_of(albums, settings, lambda: read(None, "ignore"))
    names = albums.names
    if settings.album_vectors:
        with renamed_arguments(folder="album_vectors"):
            albums, skipped = with_vectors(albums, Path(settings.album_vectors).expanduser())
    else:
        kept, skipped = without_unreadable(settings, albums.photographs)
        albums = albums.with_photographs(np.isin(albums.photographs.paths, kept.paths))
    of = dict(zip(names.tolist(), parts.tolist(), strict=True))
    parts = np.array([of[name] for name in albums.names.tolist()])
    chosen = [albums.select(parts == split) for split in splits]
    return [each if len(each) else None for each in chosen], skipped


def split_of(images: Any, settings: Any, with_all_labels: Callable[[], Any]) -> Any:
    """Returns the split of each image: the data set's own, completed by stratified shares.

    Args:
        images: The `MultiLabelImages` or `Albums`.
        settings: The settings, whose shares apply to splits that the data set does not have.
        with_all_labels: Returns the same images with all of their labels, which divide them, so
            that `classes` moves no image to another split.

    Returns:
        `train`, `validation`, `test` or empty for each image, `(n,)`. The same for every seed and
        choice of labels, so that models can be compared.
    """
    import numpy as np

    from keras_distill.data.stratified_split import stratified_split

    split = images.splits
    parts = np.full(len(images), "train", "<U10") if split is None else np.array(split, "<U10")
    shares = {"test": settings.test_share} if split is None else {}
    if not (parts == "validation").any():
        shares["validation"] = settings.validation_share
    shares = {name: share for name, share in shares.items() if share}
    targets = (with_all_labels() if shares and settings.classes else images).targets
    for name, share in shares.items():
        rows = np.flatnonzero(parts == "train")
        if len(rows):
            parts[rows] = stratified_split(targets[rows], {"train": 1 - share, name: share})
    return parts
