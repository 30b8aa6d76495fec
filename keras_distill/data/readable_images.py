"""Check of images that cannot be decoded, before training meets them."""

import functools
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TypeAlias

import numpy as np
import tensorflow as tf
from absl import logging

from keras_distill import __version__
from keras_distill.data.decoding import NO_IMAGE, decode_image, image_area
from keras_distill.data.image_files import image_format
from keras_distill.data.image_set import ImageSet
from keras_distill.data.pixel_limit import MAX_PIXELS
from keras_distill.data.verified_files import WORTHWHILE, VerifiedFiles
from keras_distill.errors import InputError

_BATCH = 1024
_BATCHES_BETWEEN_SAVES = 100  # some minutes


_Progress: TypeAlias = Callable[[int], AbstractContextManager[Callable[[int], object]]]


def drop_unreadable(
    images: ImageSet,
    *,
    strict: bool = False,
    max_pixels: int = MAX_PIXELS,
    memory: Path | None = None,
    progress: _Progress = lambda total: nullcontext(lambda rows: None),
) -> tuple[ImageSet, list[str]]:
    """Decodes every image once and drops those that fail, each named in a warning.

    Names that are not UTF-8 fail too: neither TensorFlow nor JSON could hold them.

    Images that are too large are recognised by their header and never decoded: a file of a megabyte
    can hold a picture that fills the memory.

    Args:
        images: The images.
        strict: Whether an unreadable or too large image is an error.
        max_pixels: Height times width of the largest image that is taken.
        memory: Folder in which the files that passed are remembered, so that the next call decodes
            new and changed files only; see `VerifiedFiles`. Not used for few images.
        progress: Called with the number of images to decode; its context yields a function that is
            called with the number of images decoded since its last call.

    Returns:
        The readable images, and the paths of the dropped ones, relative to the root.

    Raises:
        InputError: If `strict` and an image is dropped, or if a class would lose all of them.
    """
    verified = None
    if memory is not None and len(images) >= WORTHWHILE:
        verified = VerifiedFiles(memory, images, max_pixels, tf.__version__, __version__)
    readable = np.zeros(len(images), bool) if verified is None else verified.known()
    too_large = np.zeros(len(images), bool)
    nameable = np.array([is_utf8(path) for path in images.paths.tolist()], bool)
    unknown = np.flatnonzero(nameable & ~readable)
    try:
        with progress(len(unknown)) as advance:
            for count, (rows, large) in enumerate(_decoded(images, unknown, max_pixels), 1):
                readable[rows] = ~large
                too_large[rows] = large
                advance(len(rows))
                if verified is not None and count % _BATCHES_BETWEEN_SAVES == 0:
                    verified.remember(readable)
    finally:
        if verified is not None and readable[unknown].any():
            verified.remember(readable)
    dropped = [str(path) for path in images.paths[~readable]]
    if not dropped:
        return images, []
    if strict and too_large.any():
        raise InputError(
            f"{too_large.sum()} of {len(images)} images in {str(images.root)!r} have more than "
            f"`max_pixels={max_pixels}` pixels: {_listed(images.paths[too_large])}. Shrink or "
            "remove them, or raise `max_pixels`, or leave out `strict` to skip them."
        )
    if strict and not nameable.all():
        raise InputError(
            f"{(~nameable).sum()} of {len(images)} images in {str(images.root)!r} have names that "
            f"are not UTF-8: {_listed(images.paths[~nameable])}. Rename them, or leave out "
            "`strict` to skip them."
        )
    if strict:
        raise InputError(
            f"{len(dropped)} of {len(images)} images in {str(images.root)!r} are corrupt, "
            f"truncated or of another format: {_listed(images.paths[~readable])}. Repair, convert "
            "or remove them, or leave out `strict` to skip them."
        )
    for path, large, named in zip(dropped, too_large[~readable], nameable[~readable], strict=True):
        if large:
            what = f"an image of more than {max_pixels} pixels"
        elif not named:
            what = "an image whose name is not UTF-8"
        elif other := _other_format(images.root / path):
            what = f"a file of the format {other}, which is neither JPEG nor PNG"
        else:
            what = "a corrupt or truncated image"
        logging.warning("Skipping %s: %s", what, _printable(images.root / path))
    kept = images.select(readable)
    if lost := sorted(set(images.classes) - set(kept.classes)):
        raise InputError(
            f"class folder {str(images.root / images.class_names[lost[0]])!r} has no readable "
            "image; repair or remove it."
        )
    return kept, dropped


def _decoded(
    images: ImageSet, rows: np.ndarray, max_pixels: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields rows that were decoded or are too large, and which of them are too large."""
    if not len(rows):
        return
    files = [os.fsencode(images.root / path) for path in images.paths[rows]]

    check = _check(max_pixels)

    @tf.autograph.experimental.do_not_convert
    def checked(row: tf.Tensor, file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return row, *check(file)

    decoded = (
        tf.data.Dataset.from_tensor_slices((rows, tf.constant(files, tf.string)))
        .map(checked, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
        .ignore_errors()
        .batch(_BATCH)
    )
    for batch, large, _ in decoded.as_numpy_iterator():
        yield batch, large


@functools.lru_cache(maxsize=8)
def _check(max_pixels: int) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Tells by an image's file whether it is too large, and decodes it if not; traced once."""

    def check(file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        data = tf.io.read_file(file)
        large = image_area(data) > max_pixels
        # One pixel is returned, because TensorFlow would remove a decoding without a result.
        pixel = tf.cond(large, lambda: tf.zeros([], tf.uint8), lambda: decode_image(data)[0, 0, 0])
        return large, pixel

    return tf.function(check, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)


def why_unreadable(data: bytes) -> str:
    """Tells why an image cannot be decoded.

    Args:
        data: The bytes of its file.

    Returns:
        The reason, in TensorFlow's words where it has some; empty if it can be decoded.
    """
    if (other := image_format(data)) not in ("JPEG", "PNG", ""):
        return f"it is {other}, neither JPEG nor PNG"
    if reason := why_too_large(data):
        return reason
    try:
        decode_image(tf.constant(data))
    except tf.errors.OpError as error:
        if NO_IMAGE in error.message:
            return f"it is {NO_IMAGE}"
        # Where in the graph it happened says nothing about the image.
        return re.sub(r"\{\{.*?\}\}\s*| \[Op:.*|\n.*", "", error.message).strip()
    return ""


def why_too_large(data: bytes) -> str:
    """Tells by the header of an image that it should not be decoded.

    Args:
        data: The bytes of its file.

    Returns:
        The reason; empty if it has at most `MAX_PIXELS`, or no header that can be read.
    """
    if image_format(data) not in ("JPEG", "PNG"):
        return ""
    try:
        area = int(image_area(tf.constant(data)))
    except tf.errors.OpError:
        return ""
    return f"it has {area} pixels, more than {MAX_PIXELS}" if area > MAX_PIXELS else ""


def _other_format(file: Path) -> str:
    """The format of a file, as far as it is another than JPEG and PNG."""
    try:
        with file.open("rb") as opened:
            found = image_format(opened.read(16))
    except OSError:
        return ""
    return found if found not in ("JPEG", "PNG") else ""


def _listed(paths: np.ndarray) -> str:
    return f"{', '.join(map(_printable, paths[:10]))}{', ...' if len(paths) > 10 else ''}"


def is_utf8(path: str) -> bool:
    """Tells whether a path is UTF-8, as TensorFlow and JSON need it."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _printable(path: str | Path) -> str:
    return str(path).encode(errors="backslashreplace").decode()
