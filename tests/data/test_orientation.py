import io
import itertools
import struct

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from keras_distill.data.orientation import jpeg_orientation, stored_window, swapped, upright

READ = tf.function(jpeg_orientation, input_signature=[tf.TensorSpec([], tf.string)])


def jpeg():
    buffer = io.BytesIO()
    Image.new("RGB", (16, 8), "red").save(buffer, "JPEG")
    return buffer.getvalue()


BARE = jpeg()[:2] + jpeg()[20:]  # without the segment of JFIF
JFIF = jpeg()[2:20]


def segment(marker, content):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def tiff(orientation, *, order=">", kind=3, count=1, before=(), offset=8, tag=0x0112):
    """A directory whose entries are those of `before`, and the orientation."""
    entries = [*before, (tag, kind, count, struct.pack(f"{order}H2x", orientation))]
    packed = [struct.pack(f"{order}HHL4s", *entry) for entry in entries]
    directory = struct.pack(f"{order}H", len(entries)) + b"".join(packed) + bytes(4)
    begin = (b"MM" if order == ">" else b"II") + struct.pack(f"{order}HL", 42, offset)
    return begin + bytes(offset - 8) + directory


def photo(*segments):
    return BARE[:2] + b"".join(segments) + BARE[2:]


def exif(*arguments, **options):
    return segment(0xE1, b"Exif\0\0" + tiff(*arguments, **options))


def read(data):
    found = int(READ(data))
    assert found == int(jpeg_orientation(tf.constant(data)))
    return found


def by_pillow(data):
    return Image.open(io.BytesIO(data)).getexif().get(0x0112, 1)


MAKER = (0x010F, 2, 4, b"abc\0")
LEADING = {
    "nothing": [],
    "JFIF": [JFIF],
    "JFIF with a thumbnail": [segment(0xE0, JFIF[4:-2] + b"\1\1" + bytes(3))],
    "colours": [segment(0xE2, b"ICC_PROFILE\0" + bytes(60_000))],
    "a comment": [JFIF, segment(0xFE, b"Exif")],
    "XMP": [segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>")],
    "an empty segment": [segment(0xE1, b"")],
    "filling": [b"\xff\xff\xff"],
}


@pytest.mark.quick(4)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_orientation_in_both_byte_orders(orientation, order):
    data = photo(exif(orientation, order=order, before=[MAKER] * 3))
    assert read(data) == by_pillow(data) == orientation


@pytest.mark.parametrize("leading", LEADING.values(), ids=LEADING)
def test_what_may_come_before_it(leading):
    data = photo(*leading, exif(6, order="<"))
    assert read(data) == by_pillow(data) == 6
    assert read(photo(*leading)) == 1


@pytest.mark.parametrize("offset", [9, 26, 3000])
def test_a_directory_that_does_not_follow_at_once(offset):
    assert read(photo(exif(8, offset=offset))) == 8


def test_only_a_short_of_one_value_counts():
    assert read(photo(exif(6, kind=2))) == 1
    assert read(photo(exif(6, count=2))) == 1
    assert read(photo(exif(6, tag=0x0113))) == 1
    for orientation in (0, 9, 65535):
        assert read(photo(exif(orientation))) == 1


GOOD = tiff(6, before=[MAKER])
DAMAGED = {
    "nothing": b"",
    "cut in the header": GOOD[:5],
    "cut before the entry": GOOD[:22],
    "cut within the entry": GOOD[:26],
    "no byte order": b"XX" + GOOD[2:],
    "no magic number": GOOD[:2] + b"\0\0" + GOOD[4:],
    "offset far away": GOOD[:4] + b"\x00\xff\xff\xff" + GOOD[8:],
    "largest offset": GOOD[:4] + b"\x7f\xff\xff\xff" + GOOD[8:],
    "negative offset": GOOD[:4] + b"\xff\xff\xff\xff" + GOOD[8:],
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damaged_exif_is_upright(content):
    assert read(photo(segment(0xE1, b"Exif\0\0" + content))) == 1


def test_more_entries_are_promised_than_there_are():
    promised = GOOD[:8] + b"\xff\xff" + GOOD[10:]
    assert read(photo(segment(0xE1, b"Exif\0\0" + promised))) == 6


def test_a_segment_ends_where_it_says():
    short = struct.pack(">H", 20)
    whole = exif(6)
    assert read(photo(whole[:2] + short + whole[4:])) == 1
    assert read(photo(whole[:2] + b"\0\0" + whole[4:])) == 1


@pytest.mark.parametrize("length", range(48))
def test_files_that_end_early(length):
    assert read(photo(exif(6))[:length]) in (1, 6)


@given(st.lists(st.tuples(st.integers(2, 60), st.integers(0, 255)), max_size=6), st.binary())
def test_no_damage_fails(changes, more):
    data = bytearray(photo(exif(6, order="<", before=[MAKER])) + more)
    for place, value in changes:
        data[place] = value
    assert 1 <= int(READ(bytes(data))) <= 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_windows_are_those_of_the_upright_image(orientation):
    stored = np.arange(5 * 7 * 3).reshape(5, 7, 3)
    whole = upright(tf.constant(stored), tf.constant(orientation)).numpy()
    shape = swapped(tf.constant([5, 7]), tf.constant(orientation))
    assert tuple(shape.numpy()) == whole.shape[:2]
    for top, left, height, width in itertools.product((0, 2), (0, 1), (1, 3), (2, 4)):
        wanted = whole[top : top + height, left : left + width]
        window = tf.constant([top, left, height, width])
        a, b, c, d = stored_window(window, shape, tf.constant(orientation)).numpy()
        part = tf.constant(stored[a : a + c, b : b + d])
        np.testing.assert_array_equal(upright(part, tf.constant(orientation)), wanted)
        for mirrored in (True, False):
            turned = upright(part, tf.constant(orientation), tf.constant(mirrored))
            np.testing.assert_array_equal(turned, wanted[:, ::-1] if mirrored else wanted)
