"""Points of images from files: CSV beside each image, MATLAB files of crowds, COCO JSON."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keras_distill.data.image_files import list_image_files
from keras_distill.data.label_csv import csv_rows, raw_csv_rows
from keras_distill.data.listed_images import ListedImages
from keras_distill.data.matlab_files import read_matlab
from keras_distill.data.point_images import PointImages
from keras_distill.data.row_problems import RowProblems
from keras_distill.errors import InputError

#: Kinds of files with points, and what they are, for help texts.
KINDS = {
    "csv": "a CSV file with the columns x and y beside each image",
    "mat": "a MATLAB file for each image, as of ShanghaiTech (ground_truth/GT_NAME.mat), UCF_CC_50 "
    "and UCF-QNRF (NAME_ann.mat)",
    "FILE.json": "COCO JSON, whose points are the centres of the boxes",
}
_SPLITS = {"train": "train", "test": "test", "val": "validation"}


def read_points(
    root: str | Path, points: str, *, original_sizes: str | Path | None = None
) -> PointImages:
    """Reads the images below a folder and the points in each.

    An image belongs to the split that the first folder of its path, or a deeper one, is called
    after: `train…`, `test…` or `val…`, such as `train_data/images/IMG_1.jpg`.

    Args:
        root: The folder.
        points: `csv`, `mat`, or a file of COCO JSON, see `KINDS`. x and y are pixels of the file,
            from its left upper corner.
        original_sizes: CSV file with the columns `file`, `width` and `original_width`, in pixels,
            for images that were made smaller; sigma is given in pixels of the originals.

    Returns:
        The images, sorted by path.

    Raises:
        InputError: If a file cannot be read, or rows of files are unusable, which are named.

    Example:
        >>> read_points("crowd", "csv").counts  # doctest: +SKIP
        array([172, 502, 55])
    """
    root, problems = Path(root).expanduser(), RowProblems()
    if points in ("csv", "mat"):
        paths = list_image_files(root) if root.is_dir() else []
        read = _read_csv if points == "csv" else _read_mat
        found = {path: read(root / path, problems) for path in paths}
    elif points.endswith(".json"):
        found = _read_coco(root, Path(points).expanduser(), problems)
    else:
        raise InputError(f"`points={points}` is unknown; give one of {', '.join(KINDS)}.")
    if not found:
        raise InputError(f"`root={str(root)!r}` has no JPEG or PNG images.")
    scales = _scales(root, original_sizes, list(found), problems)
    for path, own in found.items():
        _check_inside(root / path, own, problems)
    problems.check(f"`points={points}`")
    splits = [_split_of(path) for path in found]
    return PointImages(
        root,
        np.array(list(found)),
        list(found.values()),
        scales,
        np.array(splits) if any(splits) else None,
    )


def _split_of(path: str) -> str:
    for folder in path.split("/")[:-1]:
        for prefix, split in _SPLITS.items():
            if folder.lower().startswith(prefix):
                return split
    return ""


def _read_csv(image: Path, problems: RowProblems) -> np.ndarray:
    """The points of the CSV file beside an image; an empty file has none."""
    file, found = image.with_suffix(".csv"), []
    if not file.is_file():
        problems.add(image, "", f"there is no {file.name} beside it; an empty one has no points")
        return np.zeros((0, 2), np.float32)
    for line, row in _csv_points(file, problems):
        try:
            point = [float(row["x"]), float(row["y"])]
        except ValueError:
            point = [math.nan]
        if not np.isfinite(point).all():
            problems.add(file, line, f"({row['x']!r}, {row['y']!r}) is no point")
            continue
        found.append(point)
    return np.array(found, np.float32).reshape(-1, 2)


def _csv_points(file: Path, problems: RowProblems) -> Iterator[tuple[int, dict[str, str]]]:
    if sum(1 for _ in raw_csv_rows(file)) > 1:
        yield from csv_rows(file, ("x", "y"), problems)


def _read_mat(image: Path, problems: RowProblems) -> np.ndarray:
    """The points of the MATLAB file of an image: in its own folder, or in `ground_truth/`."""
    folders = (image.parent, image.parent.parent / "ground_truth", image.parent)
    names = (f"GT_{image.stem}.mat", f"{image.stem}_ann.mat", f"{image.stem}.mat")
    files = [folder / name for folder in folders for name in names]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        problems.add(image, "", f"there is no MATLAB file of it, such as {files[3]}")
        return np.zeros((0, 2), np.float32)
    found = read_matlab(file, "image_info", "annPoints")
    while getattr(found, "dtype", None) is not None and found.dtype == object:
        found = found.ravel()[0]  # nested cells of ShanghaiTech
    if getattr(found, "dtype", None) is not None and found.dtype.names:
        found = found["location"].ravel()[0]
    points = np.asarray(found, np.float64)
    if points.size and (points.ndim != 2 or points.shape[1] < 2 or not np.isfinite(points).all()):
        problems.add(file, "", f"its points have the shape {points.shape}, not (points, 2)")
        return np.zeros((0, 2), np.float32)
    return points.reshape(-1, points.shape[-1] if points.size else 2)[:, :2].astype(np.float32)


def _read_coco(root: Path, file: Path, problems: RowProblems) -> dict[str, np.ndarray]:
    """The centres of the boxes of each image that a file lists."""
    try:
        content = json.loads(file.read_text())
        images = {each["id"]: str(each["file_name"]) for each in content["images"]}
        boxes = [(each["image_id"], each["bbox"]) for each in content["annotations"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"`points={str(file)!r}` cannot be read as COCO JSON ({error!r}); give a file with "
            "images and annotations."
        ) from error
    listed = ListedImages(root)
    paths: dict[Any, str] = {}
    points: dict[Any, list[list[float]]] = {}
    for place, (key, name) in enumerate(images.items()):
        path, problem = listed.find(name)
        if problem:
            problems.add(file, f"images[{place}]", problem)
        paths[key] = path
        points[key] = []
    for place, (key, box) in enumerate(boxes):
        if key not in points:
            problems.add(file, f"annotations[{place}]", f"the image {key!r} is not listed")
            continue
        try:
            left, top, width, height = map(float, box)
        except (TypeError, ValueError):
            problems.add(file, f"annotations[{place}]", f"the box {box!r} is not four numbers")
            continue
        points[key].append([left + width / 2, top + height / 2])
    return {
        paths[key]: np.array(own, np.float32).reshape(-1, 2)
        for key, own in sorted(points.items(), key=lambda each: paths[each[0]])
        if paths[key]
    }


def _check_inside(image: Path, points: np.ndarray, problems: RowProblems) -> None:
    """Notes points far outside of an image, as another unit or exchanged columns give."""
    if not len(points):
        return
    try:
        with Image.open(image) as opened:
            extent = np.array(opened.size)
    except OSError:
        return  # an image that cannot be decoded is skipped later, with a warning
    outside = ((points < -0.1 * extent) | (points > 1.1 * extent)).any(1)
    if outside.any():
        x, y = points[outside][0].tolist()
        width, height = extent.tolist()
        problems.add(
            image,
            "",
            f"the point ({x:g}, {y:g}) is outside of its {width} x {height} pixels",
        )


def _scales(
    root: Path, file: str | Path | None, paths: list[str], problems: RowProblems
) -> np.ndarray:
    """Pixels of each file for a pixel of its original."""
    if file is None:
        return np.ones(len(paths))
    file, listed = Path(file).expanduser(), ListedImages(root)
    known: dict[str, float] = {}
    for line, row in csv_rows(file, ("file", "width", "original_width"), problems):
        path, problem = listed.find(row["file"])
        try:
            scale = float(row["width"]) / float(row["original_width"])
        except (ValueError, ZeroDivisionError):
            scale = math.nan
        if problem or not 0 < scale < math.inf:
            problems.add(file, line, problem or "its widths are not positive numbers of pixels")
        else:
            known[path] = scale
    if lacking := [path for path in paths if path not in known]:
        problems.add(file, "", f"it has no row of {lacking[0]!r}, nor of {len(lacking) - 1} others")
    return np.array([known.get(path, 1.0) for path in paths])
