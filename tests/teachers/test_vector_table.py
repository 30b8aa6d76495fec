import re

import numpy as np
import pytest
import tensorflow as tf

from keras_distill.data.image_set import ImageSet, image_id
from keras_distill.errors import InputError
from keras_distill.teachers.vector_table import VectorTable

PATHS = [f"class_{k % 7}/{k}.jpg" for k in range(50)]
IDS = np.array([image_id(path) for path in PATHS])


@pytest.fixture(scope="module")
def vectors():
    vectors = np.random.default_rng(0).normal(size=(50, 6)).astype("float32")
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("ids", [PATHS, IDS, np.bytes_(PATHS), [f"./{path}" for path in PATHS]])
def test_vectors_by_path_or_id(ids, vectors):
    table = VectorTable(ids, vectors)
    assert (table.needs_ids, table.embedding_dim, table.image_size) == (True, 6, None)
    assert len(table) == 50
    rows = np.random.default_rng(1).integers(0, 50, 80)
    answer = table(None, IDS[rows])
    assert answer.dtype == "float32"
    np.testing.assert_array_equal(answer, vectors[rows])


@pytest.mark.parametrize("jit_compile", [False, True])
def test_in_graphs(jit_compile, vectors):
    table = VectorTable(PATHS, vectors)
    look_up = tf.function(lambda ids: table(None, ids), jit_compile=jit_compile)
    for rows in ([3, 49, 0, 3], [1]):
        np.testing.assert_array_equal(look_up(tf.constant(IDS[rows])), vectors[rows])


def test_in_a_pipeline(vectors):
    table = VectorTable(PATHS, vectors)
    batches = tf.data.Dataset.from_tensor_slices(IDS).batch(8).map(lambda ids: table(None, ids))
    np.testing.assert_array_equal(np.concatenate(list(batches)), vectors)


@pytest.mark.parametrize("missing", [0, 2**63 - 1, int(IDS.max()) - 1, int(IDS.min()) + 1])
def test_a_missing_image_never_gets_the_vector_of_another(missing, vectors):
    table = VectorTable(PATHS, vectors)
    ids = tf.constant([IDS[4], missing, IDS[5]])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"table of vectors lacks an image"):
        table(None, ids)
    with pytest.raises(tf.errors.InvalidArgumentError, match="lacks an image"):
        list(tf.data.Dataset.from_tensors(ids).map(lambda ids: table(None, ids)))
    compiled = tf.function(lambda ids: table(None, ids), jit_compile=True)(ids)
    np.testing.assert_array_equal(compiled, [vectors[4], [np.nan] * 6, vectors[5]])


def test_needs_ids(vectors):
    with pytest.raises(ValueError, match=r"^the table of vectors needs the ids"):
        VectorTable(PATHS, vectors)(np.zeros((2, 8, 8, 3)))


def test_no_gradient(vectors):
    table = VectorTable(PATHS, vectors)
    with tf.GradientTape() as tape:
        tape.watch(table._vectors)
        answer = table(None, IDS[:2])
    assert tape.gradient(answer, table._vectors) is None


def test_halves_stay_halves(vectors):
    table = VectorTable(PATHS, vectors.astype("float16"))
    assert table._vectors.dtype == "float16"
    answer = table(None, IDS)
    assert answer.dtype == "float32"
    np.testing.assert_array_equal(answer, vectors.astype("float16").astype("float32"))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint8"])
def test_other_lengths_become_1(dtype):
    raw = np.random.default_rng(0).integers(1, 100, (50, 6)).astype(dtype)
    expected = raw / np.linalg.norm(raw.astype("float64"), axis=1, keepdims=True)
    rounding = 1e-3 if dtype == "float16" else 1e-6
    np.testing.assert_allclose(VectorTable(PATHS, raw)(None, IDS), expected, atol=rounding)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_extreme_lengths(scale, vectors):
    answer = VectorTable(PATHS, vectors * np.float32(scale))(None, IDS)
    np.testing.assert_allclose(answer, vectors, rtol=1e-5)


def test_small_departures_from_length_1_are_kept(vectors):
    vectors = vectors * np.float32(1.0005)
    np.testing.assert_array_equal(VectorTable(PATHS, vectors)(None, IDS), vectors)


def test_repeated_ids(vectors):
    table = VectorTable(PATHS + PATHS[:3], np.concatenate([vectors, vectors[:3]]))
    assert len(table) == 50
    np.testing.assert_array_equal(table(None, IDS), vectors)
    message = r"^`ids` have several different vectors: 2 of 52, such as 'class_0/0.jpg', 'cla"
    with pytest.raises(InputError, match=message):
        VectorTable(PATHS + PATHS[:2], np.concatenate([vectors, vectors[2:4]]))


def with_value(vectors, row, value):
    vectors = vectors.copy()
    vectors[row] = value
    return vectors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ids, v: (ids[:-1], v), "`ids` have the shape (49,) and `vectors` (50, 6)"),
        (lambda ids, v: (ids, v[0]), "`vectors` (6,); they must be (n,) and (n, dim)"),
        (lambda ids, v: ([ids], v[None]), "`ids` have the shape (1, 50)"),
        (lambda ids, v: (np.array([], str), v[:0]), "at least one row"),
        (
            lambda ids, v: (np.array(ids, object), v),
            "`ids` are of type object and `vectors` of type float",
        ),
        (lambda ids, v: (IDS.astype("float64"), v), "`ids` are of type float64"),
        (
            lambda ids, v: (ids, v.astype(str)),
            "ids must be strings or integers, and vectors numbers",
        ),
        (lambda ids, v: (ids, v + 1j), "`vectors` of type complex64"),
        (
            lambda ids, v: (ids, with_value(v, 7, np.nan)),
            "not finite: 1 of 50, such as 'class_0/7.",
        ),
        (
            lambda ids, v: (ids, with_value(v, 8, np.inf)),
            "not finite: 1 of 50, such as 'class_1/8.",
        ),
        (lambda ids, v: (ids, v.astype("float64") * 1e300), "not finite: 50 of 50"),
        (lambda ids, v: (ids, with_value(v, 8, 0)), "zero, which has no direction,: 1 of 50"),
    ],
)
def test_tables_of_no_use(change, message, vectors):
    ids, vectors = change(PATHS, vectors)
    with pytest.raises(InputError, match=re.escape(message)):
        VectorTable(ids, vectors)


def image_set(paths, root):
    return ImageSet(root, np.array(paths), np.zeros(len(paths), np.int64), ("all",))


def test_cover(tmp_path, vectors):
    table = VectorTable(PATHS[:-7], vectors[:-7])
    table.check_covers(image_set(PATHS[:-7], tmp_path))
    table.check_covers(image_set(PATHS[:2], tmp_path))
    with pytest.raises(
        InputError, match=r"^the table of vectors lacks 7 of 49 images, such as "
    ) as e:
        table.check_covers(image_set(PATHS[1:], tmp_path))
    named = str(e.value).partition("such as ")[2].partition(";")[0]
    assert named == ", ".join(repr(path) for path in PATHS[-7:-2])
    assert str(tmp_path) in str(e.value)


def test_fingerprint(vectors):
    fingerprint = VectorTable(PATHS, vectors).fingerprint
    assert fingerprint == VectorTable(IDS[::-1], vectors[::-1]).fingerprint
    nudged = with_value(vectors, (3, 2), np.nextafter(vectors[3, 2], np.float32(2)))
    others = [
        VectorTable(PATHS, nudged),
        VectorTable(PATHS, vectors.astype("float16")),
        VectorTable(PATHS[::-1], vectors),
        VectorTable(PATHS[1:], vectors[1:]),
    ]
    assert len({fingerprint, *(other.fingerprint for other in others)}) == 5
