import keras
import numpy as np
import pytest

from keras_distill.losses.relaxed_contrastive import RelaxedContrastive
from keras_distill.methods.distiller import Distiller
from keras_distill.models.embedder import build_embedder


def unit(row):
    length = np.linalg.norm(row)
    return row / length if length else row


def naive(teacher, student, *, reduction="mean", sample_weight=None, sigma=1.0, delta=1.0):
    teacher, student = np.float64(teacher), np.float64(student)
    n = len(student)
    weight = np.ones(n) if sample_weight is None else sample_weight
    total = 0.0
    for i in range(n):
        mean = 0.0
        for j in range(n):
            if i != j:
                mean += weight[j] * max(np.linalg.norm(student[i] - student[j]), 1e-6)
        mean = max(mean / max(sum(weight), 1e-12), 1e-6)
        for j in range(n):
            if i != j:
                squared = max(np.sum((unit(teacher[i]) - unit(teacher[j])) ** 2), 1e-12)
                together = np.exp(-squared / sigma)
                d = max(np.linalg.norm(student[i] - student[j]), 1e-6) / mean
                pair = together * d**2 + (1 - together) * max(0, delta - d) ** 2
                total += weight[i] * weight[j] * pair
    return total / n if reduction == "mean" else total


def test_contract(teacher_contract):
    teacher_contract(RelaxedContrastive, naive, name="relaxed_contrastive", imitates=False)


def test_kernel_and_margin_of_ones_own():
    teacher, student = np.random.default_rng(0).normal(size=(2, 6, 4))
    for settings in ({"sigma": 0.3}, {"delta": 1.7}, {"sigma": 4.0, "delta": 0.5}):
        value = RelaxedContrastive(**settings)(teacher, student)
        np.testing.assert_allclose(value, naive(teacher, student, **settings), rtol=1e-4)
        assert abs(value - naive(teacher, student)) > 1e-3


def test_lengths_of_the_teacher_and_scale_of_the_student_do_not_matter():
    random = np.random.default_rng(0)
    teacher, student = random.normal(size=(8, 6)), random.normal(size=(8, 3))
    value = RelaxedContrastive()(teacher, student)
    lengths = random.uniform(0.1, 10, size=(8, 1))
    np.testing.assert_allclose(RelaxedContrastive()(lengths * teacher, student), value, rtol=1e-5)
    np.testing.assert_allclose(RelaxedContrastive()(teacher, 0.01 * student - 3), value, rtol=1e-3)


@pytest.mark.parametrize("argument", ["sigma", "delta"])
def test_unusable_settings(argument):
    with pytest.raises(ValueError, match=rf"`{argument}=0` must be positive"):
        RelaxedContrastive(**{argument: 0})


IMAGES = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
VECTORS = np.float32(np.random.default_rng(1).normal(size=(6, 5)))


def headless(small_embedder):
    student = small_embedder(batch_norm=False)
    return keras.Model(student.input, student.layers[-1].input)


def embedder(small_embedder):
    return build_embedder(
        "mobilenet", alpha=0.25, image_size=32, embedding_dim=4, backbone_weights="none"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "build", [lambda small_embedder: small_embedder(batch_norm=False), headless, embedder]
)
def test_distiller_gives_it_the_vectors_before_their_normalisation(build, small_embedder):
    student = build(small_embedder)
    layer = "head" if student.name == "embedder" else student.layers[4].name
    expected = naive(VECTORS, keras.Model(student.input, student.get_layer(layer).output)(IMAGES))
    distiller = Distiller(student, teacher_losses=[RelaxedContrastive()])
    distiller.compile("sgd")
    x = {"image": IMAGES, "teacher_embedding": VECTORS}
    value = distiller.evaluate(x, verbose=0, return_dict=True)["relaxed_contrastive"]
    np.testing.assert_allclose(value, expected, rtol=1e-3)
    before = student.get_weights()
    distiller.fit(x, verbose=0)
    assert any((a != b).any() for a, b in zip(student.get_weights(), before, strict=True))
