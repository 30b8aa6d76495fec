import io
import logging
import os
import re
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_distill import InputError
from keras_distill.data import readable_images
from keras_distill.data.decoding import decode_image
from keras_distill.data.image_set import read_folder
from keras_distill.data.readable_images import drop_unreadable, why_unreadable
from keras_distill.data.views import centre_view, random_views


def encode(file_format, seed=0, mode=None, shape=(40, 50, 3), **options):
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
    buffer = io.BytesIO()
    (image if mode is None else image.convert(mode)).save(buffer, file_format, **options)
    return buffer.getvalue()


JPEG, PNG, SMALL = encode("JPEG"), encode("PNG"), encode("PNG", shape=(4, 5, 3))

BROKEN = {
    "empty.jpg": b"",
    "text.jpg": b"This is not the image you are looking for.\n" * 20,
    "truncated.jpg": JPEG[: len(JPEG) // 2],
    "without_end.jpg": JPEG[:-40],
    "only_header.jpg": JPEG[:3],
    "flipped.jpg": JPEG[:1] + bytes([JPEG[1] ^ 4]) + JPEG[2:],
    "flipped_table.jpg": JPEG.replace(b"\xff\xc4", b"\xff\xc5"),
    "truncated.png": PNG[: len(PNG) // 2],
    "flipped.png": PNG[:300] + bytes([PNG[300] ^ 16]) + PNG[301:],
    "empty.png": b"",
}
SOUND = {
    "photo.jpg": JPEG,
    "drawing.png": PNG,
    "png_named.jpg": PNG,
    "jpeg_named.png": JPEG,
    "grey.jpg": encode("JPEG", mode="L"),
    "progressive.jpg": encode("JPEG", progressive=True),
}


def write(root, files):
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return read_folder(root)


def test_what_is_broken_is_dropped_and_named(tmp_path, caplog):
    files = {f"a/{name}": data for name, data in (SOUND | BROKEN).items()} | {"b/1.jpg": JPEG}
    with caplog.at_level(logging.WARNING, logger="absl"):
        kept, dropped = drop_unreadable(write(tmp_path, files))
    assert sorted(dropped) == sorted(f"a/{name}" for name in BROKEN)
    assert sorted(kept.paths) == sorted([*(f"a/{name}" for name in SOUND), "b/1.jpg"])
    assert kept.labels.tolist() == [0] * len(SOUND) + [1]
    assert [record.getMessage() for record in caplog.records] == [
        f"Skipping a corrupt or truncated image: {tmp_path / path}" for path in dropped
    ]


def test_a_sound_set_is_returned_as_it_is_without_a_word(tmp_path, caplog):
    images = write(tmp_path, {"a/1.jpg": JPEG, "b/1.png": PNG})
    kept, dropped = drop_unreadable(images, strict=True)
    assert kept is images
    assert dropped == []
    assert not caplog.records


def test_strict_makes_it_an_error_that_names_the_first_ten(tmp_path):
    files = {f"a/{i:02d}.jpg": b"" for i in range(12)} | {"a/good.jpg": JPEG, "b/1.jpg": JPEG}
    with pytest.raises(InputError, match=r"12 of 14 images .* a/00\.jpg, .*a/09\.jpg, \.\.\..*"):
        drop_unreadable(write(tmp_path, files), strict=True)


def test_a_name_that_is_not_utf8_is_dropped(tmp_path, caplog):
    write(tmp_path, {"a/1.jpg": JPEG, "b/1.jpg": JPEG})
    (tmp_path / "a" / os.fsdecode(b"\xff.jpg")).write_bytes(JPEG)
    images = read_folder(tmp_path)
    kept, dropped = drop_unreadable(images)
    assert (kept.paths.tolist(), len(dropped)) == (["a/1.jpg", "b/1.jpg"], 1)
    message = f"Skipping an image whose name is not UTF-8: {tmp_path}/a/\\udcff.jpg"
    assert [record.getMessage() for record in caplog.records] == [message]
    with pytest.raises(InputError, match=r"1 of 3 images .* names that are not UTF-8: a/.udcff"):
        drop_unreadable(images, strict=True)


def test_a_class_that_would_lose_all_images_is_an_error(tmp_path):
    images = write(tmp_path, {"a/1.jpg": JPEG, "b/1.jpg": b"", "b/2.jpg": JPEG[:50]})
    with pytest.raises(InputError, match=re.escape(f"{str(tmp_path / 'b')!r} has no readable")):
        drop_unreadable(images)


def test_more_images_than_one_batch_of_the_check(tmp_path):
    small = io.BytesIO()
    Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save(small, "JPEG")
    files = {f"a/{i:04d}.jpg": small.getvalue() for i in range(1100)}
    files["a/0003.jpg"] = files["a/1077.jpg"] = b"\xff\xd8\xff"
    kept, dropped = drop_unreadable(write(tmp_path, files))
    assert dropped == ["a/0003.jpg", "a/1077.jpg"]
    assert kept.paths.tolist() == [path for path in files if path not in dropped]


def bomb(file_format):
    """A header that promises 20,000 x 20,000 pixels, and hardly anything behind it."""
    if file_format == "JPEG":
        frame = JPEG.index(b"\xff\xc0")
        size = struct.pack(">HH", 20_000, 20_000)
        return JPEG[: frame + 5] + size + JPEG[frame + 9 :]
    size = struct.pack(">II", 20_000, 20_000)
    header = b"IHDR" + size + PNG[24:29]
    return PNG[:12] + header + struct.pack(">I", zlib.crc32(header)) + PNG[33:]


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_what_is_too_large_is_dropped_by_its_header(file_format, tmp_path, caplog, monkeypatch):
    decoded = []

    def decode(data):
        # Runs for each image that is decoded, and only then.
        tf.py_function(lambda data: decoded.append(len(data.numpy())), [data], [])
        return decode_image(data)

    monkeypatch.setattr(readable_images, "decode_image", decode)
    monkeypatch.setattr(readable_images, "_check", readable_images._check.__wrapped__)  # traced now
    huge = bomb(file_format)
    images = write(tmp_path, {"a/huge.jpg": huge, "a/1.jpg": JPEG, "b/1.png": PNG})
    with caplog.at_level(logging.WARNING, logger="absl"):
        kept, dropped = drop_unreadable(images)
    assert dropped == ["a/huge.jpg"]
    assert kept.paths.tolist() == ["a/1.jpg", "b/1.png"]
    assert [record.getMessage() for record in caplog.records] == [
        f"Skipping an image of more than 100000000 pixels: {tmp_path / 'a/huge.jpg'}"
    ]
    assert sorted(decoded) == sorted([len(JPEG), len(PNG)])
    with pytest.raises(
        InputError, match=r"1 of 3 images .* `max_pixels=100000000` .*: a/huge\.jpg\."
    ):
        drop_unreadable(images, strict=True)


def test_the_limit_counts_height_times_width(tmp_path):
    files = {f"a/{name}": data for name, data in SOUND.items()}
    images = write(tmp_path, files | {"b/small.png": SMALL})
    assert drop_unreadable(images, max_pixels=40 * 50)[1] == []
    too_large = sorted(files)
    with pytest.raises(InputError, match="has no readable image"):
        drop_unreadable(images, max_pixels=40 * 50 - 1)
    images = write(tmp_path, {"a/small.png": SMALL})
    assert sorted(drop_unreadable(images, max_pixels=40 * 50 - 1)[1]) == too_large


def test_other_formats_are_named_whatever_their_suffix(tmp_path, caplog):
    files = {f"a/{name}.png": encode(name) for name in ("GIF", "WEBP", "BMP", "TIFF")}
    images = write(tmp_path, files | {"a/1.png": PNG})
    kept, dropped = drop_unreadable(images)
    assert (kept.paths.tolist(), sorted(dropped)) == (["a/1.png"], sorted(files))
    what = "a file of the format {}, which is neither JPEG nor PNG"
    assert [record.getMessage() for record in caplog.records] == [
        f"Skipping {what.format(name)}: {tmp_path / path}"
        for name, path in zip(
            ("BMP", "GIF", "TIFF", "WebP"), [str(path) for path in dropped], strict=True
        )
    ]
    assert why_unreadable(files["a/GIF.png"]) == "it is GIF, neither JPEG nor PNG"


SOURCES = [
    JPEG,
    PNG,
    encode("JPEG", subsampling="4:4:4"),
    encode("JPEG", progressive=True),
    encode("JPEG", restart_marker_rows=1),
    encode("JPEG", mode="L"),
    encode("JPEG", mode="CMYK"),
    encode("PNG", mode="P"),
    encode("PNG", mode="RGBA"),
]


def corrupted(rng):
    data = bytearray(SOURCES[rng.integers(len(SOURCES))])
    kind = rng.integers(5)
    place = int(rng.integers(len(data)))
    if kind == 0:
        return bytes(data[:place])
    if kind == 1:  # in the headers, where it matters most
        place = int(rng.integers(min(len(data), 650)))
        data[place] = rng.integers(256)
    elif kind == 2:
        for place in rng.integers(len(data), size=rng.integers(1, 5)):
            data[place] ^= 1 << int(rng.integers(8))
    elif kind == 3:
        del data[place : place + int(rng.integers(1, 30))]
    else:
        data[place : place + 20] = rng.bytes(20)
    return bytes(data)


def test_what_passes_the_check_passes_every_view(tmp_path):
    rng = np.random.default_rng(0)
    files = {f"a/{i:04d}.jpg": corrupted(rng) for i in range(900)} | {"b/1.jpg": JPEG}
    kept, dropped = drop_unreadable(write(tmp_path, files))
    assert len(dropped) > 200
    assert len(kept) > 200

    def views(file, index):
        data = tf.io.read_file(file)
        drawn = [random_views(data, [8], tf.stack([seed, index]))[0] for seed in range(4)]
        return tf.stack([centre_view(data, 8), *drawn])

    paths = tf.constant([str(tmp_path / path) for path in kept.paths])
    pictures = tf.data.Dataset.from_tensor_slices((paths, tf.range(len(kept)))).map(
        views, num_parallel_calls=tf.data.AUTOTUNE
    )
    assert sum(1 for _ in pictures) == len(kept)
