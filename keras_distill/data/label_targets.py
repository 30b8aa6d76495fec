"""Targets of images with several labels each, read from files of several layouts."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from keras_distill.data.class_order import read_class_list
from keras_distill.data.coco_labels import read_coco_json
from keras_distill.data.dataset import DEFAULT_DATA_DIR
from keras_distill.data.label_csv import read_label_csv
from keras_distill.data.label_records import LabelListing, find_images
from keras_distill.data.multilabel_images import SPLITS, MultiLabelImages
from keras_distill.data.open_images_labels import read_open_images_csv
from keras_distill.data.published_labels import (
    CLASSES_FILE,
    LABELS_FILE,
    PUBLISHED_LABELS,
    unpack_labels,
)
from keras_distill.data.voc_labels import DIFFICULT, read_voc_folder
from keras_distill.errors import InputError, renamed_arguments

#: Layouts of files, and what is given for them.
LAYOUTS = {
    "labels": "FILE.csv",
    "open_images": "FILE.csv",
    "coco_json": "FILE.json",
    "voc": "FOLDER",
    "albums": "FOLDER or FILE.csv",
}
_REMEDY = (
    "Repair or remove them; `images` is the folder that names are relative to, `missing='skip'` "
    "leaves out images that do not exist, and `other_labels='ignore'` labels that `classes` does "
    "not have."
)
_SPLIT_FILE = re.compile(rf"(?:^|,)({'|'.join(SPLITS)})=")


def read_label_targets(
    spec: str,
    *,
    images: str | Path | None = None,
    classes: str | Path | Sequence[str] | None = None,
    split: str | None = None,
    data_dir: str | Path = DEFAULT_DATA_DIR,
    separator: str | None = None,
    descriptions: str | Path | None = None,
    difficult: str = "unknown",
    other_labels: str = "error",
    missing: str = "error",
) -> MultiLabelImages:
    """Reads the images of a data set and which labels each of them has.

    Args:
        spec: `labels:FILE.csv` with the columns `file` and `labels`, see `read_label_csv`;
            `open_images:FILE.csv`, see `read_open_images_csv`; `coco_json:FILE.json`, see
            `read_coco_json`; `voc:FOLDER`, see `read_voc_folder`; or `coco` or `voc2007`, through
            tensorflow-datasets. One file a split is given as
            `labels:train=A.csv,validation=B.csv,test=C.csv`, any of the three.
        images: Folder that the names of images in files are relative to. By default the folder of
            the file, the one above if that is called `annotations`, or `JPEGImages` of `voc:`. A
            name without a folder may also be anywhere below, once.
        classes: Names of the labels in the order of the columns, or a text file with one a line. By
            default all labels of all splits, the most frequent first, those of equal number by
            name.
        split: `train`, `validation` or `test`, to take these images only.
        data_dir: Where the data sets of tensorflow-datasets lie, or are put.
        separator: What stands between labels in a cell of `labels:`; by default the first of `|`,
            `;` and a space that any cell has.
        descriptions: CSV file of the names of the labels of `open_images:`.
        difficult: Target of labels of which a VOC image has difficult objects only: `unknown` for
            -1, `present` for 1, `absent` for 0.
        other_labels: `error`, or `ignore` for labels that `classes` does not have.
        missing: `error`, or `skip` for images that do not exist; a warning counts and names them.

    Returns:
        The images in the order of the files, with their targets 1, 0 and -1.

    Raises:
        InputError: If the data set cannot be read, or rows of it are unusable; they are named with
            file and line, up to 20 at once.

    Example:
        >>> images = read_label_targets("labels:photos/labels.csv", split="train")  # doctest: +SKIP
        >>> images.class_names[:2], images.targets.shape  # doctest: +SKIP
        (('person', 'car'), (3930, 18))
    """
    _check_choice("other_labels", other_labels, ("error", "ignore"))
    _check_choice("missing", missing, ("error", "skip"))
    _check_choice("difficult", difficult, tuple(DIFFICULT))
    _check_choice("split", split or SPLITS[0], SPLITS)
    class_names = None if classes is None else read_class_list(classes)
    if spec in PUBLISHED_LABELS:
        listing, root = _read_published(spec, data_dir, difficult)
    else:
        layout, files = _parse_images(spec)
        root = image_root(spec, layout, files, images)
        if layout == "labels":
            listing = read_label_csv(files, separator=separator, class_names=class_names or ())
        elif layout == "open_images":
            listing = read_open_images_csv(files, descriptions=descriptions)
        elif layout == "coco_json":
            listing = read_coco_json(files)
        else:
            listing = read_voc_folder(files[""], difficult=difficult)
    found = find_images(
        listing,
        root,
        class_names,
        ignore_other_labels=other_labels == "ignore",
        skip_missing=missing == "skip",
    )
    listing.problems.check(f"`spec={spec!r}`", _REMEDY)
    if not len(found) or not found.class_names:
        what = "labels" if len(found) else "images"
        raise InputError(f"`spec={spec!r}` has no {what}; give a data set that has some.")
    return found.of_split(split) if split else found


def parse_label_spec(spec: str) -> tuple[str, dict[str, Path]]:
    """Reads the name of a multi-label data set of files.

    Args:
        spec: As of `read_label_targets`, not one of tensorflow-datasets.

    Returns:
        The layout, and a file for each split, or a single one by the empty name.

    Raises:
        InputError: If the layout is unknown or a file does not exist.

    Example:
        >>> parse_label_spec("labels:none.csv")
        Traceback (most recent call last):
        keras_distill.errors.InputError: `spec='labels:none.csv'`: there is no file 'none.csv'.
    """
    layout, _, rest = spec.partition(":")
    if layout not in LAYOUTS or not rest:
        known = [f"{name}:{what}" for name, what in LAYOUTS.items()]
        raise InputError(
            f"`spec={spec!r}` is unknown; give one of {', '.join([*known, *PUBLISHED_LABELS])}."
        )
    _, *pairs = _SPLIT_FILE.split(rest)
    named = list(zip(pairs[::2], pairs[1::2], strict=True))
    if not rest.startswith(tuple(f"{split}=" for split in SPLITS)):
        named = [("", rest)]
    elif layout == "voc":
        raise InputError(f"`spec={spec!r}`: give one folder; ImageSets/Main has its splits.")
    files = {split: Path(path).expanduser() for split, path in named}
    if len(files) < len(named):
        raise InputError(f"`spec={spec!r}` names a split twice; give one file a split.")
    for path in files.values():
        there = path.is_dir() if layout == "voc" else path.is_file()
        if layout == "albums" and path.is_dir():
            if "" not in files:
                raise InputError(f"`spec={spec!r}`: a split is a file, and {str(path)!r} a folder.")
            there = True
        if not there:
            kind = {"voc": "folder", "albums": "folder or file"}.get(layout, "file")
            raise InputError(f"`spec={spec!r}`: there is no {kind} {str(path)!r}.")
    return layout, files


def _parse_images(spec: str) -> tuple[str, dict[str, Path]]:
    layout, files = parse_label_spec(spec)
    if layout == "albums":
        raise InputError(f"`spec={spec!r}` has albums, not images; read it by `read_albums`.")
    return layout, files


def image_root(
    spec: str, layout: str, files: Mapping[str, Path], images: str | Path | None
) -> Path:
    """Finds the folder that the names of images in files are relative to.

    Args:
        spec: As of `read_label_targets`.
        layout: The layout.
        files: Its files by split.
        images: The folder if it is given.

    Returns:
        The folder.

    Raises:
        InputError: If it does not exist, or files lie in several folders.
    """
    if images is not None:
        root = Path(images).expanduser()
        if not root.is_dir():
            raise InputError(f"`images={str(images)!r}` is no folder; give the folder of images.")
        return root
    if layout == "voc":
        folder = files[""]
        return folder / "JPEGImages" if (folder / "JPEGImages").is_dir() else folder
    parents = {file.parent.resolve(): file.parent for file in files.values()}
    if len(parents) > 1:
        raise InputError(
            f"`spec={spec!r}` names files in several folders; give `images`, the folder that the "
            "names of the images are relative to."
        )
    found = next(iter(parents.values()))
    return found.parent if found.resolve().name == "annotations" else found


def _read_published(name: str, data_dir: str | Path, difficult: str) -> tuple[LabelListing, Path]:
    with renamed_arguments(name="spec"):
        folder = unpack_labels(name, data_dir)
    class_names = read_class_list(folder / CLASSES_FILE)
    listing = read_label_csv({"": folder / LABELS_FILE}, separator="|", class_names=class_names)
    listing.class_names = class_names
    listing.records = [
        replace(
            record,
            labels={
                label: DIFFICULT[difficult] if target < 0 else target
                for label, target in record.labels.items()
            },
        )
        for record in listing.records
    ]
    return listing, folder


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise InputError(f"`{name}={value!r}` is unknown; give one of {', '.join(choices)}.")
