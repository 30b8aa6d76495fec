import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.losses.anchor_kl import AnchorKL
from keras_distill.methods.distiller import Distiller
from keras_distill.training.training_variables import (
    OPTIMIZER,
    WEIGHTS,
    assign_variables,
    read_variables,
)

RANDOM = np.random.default_rng(0)
TEACHER, STUDENT = np.float32(RANDOM.normal(size=(2, 6, 4)))
ANCHORS = np.float32(RANDOM.normal(size=(9, 4)) + 0.5)
WEIGHT = RANDOM.uniform(0.5, 2, 6)


def unit(row):
    length = np.linalg.norm(row)
    return row / length if length else row


def around(mean, row):
    difference = unit(row) - mean
    return unit(difference) if np.linalg.norm(difference) >= 1e-6 else 0 * difference


def divergence(t, s, anchors, t_teacher, t_student):
    p = [np.exp((a @ t - 1) / t_teacher) for a in anchors]  # no cosine is above 1
    q = [np.exp((a @ s - 1) / t_student) for a in anchors]
    total = 0.0
    for one, other in zip(p, q, strict=True):
        share = one / sum(p)
        total += share * (np.log(share) - np.log(other / sum(q)))
    return total


def naive(
    teacher,
    student,
    *,
    reduction="mean",
    sample_weight=None,
    given=None,
    earlier=(),
    temperatures=(0.07, 0.07),
    centred=True,
):
    teacher, student = np.float64(teacher), np.float64(student)
    n = len(student)
    weight = np.ones(n) if sample_weight is None else sample_weight
    rows = [*teacher[weight > 0], *earlier] if given is None else given
    rows = [unit(row) for row in np.float64(rows)]
    mean = sum(rows) / max(len(rows), 1)
    move = (lambda row: around(mean, row)) if centred else unit
    total = 0.0
    for w, t, s in zip(weight, teacher, student, strict=True):
        if w:
            total += w * divergence(move(t), move(s), [move(row) for row in rows], *temperatures)
    return total / n if reduction == "mean" else total


def built(**settings):
    loss = AnchorKL(**settings)
    loss.build(4, 4)
    return loss


def content(loss):
    embeddings, labels = loss.layer.get_weights()
    return labels.tolist(), embeddings


def test_contract(teacher_contract):
    teacher_contract(AnchorKL, naive, name="anchor_kl", equal_widths=True, atol=2e-5)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("temperatures", [(0.07, 0.07), (0.02, 0.2)])
def test_given_anchors(centred, temperatures, value_and_gradient, numeric_gradient):
    loss = AnchorKL(
        ANCHORS,
        teacher_temperature=temperatures[0],
        student_temperature=temperatures[1],
        centred=centred,
    )
    expected = {"given": ANCHORS, "temperatures": temperatures, "centred": centred}
    value, gradient = value_and_gradient(lambda x: loss(TEACHER, x, WEIGHT), STUDENT)
    np.testing.assert_allclose(
        value, naive(TEACHER, STUDENT, sample_weight=WEIGHT, **expected), rtol=1e-4
    )
    slopes = numeric_gradient(
        lambda x: naive(TEACHER, x, sample_weight=WEIGHT, **expected), STUDENT
    )
    np.testing.assert_allclose(gradient, slopes, rtol=1e-3, atol=1e-4)
    lengths = np.float32(RANDOM.uniform(0.1, 9, (6, 1)))  # do not matter
    np.testing.assert_allclose(loss(lengths * TEACHER, STUDENT / lengths, WEIGHT), value, rtol=1e-4)
    assert loss.layer is None


def test_degenerate_anchors(value_and_gradient):
    for anchors in (np.zeros((3, 4)), np.ones((3, 4)), np.eye(2, 4), -ANCHORS[[0, 0]]):
        loss = AnchorKL(anchors)
        for rows in (np.zeros((6, 4)), np.ones((6, 4)), 1e18 * ANCHORS[:6]):
            for teacher, student in ((TEACHER, rows), (rows, STUDENT)):
                value, gradient = value_and_gradient(
                    lambda x, teacher=teacher: loss(teacher, x),  # noqa: B023
                    np.float32(student),
                )
                expected = naive(teacher, student, given=anchors)
                np.testing.assert_allclose(value, expected, 1e-4, 1e-5)
                assert np.isfinite(gradient).all()


def test_centring_ignores_what_all_share():
    common = 50 * np.eye(4)[0]
    near = AnchorKL(ANCHORS + common), TEACHER + common, STUDENT + common
    flat = AnchorKL(ANCHORS + common, centred=False), *near[1:]
    assert float(flat[0](*flat[1:])) < 0.02 < 0.5 < float(near[0](*near[1:]))


def test_anchors_of_a_queue():
    loss = built(queue=8)
    np.testing.assert_allclose(loss(TEACHER, STUDENT), naive(TEACHER, STUDENT), rtol=1e-4)
    assert content(loss)[0] == [-1] * 8  # only `update` fills it
    loss.update(3 * ANCHORS[:3], [1.0, 0.0, 2.0])
    loss.update(tf.cast(ANCHORS[3:5], "bfloat16"))
    labels, embeddings = content(loss)
    assert labels == [0, 0, 0, 0, -1, -1, -1, -1]
    earlier = np.array([unit(ANCHORS[row]) for row in (3, 4, 0, 2)])
    np.testing.assert_allclose(embeddings[:4], earlier, atol=1e-2)
    np.testing.assert_allclose(np.linalg.norm(embeddings[:4], axis=1), 1, rtol=1e-5)
    for weight in (None, np.array([1.0, 0, 2, 0, 0.5, 1])):
        expected = naive(TEACHER, STUDENT, sample_weight=weight, earlier=embeddings[:4])
        np.testing.assert_allclose(loss(TEACHER, STUDENT, weight), expected, rtol=1e-4)
    loss.update(np.full((2, 4), np.nan))
    assert content(loss)[0] == labels
    loss.update(np.concatenate([ANCHORS, TEACHER]))
    np.testing.assert_allclose(content(loss)[1], [unit(row) for row in ANCHORS[:8]], rtol=1e-5)


def distiller(small_embedder, loss, seed=0):
    made = Distiller(
        small_embedder(seed=seed, image_size=8),
        teacher=small_embedder(seed=1, image_size=8),
        teacher_losses=[loss],
    )
    made.compile(keras.optimizers.SGD(0.1))
    return made


IMAGES = RANDOM.integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)


def test_training_fills_the_queue_and_saving_keeps_it(small_embedder, tmp_path):
    trained = distiller(small_embedder, AnchorKL(queue=6))
    trained.fit(IMAGES, batch_size=4, shuffle=False, verbose=0)
    labels, embeddings = content(trained.teacher_losses[0])
    assert labels == [0] * 6
    order = [4, 5, 6, 7, 0, 1]
    np.testing.assert_allclose(embeddings, trained.teacher(IMAGES).numpy()[order], rtol=1e-5)
    trained.evaluate(IMAGES, verbose=0)
    assert content(trained.teacher_losses[0])[0] == labels
    assert np.array_equal(content(trained.teacher_losses[0])[1], embeddings)
    resumed = distiller(small_embedder, AnchorKL(queue=6))
    assign_variables(resumed, read_variables(trained), WEIGHTS, OPTIMIZER)  # as a checkpoint does
    for model in (trained, resumed):
        model.fit(IMAGES, batch_size=4, shuffle=False, verbose=0)
    for weight, other in zip(resumed.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)
    embeddings = content(trained.teacher_losses[0])[1]
    value = trained.evaluate(IMAGES, verbose=0, return_dict=True)["anchor_kl"]
    trained.save(tmp_path / "trained.keras")
    loaded = keras.models.load_model(tmp_path / "trained.keras")
    np.testing.assert_array_equal(content(loaded.teacher_losses[0])[1], embeddings)
    loaded.teacher = trained.teacher
    assert loaded.evaluate(IMAGES, verbose=0, return_dict=True)["anchor_kl"] == pytest.approx(value)


def test_given_anchors_are_trained_towards_and_saved(small_embedder, tmp_path):
    teacher = small_embedder(seed=1, image_size=8)
    trained = distiller(small_embedder, AnchorKL(anchors=teacher.predict(IMAGES, verbose=0)))
    history = trained.fit(IMAGES, epochs=30, verbose=0).history["anchor_kl"]
    assert history[-1] < 0.5 * history[0]
    assert not trained.teacher_loss_layers  # no variable of a checkpoint
    trained.save(tmp_path / "trained.keras")
    loaded = keras.models.load_model(tmp_path / "trained.keras")
    np.testing.assert_array_equal(
        loaded.teacher_losses[0].anchors, trained.teacher_losses[0].anchors
    )


def test_config_holds_the_anchors():
    loss = AnchorKL(ANCHORS, teacher_temperature=0.5, centred=False, reduction="sum", name="all")
    serialized = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    copy = keras.saving.deserialize_keras_object(serialized)
    np.testing.assert_array_equal(copy.anchors, ANCHORS)
    assert copy.get_config() == loss.get_config()
    assert copy(TEACHER, STUDENT) == loss(TEACHER, STUDENT)
    assert AnchorKL.from_config(AnchorKL(queue=7).get_config()).queue == 7
    assert AnchorKL().queue == 1024


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"anchors": ANCHORS, "queue": 4}, "queue=4` has no effect if there are `anchors`"),
        ({"queue": 0}, "queue=0` must be positive"),
        ({"teacher_temperature": 0}, "teacher_temperature=0` must be positive"),
        ({"student_temperature": float("nan")}, "student_temperature=nan` must be positive"),
        ({"anchors": ANCHORS[0]}, r"two or more finite rows .*; they are \(4,\), 100% of them"),
        ({"anchors": ANCHORS[:1]}, r"two or more finite rows .*; they are \(1, 4\)"),
        ({"anchors": [[1.0], [np.nan]]}, "50% of them finite"),
    ],
)
def test_unusable_settings(settings, said):
    with pytest.raises(ValueError, match=said):
        AnchorKL(**settings)


def test_anchors_of_another_width():
    with pytest.raises(ValueError, match=r"the anchors have width 4, but the teacher's .* has 3"):
        AnchorKL(ANCHORS)(TEACHER[:, :3], STUDENT[:, :3])
    with pytest.raises(ValueError, match="width 4, the student's 3"):
        AnchorKL(ANCHORS)(TEACHER, STUDENT[:, :3])


def test_a_queue_that_nobody_fills():
    with pytest.raises(ValueError, match=r"Distiller\(teacher_losses=\[\.\.\.\]\)"):
        AnchorKL()(TEACHER, STUDENT)
