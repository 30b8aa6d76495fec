import io
import zipfile

import numpy as np
import pytest

from keras_distill.data.image_set import image_id
from keras_distill.errors import InputError
from keras_distill.teachers.loading import load_teacher

PATHS = ["wren/ä 1.jpg", "wren/2.jpg", "auk/1.jpg"]
IDS = np.array([image_id(path) for path in PATHS])
VECTORS = np.eye(3, 4, dtype=np.float32)


@pytest.mark.parametrize("ids", [PATHS, IDS])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(ids, save, tmp_path):
    save(tmp_path / "table.npz", ids=ids, vectors=VECTORS, labels=[1, 1, 0])
    np.testing.assert_array_equal(load_teacher(tmp_path / "table.npz")(None, IDS), VECTORS)


@pytest.mark.parametrize(
    "text",
    ["\n".join(PATHS), "\r\n".join(PATHS) + "\r\n", "\n".join(map(str, IDS)) + "\n"],
)
def test_npy_with_ids_next_to_it(text, tmp_path):
    np.save(tmp_path / "big.table.npy", VECTORS)
    (tmp_path / "big.table.ids.txt").write_bytes(text.encode())
    np.testing.assert_array_equal(load_teacher(tmp_path / "big.table.npy")(None, IDS), VECTORS)


def test_npy_alone(tmp_path):
    np.save(tmp_path / "table.npy", VECTORS)
    with pytest.raises(
        InputError, match=r"^`path='.*table\.npy'`: '.*table\.ids\.txt' does not exist"
    ):
        load_teacher(tmp_path / "table.npy")
    (tmp_path / "table.ids.txt").write_text("a.jpg\nb.jpg\n")
    with pytest.raises(
        InputError, match=r"^`path='.*npy'`: `ids` have the shape \(2,\) and `vectors`"
    ):
        load_teacher(tmp_path / "table.npy")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"ids": PATHS}, r" has no array 'vectors', only ids; save it by np\.savez"),
        ({"x": PATHS, "y": VECTORS}, r" has no array 'ids', only x, y"),
        ({}, r"only nothing"),
        ({"ids": np.array(PATHS, object), "vectors": VECTORS}, r"without pickled objects: Object"),
        ({"ids": PATHS, "vectors": VECTORS[:, 0]}, r": `ids` have the shape \(3,\) and `vectors`"),
        ({"ids": PATHS, "vectors": 0 * VECTORS}, r": `vectors` are zero"),
    ],
)
def test_npz_of_no_use(arrays, message, tmp_path):
    np.savez(tmp_path / "table.npz", **arrays)
    with pytest.raises(InputError, match=rf"^`path='.*table\.npz'.*{message}"):
        load_teacher(tmp_path / "table.npz")


def packed(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize("name", ["table.npz", "table.npy"])
@pytest.mark.parametrize("damage", ["empty", "garbage", "truncated", "pickled", "folder"])
def test_damaged(name, damage, tmp_path):
    np.savez_compressed(tmp_path / "table.npz", ids=PATHS, vectors=VECTORS)
    np.save(tmp_path / "table.npy", VECTORS)
    (tmp_path / "table.ids.txt").write_text("\n".join(PATHS), encoding="utf-8")
    path = tmp_path / name
    content = path.read_bytes()
    path.unlink()
    replacement = {
        "empty": b"",
        "garbage": b"garbage",
        "truncated": content[:-20],
        "pickled": packed(np.array([{}], object)),
    }
    reason = "could not be read as NumPy"
    if damage == "folder":
        path.mkdir()
        reason = "holds no vectors"
    else:
        path.write_bytes(replacement[damage])
    with pytest.raises(InputError, match=rf"^`path='.*table\.np.'` {reason}"):
        load_teacher(path)


def test_kind_is_seen_by_the_content(tmp_path):
    np.savez(tmp_path / "table.npz", ids=PATHS, vectors=VECTORS)
    (tmp_path / "table.npz").rename(tmp_path / "table.npy")
    np.testing.assert_array_equal(load_teacher(tmp_path / "table.npy")(None, IDS), VECTORS)


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9])
def test_damage_within(kept, tmp_path):
    np.savez_compressed(tmp_path / "table.npz", ids=PATHS, vectors=VECTORS)
    with zipfile.ZipFile(tmp_path / "table.npz") as file:
        start = file.getinfo("vectors.npy").header_offset + len("vectors.npy") + 50
        length = file.getinfo("vectors.npy").compress_size
    content = bytearray((tmp_path / "table.npz").read_bytes())
    content[start + int(kept * (length - 20))] ^= 0xFF
    (tmp_path / "table.npz").write_bytes(content)
    with pytest.raises(InputError, match="could not be read as NumPy"):
        load_teacher(tmp_path / "table.npz")


def test_ids_that_are_no_text(tmp_path):
    np.save(tmp_path / "table.npy", VECTORS)
    (tmp_path / "table.ids.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(InputError, match=r"could not be read as NumPy arrays.*decode"):
        load_teacher(tmp_path / "table.npy")


def test_numbers_too_large_for_ids(tmp_path):
    np.save(tmp_path / "table.npy", VECTORS)
    (tmp_path / "table.ids.txt").write_text("1\n2\n9999999999999999999\n")
    with pytest.raises(InputError, match=r"table\.npy"):
        load_teacher(tmp_path / "table.npy")
