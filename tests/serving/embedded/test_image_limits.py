import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_distill.serving.embedded.image_limits import count_pixels, image_size
from keras_distill.serving.embedded.refusal import Refusal


def segment(marker, content):
    return bytes([0xFF, marker]) + struct.pack(">H", 2 + len(content)) + content


def frame(height, width):
    return segment(0xC2, struct.pack(">BHHB", 8, height, width, 3) + bytes(9))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_sizes(encode, kind):
    assert image_size(encode(40, 45, kind)) == (40, 45)


@pytest.mark.parametrize(
    "before",
    [
        b"",
        segment(0xE0, b"JFIF"),
        segment(0xE1, frame(1, 1)),  # a thumbnail within
        segment(0xC4, frame(1, 1)),  # the code between those of frames that is none
        b"\xff\xff\xff",  # filled up
        b"rubbish \xff\x00 between",
        b"\xff\xd0\xff\x01",  # markers without length
        b"\xff\xe5\x00\x00",  # a length that is too small
    ],
)
def test_jpeg_headers(before):
    assert image_size(b"\xff\xd8\xff\xee\0\2" + before + frame(300, 400)) == (300, 400)


@given(st.binary(max_size=60))
def test_no_bytes_are_too_strange(data):
    for start in (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"):
        size = image_size(start + data)
        assert size is None or all(0 <= side < 2**32 for side in size)


def test_refused_requests(encode):
    good = encode(40, 45)
    assert count_pixels([good, b"", b"no image", good, good[:9]], 40 * 45) == 2 * 40 * 45
    with pytest.raises(Refusal, match="An image claims 45x40 pixels, more than the 1799 "):
        count_pixels([b"", good], 40 * 45 - 1)
    for kind in ("GIF", "BMP", "WebP"):
        with pytest.raises(Refusal, match=f"{kind} images are not decoded here"):
            count_pixels([encode(kind=kind)], 10**9)
