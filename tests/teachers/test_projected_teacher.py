import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.teachers.loading import load_teacher
from keras_distill.teachers.projected_teacher import fit_pca, project, save_projected_teacher
from keras_distill.teachers.teacher import Teacher, as_teacher
from keras_distill.teachers.vector_table import VectorTable


@pytest.fixture(scope="module")
def vectors():
    """Rows that vary most along directions that are no axes, around a mean that is not zero."""
    rng = np.random.default_rng(0)
    turned, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    return rng.normal(size=(50, 6)) * [5, 3, 2, 1, 0.5, 0.2] @ turned + rng.normal(size=6)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def linear(projection):
    return projection.get_layer("linear").get_weights()


@pytest.mark.parametrize("dim", [1, 3, 6])
def test_pca_is_that_of_the_singular_values(vectors, dim):
    mean = vectors.mean(0)
    _, lengths, rows = np.linalg.svd(vectors - mean, full_matrices=False)
    directions = rows[:dim].T
    directions = directions * [np.sign(max(column, key=abs)) for column in directions.T]
    projection = fit_pca(vectors, dim)
    kernel, bias = linear(projection)
    np.testing.assert_allclose(kernel, directions, atol=1e-6)
    np.testing.assert_allclose(bias, -mean @ directions, atol=1e-5)
    expected = (vectors - mean) @ directions
    np.testing.assert_allclose(expected.var(0, ddof=1), lengths[:dim] ** 2 / 49)
    np.testing.assert_allclose(projection(vectors), unit(expected), atol=1e-5)
    assert projection.output_shape == (None, dim)


def test_pca_of_all_dimensions_only_turns(vectors):
    kernel, bias = linear(fit_pca(vectors, 6))
    np.testing.assert_allclose(kernel.T @ kernel, np.eye(6), atol=1e-6)
    turned = vectors @ kernel + bias
    apart = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1)
    np.testing.assert_allclose(
        np.linalg.norm(turned[:, None] - turned[None], axis=-1), apart, atol=1e-4
    )


def test_pca_does_not_depend_on_the_order_or_the_type(vectors):
    kernel, bias = linear(fit_pca(vectors, 4))
    shuffled = np.random.default_rng(1).permutation(vectors)
    for other in (vectors.copy(), shuffled, np.float32(vectors), vectors.tolist()):
        other_kernel, other_bias = linear(fit_pca(other, 4))
        np.testing.assert_allclose(other_kernel, kernel, atol=1e-5)
        np.testing.assert_allclose(other_bias, bias, atol=1e-5)


def test_signs_are_fixed(vectors):
    kernel, _ = linear(fit_pca(vectors, 5))
    mirrored, _ = linear(fit_pca(-vectors, 5))
    np.testing.assert_allclose(mirrored, kernel, atol=1e-6)
    assert (kernel.max(0) == np.abs(kernel).max(0)).all()


@pytest.mark.parametrize("rows", [2, 3])
def test_pca_beyond_the_rank(vectors, rows):
    kernel, bias = linear(fit_pca(vectors[:rows], 5))
    np.testing.assert_allclose(kernel.T @ kernel, np.eye(5), atol=1e-6)
    coordinates = vectors[:rows] @ kernel + bias
    np.testing.assert_allclose(coordinates[:, rows - 1 :], 0, atol=1e-5)


def test_pca_of_a_single_number_each():
    answer = fit_pca(np.array([[1.0], [2.0], [4.0]]), 1)(np.array([[0.0], [9.0]]))
    np.testing.assert_array_equal(answer, [[-1], [1]])


def test_pca_is_frozen(vectors):
    projection = fit_pca(vectors, 2)
    assert projection.trainable_weights == []
    assert projection.name == "pca"


@pytest.mark.parametrize("dim", [1, 3, 6])
def test_whitened_directions_have_variance_one(vectors, dim):
    kernel, bias = linear(fit_pca(vectors, dim, whiten=True))
    whitened = vectors @ kernel + bias
    np.testing.assert_allclose(np.cov(whitened, rowvar=False), np.eye(dim), atol=1e-4)
    plain, _ = linear(fit_pca(vectors, dim))
    np.testing.assert_allclose(kernel / np.linalg.norm(kernel, axis=0), plain, atol=1e-5)
    np.testing.assert_allclose(
        fit_pca(vectors, dim, whiten=True)(vectors), unit(whitened), atol=1e-5
    )


def test_tiny_variances_are_not_blown_up(vectors):
    flat = vectors.copy()
    flat[:, 5] = 1e-7 * vectors[:, 5]
    lengths = np.linalg.svd(flat - flat.mean(0), compute_uv=False)
    kernel, _ = linear(fit_pca(flat, 6, whiten=True))
    deviations = np.sqrt(np.maximum(lengths**2, 1e-4 * lengths[0] ** 2) / 49)
    assert lengths[5] < 1e-4 * lengths[0]
    np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), 1 / deviations, rtol=1e-4)
    few, bias = linear(fit_pca(vectors[:3], 6, whiten=True))  # of rank 2
    assert np.isfinite(few).all()
    np.testing.assert_allclose((vectors[:3] @ few + bias)[:, 2:], 0, atol=1e-4)


@pytest.mark.parametrize("rows", [1, 4])
def test_equal_vectors_cannot_be_whitened(rows):
    with pytest.raises(InputError, match=rf"`vectors`: all {rows} embeddings are equal"):
        fit_pca(np.full((rows, 3), 0.1), 2, whiten=True)


@pytest.mark.parametrize("dim", [0, 7, -1])
def test_pca_of_a_width_that_cannot_be(vectors, dim):
    with pytest.raises(ValueError, match=rf"dim={dim} must be from 1 to the width .* 6"):
        fit_pca(vectors, dim)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_pca_under_mixed_precision(policy, vectors, dtype_policy):
    expected = fit_pca(vectors, 3)(vectors)
    dtype_policy(policy)
    np.testing.assert_allclose(fit_pca(vectors, 3)(vectors), expected, atol=1e-6)


# Behind a teacher


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def teacher(small_embedder):
    return as_teacher(small_embedder(8, image_size=16), preprocessing="0_1")


@pytest.fixture(scope="module")
def pca():
    return fit_pca(unit(np.random.default_rng(3).normal(size=(20, 8))), 3)


@pytest.fixture(scope="module")
def table():
    vectors = np.float32(unit(np.random.default_rng(2).normal(size=(5, 8))))
    return VectorTable([f"a/{index}.jpg" for index in range(5)], vectors)


def test_projected_teacher(teacher, pca, images):
    projected = project(teacher, pca)
    assert (projected.embedding_dim, projected.image_size) == (3, 16)
    np.testing.assert_allclose(projected(images), pca(teacher(images)), atol=1e-6)
    assert projected(images).dtype == "float32"
    assert projected.fingerprint is None


def test_projected_table(table, pca, monkeypatch):
    monkeypatch.setattr(table, "source", "made elsewhere")
    projected = project(table, pca)
    assert isinstance(projected, VectorTable)
    assert (projected.embedding_dim, projected.source) == (3, "made elsewhere")
    np.testing.assert_array_equal(projected.ids, table.ids)
    ids = table.ids[[4, 0, 4]]
    np.testing.assert_allclose(projected(None, ids), pca(table(None, ids)), atol=1e-6)


def test_projected_table_of_half_precision(table, pca):
    half = VectorTable(table.ids, np.float16(table.vectors))
    answer = project(half, pca)(None, table.ids)
    np.testing.assert_allclose(answer, pca(np.float32(half.vectors)), atol=1e-5)


def test_saved_it_answers_the_same_in_another_process(
    teacher, table, pca, images, tmp_path, run_warm_python
):
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 3, activation="tanh")(image)
    any_size = as_teacher(keras.Model(image, keras.layers.GlobalAveragePooling2D()(x)))
    projected = {
        "fixed": project(teacher, pca),
        "any": project(any_size, pca),
        "table": project(table, pca),
    }
    paths = {
        name: save_projected_teacher(projected[name], tmp_path / "run", f"projected_{name}")
        for name in projected
    }
    assert paths == {
        "fixed": tmp_path / "run" / "projected_fixed",
        "any": tmp_path / "run" / "projected_any.keras",
        "table": tmp_path / "run" / "projected_table.npz",
    }
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "projected_any.keras",
        "projected_fixed",
        "projected_table.npz",
    ]
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "ids.npy", table.ids)
    code = """
import sys
from pathlib import Path
import numpy as np
from keras_distill import load_teacher

folder = Path(sys.argv[1])
images, ids = np.load(folder / "images.npy"), np.load(folder / "ids.npy")
answers = {}
for name in ("fixed", "any.keras", "table.npz"):
    teacher = load_teacher(folder / "run" / f"projected_{name}")
    print(name, teacher.embedding_dim, teacher.image_size)
    answers[name] = teacher(images, ids)
np.savez(folder / "answers.npz", **answers)
"""
    assert run_warm_python(code, tmp_path).splitlines() == [
        "fixed 3 16",
        "any.keras 3 None",
        "table.npz 3 None",
    ]
    answers = np.load(tmp_path / "answers.npz")
    np.testing.assert_allclose(answers["fixed"], projected["fixed"](images), atol=1e-5)
    np.testing.assert_allclose(answers["any.keras"], projected["any"](images), atol=1e-5)
    np.testing.assert_allclose(answers["table.npz"], projected["table"](None, table.ids), atol=1e-6)


def test_a_teacher_that_names_its_embedding_is_saved(small_embedder, pca, images, tmp_path):
    embedder = small_embedder(8, image_size=16)
    image = keras.Input((16, 16, 3))
    named = as_teacher(keras.Model(image, {"embedding": embedder(image)}))
    path = save_projected_teacher(project(named, pca), tmp_path, "projected")
    saved = load_teacher(path)  # would warn of another structure if it held a dict
    np.testing.assert_allclose(saved(images), pca(embedder(images)), atol=1e-5)


def test_a_saved_model_is_projected_and_saved(small_embedder, pca, images, tmp_path):
    model = small_embedder(8, image_size=16)
    model.export(tmp_path / "exported", verbose=False)
    projected = project(load_teacher(tmp_path / "exported"), pca)
    path = save_projected_teacher(projected, tmp_path, "projected")
    again = load_teacher(path)
    np.testing.assert_allclose(again(images), pca(model(images, training=False)), atol=1e-5)
    assert not list(tmp_path.glob(".tmp-*"))


def test_what_is_there_is_not_replaced(teacher, pca, tmp_path):
    (tmp_path / "projected" / "mine").mkdir(parents=True)
    with pytest.raises(InputError, match="projected' could not be written"):
        save_projected_teacher(project(teacher, pca), tmp_path, "projected")
    assert [path.name for path in tmp_path.iterdir()] == ["projected"]


@pytest.mark.parametrize("owner", [None, object(), "interpreter"])
def test_a_teacher_outside_of_tensorflow_is_not_saved(owner, pca, tmp_path):
    outside = Teacher(lambda images: tf.zeros([tf.shape(images)[0], 8]), owner=owner)
    assert save_projected_teacher(project(outside, pca), tmp_path, "projected") is None
    assert list(tmp_path.iterdir()) == []
