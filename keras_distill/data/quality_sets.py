"""Data sets of image quality in their published layouts: LIVE, TID2013, CSIQ and KADID-10k."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_distill.data.image_files import CONVERSION, SUFFIXES
from keras_distill.data.label_csv import csv_rows
from keras_distill.data.matlab_files import read_matlab
from keras_distill.data.row_problems import RowProblems
from keras_distill.data.scored_images import ScoredImages
from keras_distill.data.spreadsheets import read_sheet
from keras_distill.errors import InputError

#: Folders of LIVE and the number of images in each, in the order of its scores.
LIVE_FOLDERS = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}


@dataclass(frozen=True)
class _Row:
    """One scored image of a file."""

    line: int | str
    file: str
    score: float
    reference: str
    distortion: str


def read_quality_set(spec: str) -> ScoredImages:
    """Reads a data set of image quality as its authors publish it.

    LIVE (release 2) and TID2013 are BMP files, which have to be converted to PNG once; the names
    in their lists stay as they are.

    Args:
        spec: `live:FOLDER` with `jp2k/`, … and `dmos.mat` and `refnames_all.mat`; `tid2013:FOLDER`
            with `distorted_images/` and `mos_with_names.txt`; `csiq:FOLDER` with `dst_imgs/` and
            `csiq.DMOS.xlsx`; `kadid:FOLDER` with `images/` and `dmos.csv`.

    Returns:
        The images. LIVE and CSIQ have differential scores, of which lower ones are better.

    Raises:
        InputError: If the folder is no such data set, or rows of it are unusable, which are named.

    Example:
        >>> images = read_quality_set("tid2013:tid2013")  # doctest: +SKIP
        >>> len(images), len(set(images.references))  # doctest: +SKIP
        (3000, 25)
    """
    name, _, path = spec.partition(":")
    root = Path(path).expanduser()
    if name not in LAYOUTS or not path or not root.is_dir():
        known = ", ".join(f"{each}:FOLDER" for each in LAYOUTS)
        why = "there is no such folder" if name in LAYOUTS else f"give one of {known}"
        raise InputError(f"`spec={spec!r}`: {why}.")
    problems = RowProblems()
    file, rows = LAYOUTS[name](root, problems)
    found: dict[str, _Row] = {}
    images = _Images(root)
    for row in rows:
        image, problem = images.find(row.file)
        if problem:
            problems.add(file, row.line, problem)
        elif image in found:
            problems.add(file, row.line, f"{image!r} is there twice")
        elif not np.isfinite(row.score):
            problems.add(file, row.line, f"the score of {row.file!r} is not a finite number")
        else:
            found[image] = row
    problems.check(f"`spec={spec!r}`")
    if not found:
        raise InputError(f"`spec={spec!r}` has no scored images; give the complete data set.")
    return ScoredImages(
        root,
        np.array(list(found)),
        np.array([row.score for row in found.values()], np.float32),
        np.array([row.reference for row in found.values()]),
        np.array([row.distortion for row in found.values()]),
        higher_is_better=name not in ("live", "csiq"),
    )


def _live(root: Path, problems: RowProblems) -> tuple[Path, list[_Row]]:
    scores = np.ravel(read_matlab(root / "dmos.mat", "dmos"))
    originals = np.ravel(read_matlab(root / "dmos.mat", "orgs")).astype(bool)
    names = read_matlab(root / "refnames_all.mat", "refnames_all")
    references = [str(np.ravel(each)[0]) for each in np.ravel(names)]
    counts = dict(LIVE_FOLDERS)
    if len(scores) != sum(counts.values()):  # a part of the set, with all images of each folder
        counts = {name: _images_in(root / name) for name in LIVE_FOLDERS}
    if not len(scores) == len(originals) == len(references) == sum(counts.values()):
        raise InputError(
            f"{str(root)!r}: dmos.mat has {len(scores)} scores and {len(originals)} marks of "
            f"originals, refnames_all.mat {len(references)} names, for {sum(counts.values())} "
            "images; give LIVE release 2 as it was published."
        )
    places = [(name, number + 1) for name, count in counts.items() for number in range(count)]
    rows = [
        _Row(f"dmos[{place}]", f"{name}/img{number}.bmp", float(score), reference, name)
        for place, ((name, number), score, reference, original) in enumerate(
            zip(places, scores, references, originals, strict=True)
        )
        if not original
    ]
    return root / "dmos.mat", rows


def _images_in(folder: Path) -> int:
    return len({file.stem for file in folder.glob("img*.*")})


def _tid2013(root: Path, problems: RowProblems) -> tuple[Path, list[_Row]]:
    file, rows = root / "mos_with_names.txt", []
    for line, text in enumerate(_lines(file), 1):
        match = re.fullmatch(r"(\S+)\s+((i\d+)_(\d+)_\d+)\.bmp", text.strip(), re.I)
        if match is None:
            if text.strip():
                problems.add(file, line, f"{text!r} is not a score and a name such as I01_01_1.bmp")
            continue
        path = f"distorted_images/{match[2]}.bmp"
        rows.append(_Row(line, path, _number(match[1]), match[3].upper(), match[4]))
    return file, rows


def _csiq(root: Path, problems: RowProblems) -> tuple[Path, list[_Row]]:
    file, rows = root / "csiq.DMOS.xlsx", []
    short = {"noise": "AWGN", "blur": "BLUR", "contrast": "contrast", "fnoise": "fnoise"}
    short |= {"jpeg": "JPEG", "jpeg 2000": "jpeg2000"}
    folders = {"noise": "awgn", "jpeg 2000": "jpeg2000"}
    wanted = ("image", "dst_type", "dst_lev", "dmos")
    header: list[str] = []
    for line, cells in read_sheet(file, "all_by_image"):
        if not header:  # below a title
            header = cells if set(wanted) <= set(cells) else []
            continue
        row = dict(zip(header, cells, strict=False))
        kind = row.get("dst_type", "").lower()
        if not any(cells):
            continue
        if kind not in short or any(name not in row for name in wanted):
            problems.add(file, line, f"the dst_type {kind!r} is none of {', '.join(short)}")
            continue
        name = f"{row['image']}.{short[kind]}.{row['dst_lev']}.png"
        path = f"dst_imgs/{folders.get(kind, kind)}/{name}"
        rows.append(_Row(line, path, _number(row["dmos"]), row["image"], kind))
    if not header:
        raise InputError(
            f"{str(file)!r}: the sheet 'all_by_image' has no row of the names {', '.join(wanted)}."
        )
    return file, rows


def _kadid(root: Path, problems: RowProblems) -> tuple[Path, list[_Row]]:
    file, rows = root / "dmos.csv", []
    for line, row in csv_rows(file, ("dist_img", "ref_img", "dmos"), problems):
        distortion = row["dist_img"].split("_")[1:2]
        rows.append(
            _Row(
                line,
                f"images/{row['dist_img']}",
                _number(row["dmos"]),
                row["ref_img"],
                "".join(distortion),
            )
        )
    return file, rows


#: Readers by the first word of the name of a data set.
LAYOUTS: dict[str, Callable[[Path, RowProblems], tuple[Path, list[_Row]]]] = {
    "live": _live,
    "tid2013": _tid2013,
    "csiq": _csiq,
    "kadid": _kadid,
}


class _Images:
    """Finds the images of a list on disk: of any case, and maybe converted to another format."""

    def __init__(self, root: Path):
        self._root = root
        self._folders: dict[str, dict[str, list[str]]] = {}

    def find(self, path: str) -> tuple[str, str]:
        """Returns the path of an image and an empty text; or an empty text and what is wrong."""
        folder, _, name = path.rpartition("/")
        if folder not in self._folders:
            self._folders[folder] = self._listed(folder)
        files = self._folders[folder]
        stem = name.rpartition(".")[0].lower()
        for file in (*files.get(stem, ()), *files.get(name.lower(), ())):
            if file.lower().endswith(SUFFIXES):
                return f"{folder}/{file}", ""
        if files.get(stem):
            return "", f"{path!r} is neither JPEG nor PNG. {CONVERSION}".rstrip(".")
        return "", f"{path!r} does not exist below {str(self._root)!r}"

    def _listed(self, folder: str) -> dict[str, list[str]]:
        """The files of a folder by their stem in lower case."""
        found: dict[str, list[str]] = {}
        place = self._root / folder
        for file in sorted(place.iterdir()) if place.is_dir() else ():
            found.setdefault(file.stem.lower(), []).append(file.name)
        return found


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{str(file)!r} cannot be read ({error}); repair or restore it."
        ) from error


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
