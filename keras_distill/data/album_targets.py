"""Albums and their labels, read from folders or CSV files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from keras_distill.data.albums import Albums
from keras_distill.data.class_order import by_frequency, read_class_list
from keras_distill.data.image_files import list_image_files
from keras_distill.data.image_set import ImageSet
from keras_distill.data.label_csv import csv_rows, read_label_csv
from keras_distill.data.label_records import (
    LabelListing,
    LabelRecord,
    record_targets,
    warn_of_left_out,
)
from keras_distill.data.label_targets import image_root, parse_label_spec
from keras_distill.data.row_problems import RowProblems, located
from keras_distill.errors import InputError

#: Column of a CSV file of albums that lists the photographs of each.
PHOTOGRAPHS = "photographs"
_REMEDY = (
    "Repair or remove them; `images` is the folder that names are relative to, `missing='skip'` "
    "leaves out albums without photographs, and `other_labels='ignore'` labels that `classes` does "
    "not have."
)


def read_albums(
    spec: str,
    *,
    images: str | Path | None = None,
    classes: str | Path | Sequence[str] | None = None,
    separator: str | None = None,
    other_labels: str = "error",
    missing: str = "error",
) -> Albums:
    """Reads albums and which labels each of them has.

    Args:
        spec: `albums:FOLDER`, with a folder for each label and in it one for each album, whose
            photographs may lie deeper; or `albums:FILE.csv` with the columns `album`, the folder of
            its photographs, and `labels`, as of `read_label_csv`, and maybe `split`, `unknown` and
            `photographs`, which lists files with `|` between them, so that albums may share some.
            One file a split is given as `albums:train=A.csv,validation=B.csv,test=C.csv`.
        images: Folder that the names in files are relative to; by default the folder of the file.
        classes: As of `read_label_targets`, like all arguments that are not named here.
        separator: As there.
        other_labels: As there.
        missing: `error`, or `skip` for albums without photographs, and for listed photographs that
            do not exist.

    Returns:
        The albums in the order of the files, or of their names.

    Raises:
        InputError: If the data set cannot be read, or rows of it are unusable; they are named with
            file and line, up to 20 at once.

    Example:
        >>> albums = read_albums("albums:photos")  # doctest: +SKIP
        >>> albums.class_names, albums.sizes  # doctest: +SKIP
        (('birthday', 'hiking'), array([31, 80, 12]))
    """
    layout, files = parse_label_spec(spec)
    if layout != "albums":
        raise InputError(f"`spec={spec!r}` has no albums; give albums:FOLDER or albums:FILE.csv.")
    class_names = None if classes is None else read_class_list(classes)
    folder = next(iter(files.values()))
    if folder.is_dir():
        if images is not None:
            raise InputError(f"`images={str(images)!r}` has no effect on {spec}; leave it out.")
        root, (listing, listed) = folder, _read_folder(folder)
    else:
        root = image_root(spec, layout, files, images)
        listing = read_label_csv(
            files, separator=separator, class_names=class_names or (), name="album"
        )
        listed = _listed_photographs(files)
    found = _find(
        listing,
        listed,
        root,
        class_names,
        ignore_other_labels=other_labels == "ignore",
        skip_missing=missing == "skip",
    )
    listing.problems.check(f"`spec={spec!r}`", _REMEDY)
    if not len(found) or not found.class_names:
        what = "labels" if len(found) else "albums"
        raise InputError(f"`spec={spec!r}` has no {what}; give a data set that has some.")
    return found


_Listed = dict[tuple[Path, int | str], list[str]]


def _read_folder(root: Path) -> tuple[LabelListing, _Listed]:
    """A folder for each label, and in it one for each album."""
    listing, listed = LabelListing(), _Listed()
    for path in list_image_files(root):
        label, *inner = path.split("/")
        if len(inner) < 2:
            listing.problems.add(root, "", f"{path!r} is not in a folder LABEL/ALBUM")
            continue
        album = f"{label}/{inner[0]}"
        if (root, album) not in listed:
            listing.records.append(LabelRecord(root, album, album, {label: 1}))
        listed.setdefault((root, album), []).append(path)
    return listing, listed


def _listed_photographs(files: Mapping[str, Path]) -> _Listed:
    """The photographs that rows of CSV files list, by file and line."""
    listed = _Listed()
    for file in files.values():
        for line, row in csv_rows(file, ("album",), RowProblems()):  # noted by read_label_csv
            if names := [part.strip() for part in row.get(PHOTOGRAPHS, "").split("|") if part]:
                listed[file, line] = names
    return listed


def _find(
    listing: LabelListing,
    listed: _Listed,
    root: Path,
    class_names: Sequence[str] | None,
    *,
    ignore_other_labels: bool,
    skip_missing: bool,
) -> Albums:
    """Finds the photographs of the albums of a listing, and fills in their targets."""
    if class_names is None:
        class_names = by_frequency(record.labels for record in listing.records)
    column = {name: place for place, name in enumerate(class_names)}
    taken: dict[str, LabelRecord] = {}
    members: list[list[str]] = []
    missing: list[str] = []
    others: dict[str, int] = {}
    for record in listing.records:
        paths, lacking = _photographs_of(record, listed, root)
        unknown = [name for name in record.labels if name not in column]
        if lacking and skip_missing:
            missing += lacking
        elif lacking:
            listing.problems.add(record.file, record.place, lacking[0])
        if not paths or (lacking and not skip_missing):
            continue
        if record.image in taken:
            first = taken[record.image]
            listing.problems.add(
                *(record.file, record.place),
                f"{record.image!r} is also in {located(first.file, first.place)}",
            )
        elif unknown and not ignore_other_labels:
            listing.problems.add(
                *(record.file, record.place),
                f"{', '.join(map(repr, unknown))}: not among the {len(column)} classes",
            )
        else:
            taken[record.image] = record
            members.append(paths)
            for name in unknown:
                others[name] = others.get(name, 0) + 1
    warn_of_left_out(missing, others, len(listing.records), "albums or photographs")
    paths = sorted({path for own in members for path in own})
    place = {path: row for row, path in enumerate(paths)}
    return Albums(
        ImageSet(root, np.array(paths, np.str_), np.full(len(paths), -1, np.int64), ()),
        np.array(list(taken), np.str_),
        tuple(np.array([place[path] for path in own], np.int64) for own in members),
        record_targets(list(taken.values()), column),
        tuple(class_names),
        np.array([record.split for record in taken.values()], np.str_)
        if listing.is_split
        else None,
    )


def _photographs_of(
    record: LabelRecord, listed: _Listed, root: Path
) -> tuple[list[str], list[str]]:
    """The paths of an album's photographs, each once, and what is wrong with it."""
    names = listed.get((record.file, record.place))
    if names is not None:
        names = list(dict.fromkeys(names))
        there = {name for name in names if (root / name).is_file()}
        lacking = [name for name in names if name not in there]
        return [name for name in names if name in there], [
            f"{name!r} does not exist below {str(root)!r}" for name in lacking
        ]
    folder = root / record.image
    if not record.image or not folder.is_dir():
        return [], [f"there is no folder {record.image!r} below {str(root)!r}"]
    found = list_image_files(folder)
    lacking = [] if found else [f"{record.image!r} has no JPEG or PNG images"]
    return [f"{record.image.rstrip('/')}/{path}" for path in found], lacking
