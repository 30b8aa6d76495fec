"""Folders of XML files of objects in the layout of Pascal VOC."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from keras_distill.data.label_records import LabelListing, LabelRecord
from keras_distill.data.listed_images import IMAGE_SUFFIXES
from keras_distill.data.row_problems import RowProblems
from keras_distill.errors import InputError

#: Target of a label all of whose objects in an image are difficult.
DIFFICULT = {"unknown": -1, "present": 1, "absent": 0}
# Lists of ImageSets/Main, and their split; the first of two of the same split is taken.
_LISTS = (("train", "train"), ("val", "validation"), ("test", "test"), ("trainval", "train"))


def read_voc_folder(folder: Path, *, difficult: str = "unknown") -> LabelListing:
    """Reads `Annotations/*.xml` and, where present, the lists in `ImageSets/Main`.

    An image has a label if there is an object of this name that is not difficult. `train.txt`,
    `val.txt` and `test.txt` name the images of the splits, `trainval.txt` is read where there is no
    `train.txt`; images in none of them have no split.

    Args:
        folder: The folder.
        difficult: Target of a label all of whose objects are marked as difficult: `unknown` for -1,
            `present` for 1, `absent` for 0.

    Returns:
        The listing.

    Raises:
        InputError: If there are no such files, or `difficult` is unknown.
    """
    if difficult not in DIFFICULT:
        raise InputError(f"`difficult={difficult!r}` is unknown; give {', '.join(DIFFICULT)}.")
    files = sorted(folder.glob("Annotations/*.xml"))
    if not files:
        raise InputError(
            f"{str(folder)!r} has no files Annotations/*.xml; give the folder that holds "
            "Annotations and JPEGImages."
        )
    listing = LabelListing(suffixes=("", *IMAGE_SUFFIXES))
    split = _read_splits(folder, {file.stem for file in files}, listing)
    for file in files:
        try:
            root = ElementTree.parse(file).getroot()
        except ElementTree.ParseError as error:
            listing.problems.add(file, error.position[0], f"it is no XML ({error})")
            continue
        labels = _labels(file, root, DIFFICULT[difficult], listing.problems)
        image = (root.findtext("filename") or "").strip()
        if not image:
            listing.problems.add(file, "", "it has no <filename>")
            continue
        listing.records.append(LabelRecord(file, "", image, labels, 0, split.get(file.stem, "")))
    return listing


def _labels(
    file: Path, root: ElementTree.Element, difficult: int, problems: RowProblems
) -> dict[str, int]:
    labels: dict[str, int] = {}
    for number, each in enumerate(root.findall("object")):
        name = (each.findtext("name") or "").strip()
        if not name:
            problems.add(file, f"object[{number}]", "it has no <name>")
        elif (each.findtext("difficult") or "0").strip() != "1":
            labels[name] = 1
        else:
            labels.setdefault(name, difficult)
    return labels


def _read_splits(folder: Path, known: set[str], listing: LabelListing) -> dict[str, str]:
    """The split of each image that a list names."""
    of: dict[str, str] = {}
    read: set[str] = set()
    for name, split in _LISTS:
        file = folder / "ImageSets" / "Main" / f"{name}.txt"
        if split in read or not file.is_file():
            continue
        read.add(split)
        for line, text in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), 1):
            image = text.strip()
            if not image:
                continue
            if image not in known:
                problem = f"there is no Annotations/{image}.xml"
            elif image in of:
                problem = f"{image!r} is in the split {of[image]!r} already"
            else:
                of[image] = split
                continue
            listing.problems.add(file, line, problem)
    listing.is_split = bool(read)
    return of
