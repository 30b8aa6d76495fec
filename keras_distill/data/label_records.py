"""Labels of images as an annotation file has them, and their targets."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from absl import logging

from keras_distill.data.class_order import by_frequency
from keras_distill.data.listed_images import ListedImages
from keras_distill.data.multilabel_images import MultiLabelImages
from keras_distill.data.row_problems import RowProblems, located


@dataclass(frozen=True)
class LabelRecord:
    """What an annotation file says of one image.

    Attributes:
        file: The annotation file.
        place: Where in it, see `RowProblems.add`.
        image: Name of the image, see `ListedImages`.
        labels: Target of each label that is named: 1, 0 or -1.
        rest: Target of all other labels: 0 or -1.
        split: `train`, `validation` or `test`; empty for none.
    """

    file: Path
    place: int | str
    image: str
    labels: Mapping[str, int]
    rest: int = 0
    split: str = ""


@dataclass
class LabelListing:
    """What the annotation files of a data set say.

    Attributes:
        records: One an image.
        problems: What is wrong with the files.
        class_names: Names of labels that the files declare, whether or not an image has them.
        suffixes: What may follow the name of an image, see `ListedImages.find`.
        is_split: Whether the images are split.
    """

    records: list[LabelRecord] = field(default_factory=list)
    problems: RowProblems = field(default_factory=RowProblems)
    class_names: Sequence[str] = ()
    suffixes: tuple[str, ...] = ("",)
    is_split: bool = False


def find_images(
    listing: LabelListing,
    root: Path,
    class_names: Sequence[str] | None,
    *,
    ignore_other_labels: bool = False,
    skip_missing: bool = False,
) -> MultiLabelImages:
    """Finds the images of a listing and fills in their targets.

    What cannot be used is noted in `listing.problems`, and its images are left out.

    Args:
        listing: The listing.
        root: Folder of the images.
        class_names: The labels in the order of the columns; `None` for all, the most frequent
            first.
        ignore_other_labels: Whether a label that is none of these is passed over, with a warning,
            instead of being a problem.
        skip_missing: Whether an image that does not exist is left out, with a warning, instead of
            being a problem.

    Returns:
        The images in the order of the records.
    """
    if class_names is None:
        class_names = by_frequency(
            (record.labels for record in listing.records), listing.class_names
        )
    column = {name: place for place, name in enumerate(class_names)}
    images = ListedImages(root)
    taken: dict[str, LabelRecord] = {}
    missing: list[str] = []
    others: dict[str, int] = {}
    for record in listing.records:
        path, problem = images.find(record.image, suffixes=listing.suffixes)
        unknown = [name for name in record.labels if name not in column]
        if problem and skip_missing:
            missing.append(problem)
        elif problem:
            listing.problems.add(record.file, record.place, problem)
        elif path in taken:
            first = taken[path]
            listing.problems.add(
                record.file, record.place, f"{path!r} is also in {located(first.file, first.place)}"
            )
        elif unknown and not ignore_other_labels:
            listing.problems.add(
                record.file,
                record.place,
                f"{', '.join(map(repr, unknown))}: not among the {len(column)} classes",
            )
        else:
            taken[path] = record
            for name in unknown:
                others[name] = others.get(name, 0) + 1
    warn_of_left_out(missing, others, len(listing.records))
    return MultiLabelImages(
        root,
        np.array(list(taken), np.str_),
        record_targets(list(taken.values()), column),
        tuple(class_names),
        np.array([record.split for record in taken.values()], np.str_)
        if listing.is_split
        else None,
    )


def record_targets(records: Sequence[LabelRecord], column: Mapping[str, int]) -> np.ndarray:
    """Returns the targets of records.

    Args:
        records: The records.
        column: The column of each label that is used.

    Returns:
        int8 `(records, columns)` in {1, 0, -1}.
    """
    targets = np.zeros((len(records), len(column)), np.int8)
    for row, record in enumerate(records):
        if record.rest:
            targets[row] = record.rest
        for name, target in record.labels.items():
            if name in column:
                targets[row, column[name]] = target
    return targets


def warn_of_left_out(
    missing: Iterable[str], others: Mapping[str, int], total: int, what: str = "images"
) -> None:
    """Warns of records and labels that are passed over, if there are any.

    Args:
        missing: For each image that does not exist a text that says so.
        others: Labels that are none of the classes, and how many records have each.
        total: The number of records.
        what: Name of what the records are of.
    """
    missing = list(missing)
    if missing:
        more = f", and {len(missing) - 5} more" if len(missing) > 5 else ""
        logging.warning(
            "Skipping %d of %d %s: %s%s", len(missing), total, what, "; ".join(missing[:5]), more
        )
    if others:
        most = sorted(others, key=lambda name: (-others[name], name))
        logging.warning(
            "Ignoring %d labels that are none of the classes, such as %r of %d %s",
            len(others),
            most[0],
            others[most[0]],
            what,
        )
