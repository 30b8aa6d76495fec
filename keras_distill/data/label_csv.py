"""CSV files of images and their labels, one image a row."""

import csv
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from keras_distill.data.label_records import LabelListing, LabelRecord
from keras_distill.data.multilabel_images import SPLITS
from keras_distill.data.row_problems import RowProblems
from keras_distill.errors import InputError

#: What may stand between labels; the first one that any row has is taken for all.
SEPARATORS = ("|", ";", " ")


def read_label_csv(
    files: Mapping[str, Path],
    *,
    separator: str | None = None,
    class_names: Collection[str] = (),
    name: str = "file",
) -> LabelListing:
    """Reads CSV files with the columns `file` and `labels`, and maybe `split` and `unknown`.

    `unknown` holds labels that nobody annotated, or of which nobody was sure: their target is -1.
    All other labels that a row does not name are 0; a row may have none. Other columns are ignored,
    and so are empty lines.

    Args:
        files: A file for each split, or a single one by the empty name.
        separator: What stands between labels; `None` for the first of `|`, `;` and a space that
            any row of the files has, so that names may have spaces where labels are separated by
            one of the others.
        class_names: Names that are never taken apart, even where they are a whole row of labels.
        name: Column that names what has the labels, in place of `file`.

    Returns:
        The listing.

    Raises:
        InputError: If a file cannot be read or lacks a column.
    """
    listing = LabelListing(is_split="" not in files)
    rows = []
    for split, file in files.items():
        for line, row in csv_rows(file, (name, "labels"), listing.problems):
            if "split" in row and split:
                raise InputError(
                    f"{str(file)!r} has a column `split`, but is given as the split {split!r}; "
                    "remove one of the two."
                )
            listing.is_split |= "split" in row
            rows.append((file, line, {"split": split, "unknown": "", **row}))
    if separator is None:
        cells = [row[each] for _, _, row in rows for each in ("labels", "unknown")]
        separator = next((each for each in SEPARATORS if any(each in cell for cell in cells)), " ")
    whole = set(class_names)
    for file, line, row in rows:
        present, unknown = (
            [cell] if (cell := row[each].strip()) in whole else _parts(cell, separator)
            for each in ("labels", "unknown")
        )
        if both := sorted(set(present) & set(unknown)):
            listing.problems.add(file, line, f"{both[0]!r} is in both `labels` and `unknown`")
            continue
        if row["split"] not in ("", *SPLITS):
            listing.problems.add(
                file, line, f"the split {row['split']!r} is none of {', '.join(SPLITS)}"
            )
            continue
        labels = dict.fromkeys(present, 1) | dict.fromkeys(unknown, -1)
        listing.records.append(LabelRecord(file, line, row[name], labels, 0, row["split"]))
    return listing


def csv_rows(
    file: Path, columns: Collection[str], problems: RowProblems
) -> Iterator[tuple[int, dict[str, str]]]:
    """Reads the rows of a CSV file that has a header.

    Args:
        file: The file, in UTF-8.
        columns: Columns that it must have.
        problems: Where malformed rows are noted.

    Yields:
        The number of the line, and the row by column, without spaces around a value.

    Raises:
        InputError: If the file cannot be read, lacks a column or has no rows.
    """
    found = 0
    for line, row in raw_csv_rows(file):
        if not found:
            header = [name.strip() for name in row]
            if lacking := [name for name in columns if name not in header]:
                raise InputError(
                    f"{str(file)!r} has no column {lacking[0]!r}; its first line must name the "
                    f"columns, {','.join(columns)}, and is {','.join(header)!r}."
                )
        elif len(row) != len(header):
            fields = "1 field" if len(row) == 1 else f"{len(row)} fields"
            problems.add(file, line, f"it has {fields} instead of {len(header)}")
        else:
            yield line, dict(zip(header, map(str.strip, row), strict=True))
        found += 1
    if found < 2:
        raise InputError(f"{str(file)!r} has no rows below the line of column names.")


def raw_csv_rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Reads a CSV file that may have no header.

    Args:
        file: The file, in UTF-8.

    Yields:
        The number of the line, and its fields; lines that are empty are passed over.

    Raises:
        InputError: If the file cannot be read.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.reader(opened, strict=True)
            for row in reader:
                if row and (len(row) > 1 or row[0].strip()):
                    yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{str(file)!r} cannot be read as CSV in UTF-8 ({error}); repair or convert it."
        ) from error


def _parts(cell: str, separator: str) -> list[str]:
    return [part for part in map(str.strip, cell.split(separator)) if part]
