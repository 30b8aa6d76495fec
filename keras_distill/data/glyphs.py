"""Embedded data set: photographs of invented letters, drawn once and kept as JPEG files.

An alphabet is made of families. The letters of a family share a skeleton of strokes and differ in
small edits, as the species of a genus do; every picture of a letter has its own pose, pen, ink,
paper, light and dirt. Families are consecutive in class order, so that the two halves of the
default set have no family in common: the second half is new, but of the same kind.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import logging
from PIL import Image, ImageDraw, ImageFilter

from keras_distill.errors import InputError
from keras_distill.publishing import published_folder

# Part of the folder's name: raise it whenever a pixel of any picture changes.
_VERSION = 2
_FAMILY = 4
_POINTS = 24  # of a stroke
_SUPERSAMPLING = 3
# How far apart two siblings are at least, by Hausdorff's distance; a letter is 2 wide or high.
_SIBLING_DISTANCE = 0.35

# First words of the random seeds, so that letters and pictures never share a stream.
_FAMILY_STREAM, _IMAGE_STREAM = 0, 1

# A letter is a list of strokes; a stroke is a polyline (n, 2), and a single point is a dot.
_Strokes = list[np.ndarray]


def write_glyphs(
    root: Path | str,
    *,
    classes: int = 96,
    images_per_class: int = 32,
    image_size: int = 80,
    seed: int = 0,
) -> Path:
    """Writes the glyph data set under `root`, unless it is there already, and returns its folder.

    The folder's name holds all that decides its content, and the folder appears under that name
    only with every file in it: an interrupted call leaves nothing that could be mistaken for the
    data, and two processes may call at once. The same arguments give the same bytes within one
    release of Pillow and NumPy. The default set has 3072 pictures and takes about ten seconds and
    8 MB.

    Args:
        root: Folder to write under; made if missing.
        classes: Number of classes, 2 to 1000. Four consecutive ones are a family of look-alikes,
            so a multiple of 8 lets a split in the middle cut no family.
        images_per_class: Number of pictures of each class, 1 to 10000.
        image_size: Height and width of the pictures in pixels, 16 to 512.
        seed: 0 or more; another seed gives another alphabet.

    Returns:
        The folder `root/glyphs-vVERSION-cCLASSES-nIMAGES-sSIZE-rSEED`. It holds
        `NNN.name/NNNN.jpg`, one sub-folder a class, whose names sort in class order.

    Raises:
        InputError: If an argument is out of its range, or `root` cannot be written to.

    Example:
        >>> import tempfile
        >>> folder = write_glyphs(tempfile.mkdtemp(), classes=2, images_per_class=3, image_size=32)
        >>> folder.name
        'glyphs-v2-c2-n3-s32-r0'
        >>> len(list(folder.glob("*/*.jpg")))
        6
    """
    _check_range("classes", classes, 2, 1000)
    _check_range("images_per_class", images_per_class, 1, 10_000)
    _check_range("image_size", image_size, 16, 512)
    _check_range("seed", seed, 0, 2**32 - 1)
    name = f"glyphs-v{_VERSION}-c{classes}-n{images_per_class}-s{image_size}-r{seed}"
    target = Path(root).expanduser() / name
    if target.is_dir():
        return target
    logging.info("Drawing %d pictures of glyphs into %s", classes * images_per_class, target)
    with published_folder(target) as folder:
        for first in range(0, classes, _FAMILY):
            family = _make_family(np.random.default_rng((_FAMILY_STREAM, seed, first)))
            for label, (name, glyph) in enumerate(family[: classes - first], start=first):
                class_folder = folder / f"{label:03d}.{name}"
                class_folder.mkdir()
                for image in range(images_per_class):
                    rng = np.random.default_rng((_IMAGE_STREAM, seed, label, image))
                    picture = _take_picture(glyph, image_size, rng)
                    picture.save(class_folder / f"{image:04d}.jpg", quality=90)
    return target


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"`{name}={value!r}` is not usable; give an integer from {low} to {high}.")


# The alphabet.


def _make_family(rng: np.random.Generator) -> list[tuple[str, _Strokes]]:
    """Draws the names and letters of one family, no two of them too much alike."""
    stem = _syllable(rng) + _syllable(rng)
    skeleton = _make_skeleton(rng)
    # A letter that is nearly a line would differ from its siblings by a few pixels only.
    while np.ptp(np.concatenate(skeleton), axis=0).min() <= 1.1:
        skeleton = _make_skeleton(rng)
    glyphs: list[_Strokes] = []
    while len(glyphs) < _FAMILY:
        glyph = _centre(_edit(_edit(skeleton, rng), rng))
        if all(_distance(glyph, other) >= _SIBLING_DISTANCE for other in glyphs):
            glyphs.append(glyph)
    return [(stem + ending, glyph) for ending, glyph in zip("anos", glyphs, strict=True)]


def _syllable(rng: np.random.Generator) -> str:
    return str(rng.choice(list("bdfgklmnprstvz"))) + str(rng.choice(list("aeiou")))


def _make_skeleton(rng: np.random.Generator) -> _Strokes:
    """Draws a stem and two to four further strokes, most of which start on an earlier one."""
    strokes = [_curve(rng.normal(0, 0.15, 2) - (0, 1), rng.normal(0, 0.2, 2) + (0, 2), rng)]
    for _ in range(rng.integers(2, 5)):
        anchor = strokes[rng.integers(len(strokes))]
        start = anchor[rng.integers(len(anchor))]
        kind = rng.choice(["curve", "curve", "ring", "dot"])
        angle = rng.uniform(0, 2 * math.pi)
        direction = np.array((math.cos(angle), math.sin(angle)))
        if kind == "curve":
            strokes.append(_curve(start, direction * rng.uniform(0.7, 1.5), rng))
        elif kind == "ring":
            radius = rng.uniform(0.22, 0.45)
            turn = np.linspace(0, rng.uniform(1.2, 2) * math.pi, _POINTS) + angle
            circle = np.stack((np.cos(turn), np.sin(turn)), axis=1)
            strokes.append(start + radius * (circle - circle[0]))
        else:
            strokes.append((start + direction * rng.uniform(0.35, 0.7))[None])
    return _centre(strokes)


def _curve(start: np.ndarray, span: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws a cubic Bézier curve (n, 2) from `start` to `start + span`."""
    normal = np.array((-span[1], span[0]))
    bends = rng.uniform(-0.7, 0.7, 2) * rng.integers(2)
    t = np.linspace(0, 1, _POINTS)[:, None]
    inner = 3 * t * (1 - t) * ((1 - t) * bends[0] + t * bends[1])
    return start + t * span + inner * normal


def _edit(strokes: _Strokes, rng: np.random.Generator) -> _Strokes:
    """Returns the letter with one change: a dot added, or a stroke moved, bent, swung or cut."""
    strokes = list(strokes)
    index = int(rng.integers(len(strokes)))
    stroke = strokes[index]
    angle = rng.uniform(0, 2 * math.pi)
    shift = np.array((math.cos(angle), math.sin(angle))) * rng.uniform(0.35, 0.7)
    t = np.linspace(0, 1, len(stroke))[:, None]
    # A dot can only move, and a piece of a cut stroke is too short to be cut again.
    edits = ["move", "dot", "bend", "swing", "cut"]
    edit = rng.choice(edits[: {1: 1, _POINTS: 5}.get(len(stroke), 4)])
    if edit == "dot":
        strokes.append(stroke[rng.integers(len(stroke))][None] + shift)
    elif edit == "move":
        strokes[index] = stroke + shift
    elif edit == "bend":
        strokes[index] = stroke + shift * np.sin(math.pi * t)
    elif edit == "swing":
        strokes[index] = stroke + shift * t
    else:
        gap = int(rng.integers(6, 15))
        strokes[index : index + 1] = [stroke[:gap], stroke[gap + 5 :]]
    return strokes


def _centre(strokes: _Strokes) -> _Strokes:
    """Returns the letter moved and scaled into the square from -1 to 1."""
    points = np.concatenate(strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    return [(stroke - (low + high) / 2) * 2 / (high - low).max() for stroke in strokes]


def _distance(glyph: _Strokes, other: _Strokes) -> float:
    """Returns the Hausdorff distance, the least over turns and over mirroring.

    Training may flip its pictures, so a letter and its mirror image have to be one class.
    """
    fixed, moving = np.concatenate(glyph), np.concatenate(other)
    distances = []
    for mirror in (1, -1):
        for angle in np.radians(range(-50, 51, 10)):
            points = (moving * (mirror, 1)) @ _rotation(angle)
            gaps = np.linalg.norm(fixed[:, None] - points, axis=-1)
            distances.append(max(gaps.min(axis=0).max(), gaps.min(axis=1).max()))
    return float(min(distances))


def _rotation(angle: float) -> np.ndarray:
    return np.array(((math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))))


# The pictures.


def _take_picture(glyph: _Strokes, size: int, rng: np.random.Generator) -> Image.Image:
    """Draws the letter in a new pose, ink, paper and light, as RGB of `size` by `size` pixels."""
    paper, ink = _colours(rng)
    picture = paper + _field((4, 4, 3), size, rng) * rng.uniform(0.02, 0.09)
    picture += _field((size // 4, size // 4, 1), size, rng) * rng.uniform(0, 0.05)
    # Scratches: other pens, fainter than the letter, below it.
    for _ in range(rng.integers(0, 3)):
        scratch = _curve(rng.uniform(-1.2, 1.2, 2), rng.uniform(-1.5, 1.5, 2), rng)
        mask = _mask([_to_pixels(scratch, size)], rng.uniform(0.01, 0.035), size)
        picture += mask * (paper + (ink - paper) * rng.uniform(-0.2, 0.4) - picture)
    mask = _mask(_pose(glyph, size, rng), rng.uniform(0.045, 0.08), size)
    tint = ink + _field((3, 3, 3), size, rng) * rng.uniform(0, 0.1)
    picture += mask * rng.uniform(0.8, 1) * (tint - picture)
    if rng.random() < 0.3:
        # A bar across the letter, of any colour.
        middle, span = rng.uniform(-0.6, 0.6, 2), rng.normal(0, 2, 2)
        bar = np.stack((middle - 2 * span, middle + 2 * span))
        mask = _mask([_to_pixels(bar, size)], rng.uniform(0.03, 0.08), size)
        picture += mask * (rng.uniform(0, 1, 3) - picture)
    slope = rng.normal(0, 0.15, 2)
    x = np.linspace(-1, 1, size, dtype=np.float32)
    picture *= (1 + slope[0] * x[:, None] + slope[1] * x)[..., None]
    picture += rng.standard_normal(picture.shape, dtype=np.float32) * rng.uniform(0.01, 0.04)
    image = Image.fromarray((picture.clip(0, 1) * 255).astype(np.uint8))
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.012) * size))


def _colours(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draws a paper and an ink (3,) of any two hues, the ink darker.

    Were both polarities to occur, a small network that starts from random weights would spend
    most of a short training on learning that a light stroke and a dark one are the same.
    """
    dark, contrast = rng.uniform(0.05, 0.2), rng.uniform(0.55, 0.75)
    levels = np.array((dark + contrast, dark))
    hues = rng.normal(0, 0.13, (2, 3))
    paper, ink = levels[:, None] + hues - hues.mean(axis=1, keepdims=True)
    return paper.astype(np.float32), ink.astype(np.float32)


def _field(shape: tuple[int, int, int], size: int, rng: np.random.Generator) -> np.ndarray:
    """Draws smooth noise (size, size, bands) from a grid (rows, columns, bands) of its values."""
    grid = rng.standard_normal(shape, dtype=np.float32)
    bands = [
        Image.fromarray(grid[..., band]).resize((size, size), Image.Resampling.BICUBIC)
        for band in range(shape[-1])
    ]
    return np.stack([np.asarray(band) for band in bands], axis=-1)


def _pose(glyph: _Strokes, size: int, rng: np.random.Generator) -> _Strokes:
    """Returns the strokes in pixels: turned, sheared, seen from the side, wobbling, off centre."""
    stretch = np.array(((1, rng.normal(0, 0.1)), (0, rng.uniform(0.88, 1.14))))
    linear = stretch @ _rotation(math.radians(rng.uniform(-25, 25))) * rng.uniform(0.5, 0.72)
    tilt, shift = rng.normal(0, 0.1, 2), rng.uniform(-0.28, 0.28, 2)
    wobble, waves, phase = rng.uniform(0, 0.05), rng.uniform(2, 5, 2), rng.uniform(0, 6, 2)
    posed = []
    for stroke in glyph:
        bent = stroke + wobble * np.sin(stroke[:, ::-1] * waves + phase) + rng.normal(0, 0.02, 2)
        flat = bent @ linear
        posed.append(_to_pixels(flat / (1 + flat @ tilt)[:, None] + shift, size))
    return posed


def _to_pixels(points: np.ndarray, size: int) -> np.ndarray:
    return (points + 1) * (size * _SUPERSAMPLING / 2)


def _mask(strokes: Sequence[np.ndarray], width: float, size: int) -> np.ndarray:
    """Draws strokes of `width`, a fraction of the picture, as coverage (size, size, 1), 0 to 1."""
    canvas = Image.new("L", (size * _SUPERSAMPLING,) * 2)
    draw = ImageDraw.Draw(canvas)
    pen = max(2, round(width * size * _SUPERSAMPLING))
    for stroke in strokes:
        points = [(x, y) for x, y in stroke.tolist()]
        draw.line(points, fill=255, width=pen, joint="curve")
        # Round ends, and dots somewhat larger than the line is wide.
        radius = pen * (0.5 if len(points) > 1 else 0.9)
        for x, y in (points[0], points[-1]):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return np.asarray(canvas.reduce(_SUPERSAMPLING), np.float32)[..., None] / 255
