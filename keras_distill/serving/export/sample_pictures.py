"""Pictures on which an export is compared with its model."""

from pathlib import Path

import numpy as np
from PIL import Image

from keras_distill.data.glyphs import write_glyphs
from keras_distill.data.image_set import ImageSet, read_pictures
from keras_distill.data.pictures import read_picture
from keras_distill.data.readable_images import drop_unreadable
from keras_distill.errors import InputError

COUNT = 8
_LONG_SIDE = 512


def draw_pictures(folder: Path) -> ImageSet:
    """Draws pictures that belong to nobody: glyphs as JPEG, and a part of one, as PNG.

    Args:
        folder: Folder to draw into.

    Returns:
        The pictures, the same at each call.
    """
    drawn = read_pictures(write_glyphs(folder, classes=3, images_per_class=1, image_size=160))
    with Image.open(drawn.root / drawn.paths[0]) as glyph:
        glyph.crop((0, 10, 160, 130)).save(drawn.root / "wide.png")
    return read_pictures(drawn.root)


def choose_pictures(images: ImageSet) -> ImageSet:
    """Chooses up to `COUNT` readable images, spread over all.

    Args:
        images: The images.

    Returns:
        Some of them.

    Raises:
        InputError: If none of those that were looked at can be decoded.
    """
    spread = np.unique(np.linspace(0, len(images) - 1, 2 * COUNT).astype(int))
    chosen = images.select(spread).without_labels()
    readable, _ = drop_unreadable(chosen)
    if not len(readable):
        raise InputError(f"{str(images.root)!r}: none of {len(spread)} images can be decoded.")
    kept = np.unique(np.linspace(0, len(readable) - 1, COUNT).astype(int))
    return readable.select(kept)


def write_thumbnails(images: ImageSet, folder: Path) -> ImageSet:
    """Writes small copies of images, without what a camera adds, such as the place.

    Args:
        images: The images.
        folder: Folder to write into.

    Returns:
        The copies: JPEG, 512 pixels on the long side at most.
    """
    folder.mkdir()
    for number, path in enumerate(images.paths):
        small = read_picture(images.root / path, least_side=_LONG_SIDE)
        small.thumbnail((_LONG_SIDE, _LONG_SIDE))
        small.save(folder / f"{number:02d}.jpg", quality=90)
    return read_pictures(folder)
