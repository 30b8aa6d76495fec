"""Thumbnails inside the page of a report."""

import base64
import io
from pathlib import Path

from PIL import Image

from keras_distill.data.pictures import read_picture
from keras_distill.data.views import CENTRE_SHARE

PIXELS = 96
_QUALITY = 72


def picture_uri(path: Path) -> str | None:
    """Shrinks the centre of an image, as models see it, to a `data:` URI.

    Args:
        path: The image.

    Returns:
        The URI of a JPEG of 96 x 96 pixels, about 4 kB; `None` if it cannot be read.
    """
    try:
        image = read_picture(path, least_side=2 * PIXELS)
    except OSError:
        return None
    side = max(round(min(image.size) * CENTRE_SHARE), 1)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    small = image.resize((PIXELS, PIXELS), Image.Resampling.BOX, box)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
