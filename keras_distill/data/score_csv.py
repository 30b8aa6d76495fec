"""CSV file of images and their scores, one image a row."""

import math
from pathlib import Path

import numpy as np

from keras_distill.data.label_csv import csv_rows
from keras_distill.data.listed_images import ListedImages
from keras_distill.data.multilabel_images import SPLITS
from keras_distill.data.row_problems import RowProblems
from keras_distill.data.scored_images import ScoredImages
from keras_distill.errors import InputError


def read_scores(
    file: str | Path,
    root: str | Path | None = None,
    *,
    distortion_column: str = "distortion",
    higher_is_better: bool = True,
) -> ScoredImages:
    """Reads a CSV file with the columns `file` and `score`.

    An empty score is an image that nobody scored, which can be ranked. `reference` is optional: the
    photograph that an image was made from; so are `split` and the name of the distortion. Other
    columns are ignored.

    Args:
        file: The file, in UTF-8.
        root: Folder that the names of images are relative to; by default the one of the file.
        distortion_column: Name of the column of distortions; none if the file has no such one.
        higher_is_better: Whether a higher score is a better one; `False` for differential opinion
            scores (DMOS).

    Returns:
        The images, in the order of the file.

    Raises:
        InputError: If the file cannot be read, or rows of it are unusable, which are named.

    Example:
        >>> read_scores("photos/scores.csv").scores  # doctest: +SKIP
        array([3.5, 1.2, nan], dtype=float32)
    """
    file = Path(file).expanduser()
    listed, problems = ListedImages(file.parent if root is None else root), RowProblems()
    found: dict[str, tuple[float, str, str, str]] = {}
    is_split = False
    for line, row in csv_rows(file, ("file", "score"), problems):
        is_split |= "split" in row
        path, problem = listed.find(row["file"])
        score = _number(row["score"]) if row["score"] else math.nan
        split = row.get("split", "")
        if problem:
            problems.add(file, line, problem)
        elif path in found:
            problems.add(file, line, f"{path!r} is there twice")
        elif row["score"] and not math.isfinite(score):
            problems.add(file, line, f"the score {row['score']!r} is not a finite number")
        elif split not in ("", *SPLITS):
            problems.add(file, line, f"the split {split!r} is none of {', '.join(SPLITS)}")
        else:
            reference = row.get("reference") or path
            found[path] = (score, reference, row.get(distortion_column, ""), split)
    problems.check(f"`scores={str(file)!r}`")
    columns = list(zip(*found.values(), strict=True))
    if not np.isfinite(columns[0]).any():
        raise InputError(f"`scores={str(file)!r}` has no score in any row; give some.")
    return ScoredImages(
        listed.root,
        np.array(list(found)),
        np.array(columns[0], np.float32),
        np.array(columns[1]),
        np.array(columns[2]),
        np.array(columns[3]) if is_split else None,
        higher_is_better,
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.inf
