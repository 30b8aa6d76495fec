"""Limit of the pixels that an image claims to have, checked before decoding."""

import struct
from collections.abc import Iterable

from keras_distill.serving.embedded.refusal import invalid

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_OTHERS = {b"GIF8": "GIF", b"BM": "BMP", b"RIFF": "WebP"}
_STARTS_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset([0x01, *range(0xD0, 0xD9)])
_END_OF_IMAGE, _START_OF_SCAN = 0xD9, 0xDA


def image_size(data: bytes) -> tuple[int, int] | None:
    r"""Reads the size of a JPEG or PNG from its header, where its decoder reads it.

    Args:
        data: Bytes of the file.

    Returns:
        Height and width in pixels; `None` if there is no header, in which case no decoder would
        allocate memory.

    Example:
        >>> image_size(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x05\0\0\0\x07")
        (7, 5)
    """
    if data.startswith(_PNG):
        return struct.unpack(">II", data[16:24])[::-1] if len(data) >= 24 else None
    return _jpeg_size(data) if data.startswith(_JPEG) else None


def count_pixels(images: Iterable[bytes], most_pixels: int) -> int:
    """Counts pixels, and refuses images that would take too much memory to decode.

    GIF, BMP and WebP are refused whatever their size: the contract is JPEG and PNG, and the header
    of a GIF does not tell how many frames it has.

    Args:
        images: Bytes of files.
        most_pixels: Maximum number of pixels of an image.

    Returns:
        The pixels of all images together.

    Raises:
        Refusal: For the first such image.
    """
    total = 0
    for data in images:
        other = next((name for start, name in _OTHERS.items() if data.startswith(start)), None)
        if other:
            raise invalid(f"{other} images are not decoded here. One of JPEG, PNG required.")
        height, width = image_size(data) or (0, 0)
        if height * width > most_pixels:
            raise invalid(
                f"An image claims {width}x{height} pixels, more than the {most_pixels} that are "
                "decoded here (the server's max_pixels)."
            )
        total += height * width
    return total


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Walks from marker to marker as libjpeg does, over any bytes between them."""
    at = 2
    while (at := data.find(b"\xff", at)) >= 0:
        marker = data[at + 1] if at + 1 < len(data) else _END_OF_IMAGE
        if marker in (0x00, 0xFF):  # no marker, or a fill byte before one
            at += 1 if marker else 2
        elif marker in _WITHOUT_LENGTH:
            at += 2
        elif marker in (_END_OF_IMAGE, _START_OF_SCAN) or len(data) < at + 9:
            return None
        elif marker in _STARTS_OF_FRAME:
            return struct.unpack(">HH", data[at + 5 : at + 9])
        else:
            at += 2 + max(struct.unpack(">H", data[at + 2 : at + 4])[0], 2)
    return None
