"""CSV files of verified labels in the layout of Open Images, one label of an image a row."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from keras_distill.data.label_csv import csv_rows, raw_csv_rows
from keras_distill.data.label_records import LabelListing, LabelRecord
from keras_distill.data.listed_images import IMAGE_SUFFIXES
from keras_distill.data.row_problems import RowProblems

_COLUMNS = ("ImageID", "LabelName", "Confidence")
_TARGET = {"1": 1, "0": 0, "1.0": 1, "0.0": 0}


def read_open_images_csv(
    files: Mapping[str, Path], *, descriptions: str | Path | None = None
) -> LabelListing:
    """Reads CSV files with the columns `ImageID`, `LabelName` and `Confidence`.

    A confidence of 1 says that the image has the label, 0 that it has not; labels that no row names
    are -1. An image is the file of that name with a suffix of JPEG or PNG.

    Args:
        files: A file for each split, or a single one by the empty name.
        descriptions: CSV file of two columns, the label as in `LabelName` and the name to show,
            with or without a header; `None` to show labels as they are.

    Returns:
        The listing. A name that several labels have is followed by the label in brackets.

    Raises:
        InputError: If a file cannot be read or lacks a column.
    """
    listing = LabelListing(is_split="" not in files, suffixes=("", *IMAGE_SUFFIXES))
    problems = listing.problems
    names = {} if descriptions is None else _read_descriptions(Path(descriptions), problems)
    for split, file in files.items():
        of_image: dict[str, tuple[int, dict[str, int]]] = {}
        for line, row in csv_rows(file, _COLUMNS, problems):
            image, label, confidence = (row[name] for name in _COLUMNS)
            target = _TARGET.get(confidence)
            if target is None:
                problems.add(file, line, f"the confidence {confidence!r} is neither 1 nor 0")
            elif not image or not label:
                problems.add(file, line, f"it names no {'label' if image else 'image'}")
            elif names and label not in names:
                problems.add(file, line, f"{label!r} is not in {str(descriptions)!r}")
            else:
                name = names.get(label, label)
                labels = of_image.setdefault(image, (line, {}))[1]
                if labels.setdefault(name, target) != target:
                    problems.add(file, line, f"{image!r} has {name!r} with both 1 and 0")
        listing.records += [
            LabelRecord(file, line, image, labels, -1, split)
            for image, (line, labels) in of_image.items()
        ]
    return listing


def _read_descriptions(file: Path, problems: RowProblems) -> dict[str, str]:
    """The name of each label."""
    rows = []
    for line, row in raw_csv_rows(file.expanduser()):
        if len(row) != 2 or not all(map(str.strip, row)):
            problems.add(file, line, "it is not a label and its name")
        elif row != ["LabelName", "DisplayName"]:
            rows.append((row[0].strip(), row[1].strip()))
    shared = Counter(name for _, name in dict(rows).items())
    return {label: f"{name} ({label})" if shared[name] > 1 else name for label, name in rows}
