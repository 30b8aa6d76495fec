import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.losses.arc_face import ArcFace
from keras_distill.losses.batch_hard_triplet import BatchHardTriplet
from keras_distill.losses.contrastive import Contrastive
from keras_distill.losses.teacher_references import TeacherReferences
from keras_distill.methods.distiller import Distiller

FIRST = 2**24  # float32 cannot tell the labels from here on apart
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(8) // 2


def batch(rows=9, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(-1, 3, rows)
    labels = np.where(labels < 0, -1, labels + FIRST)
    student, teacher = np.float32(random.normal(size=(2, rows, 4)))
    return labels, student, teacher, random.uniform(0, 3, rows)


def naive(labels, student, teacher, weights=None, margin=0.4):
    """The asymmetric triplet loss."""
    weights = np.ones(len(labels)) if weights is None else weights
    total = labelled = 0
    for i, anchor in enumerate(np.float64(student)):
        if labels[i] < 0:
            continue
        labelled += 1
        positive, negative = [], []
        for j, other in enumerate(np.float64(teacher)):
            length = np.linalg.norm(other)
            distance = np.linalg.norm(anchor - (other / length if length else other))
            if labels[j] == labels[i]:
                positive.append(distance)
            elif labels[j] >= 0:
                negative.append(distance)
        if positive and negative:
            total += weights[i] * max(0, max(positive) - min(negative) + margin)
    return total / max(labelled, 1)


def references(labels, teacher):
    return {"ref_labels": labels, "ref_embeddings": teacher}


@pytest.mark.parametrize("rows", [1, 2, 9, 12])
def test_equals_loops(rows):
    labels, student, teacher, weights = batch(rows, seed=rows)
    loss = TeacherReferences(BatchHardTriplet(0.4))
    both = TeacherReferences(BatchHardTriplet(0.4), and_batch=True)
    for some in (None, weights):
        value = loss(labels, student, some, **references(labels, teacher))
        expected = naive(labels, student, teacher, some)
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        value = both(labels, student, some, **references(labels, teacher))
        alone = BatchHardTriplet(0.4)(labels, student, some)
        np.testing.assert_allclose(value, expected + alone, rtol=1e-5)


def test_gradients_equal_finite_differences(numeric_gradient):
    labels, student, teacher, weights = batch()
    loss = TeacherReferences(BatchHardTriplet(0.4))
    with tf.GradientTape() as tape:
        rows, others = tf.constant(student), tf.constant(teacher)
        tape.watch([rows, others])
        value = loss(labels, rows, weights, **references(labels, others))
    to_student, to_teacher = tape.gradient(value, [rows, others])
    expected = numeric_gradient(lambda x: naive(labels, x, teacher, weights), student)
    np.testing.assert_allclose(to_student, expected, rtol=1e-3, atol=1e-4)
    assert to_teacher is None


@pytest.mark.parametrize("and_batch", [False, True])
def test_degenerate_batches(and_batch):
    for loss in (BatchHardTriplet(0.4), Contrastive()):
        loss = TeacherReferences(loss, and_batch=and_batch)
        for labels in ([0, 0, 0], [-1, -1, -1], [0, 1, 2]):
            for student in (np.zeros((3, 4)), np.ones((3, 4)), np.eye(3, 4)):
                for teacher in (np.zeros((3, 4)), np.ones((3, 4)), student):
                    with tf.GradientTape() as tape:
                        rows = tf.constant(np.float32(student))
                        tape.watch(rows)
                        value = loss(labels, rows, **references(labels, np.float32(teacher)))
                    assert np.isfinite(value)
                    gradient = tape.gradient(value, rows, unconnected_gradients="zero")
                    assert np.isfinite(gradient).all()
                    assert labels[0] >= 0 or value == 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype):
    labels, student, teacher, _ = batch()
    student = tf.cast(student, dtype)
    loss = TeacherReferences(BatchHardTriplet(0.4))
    value = loss(labels, student, **references(labels, teacher))
    assert value.dtype == "float32"
    np.testing.assert_allclose(value, naive(labels, np.float32(student), teacher), rtol=1e-4)


def test_config():
    loss = TeacherReferences(BatchHardTriplet(0.4), teacher="a", and_batch=True, name="own")
    serialized = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    copy = keras.saving.deserialize_keras_object(serialized)
    assert copy.get_config() == loss.get_config()
    labels, student, teacher, _ = batch()
    given = references(labels, teacher)
    assert copy(labels, student, **given) == loss(labels, student, **given)
    assert TeacherReferences(BatchHardTriplet()).name == "triplet"


def test_unusable_arguments():
    with pytest.raises(ValueError, match="a ArcFace, takes no references"):
        TeacherReferences(ArcFace([0, 1]))
    loss = TeacherReferences(BatchHardTriplet())
    with pytest.raises(ValueError, match=r"give the teacher's embeddings as `ref_embeddings`"):
        loss([0, 1], np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"has width 5, the student's 4.*`embedding_dim=5`"):
        loss([0, 1], np.ones((2, 4)), **references([0, 1], np.ones((2, 5))))


@pytest.mark.slow
def test_a_distiller_gives_the_teacher_alone(small_embedder):
    student, teacher = small_embedder(image_size=8), small_embedder(seed=1, image_size=8)
    loss = TeacherReferences(BatchHardTriplet(0.5))
    distiller = Distiller(student, teacher=teacher, task_loss=loss)
    distiller.compile(keras.optimizers.Adam(0.01))
    value = distiller.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)["triplet"]
    expected = naive(LABELS, student(IMAGES), teacher(IMAGES), margin=0.5)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    history = distiller.fit(IMAGES, LABELS, epochs=10, verbose=0).history["triplet"]
    assert history[-1] < history[0]
    cached = {"image": IMAGES, "teacher_embedding": teacher(IMAGES).numpy()}
    without = Distiller(student, task_loss=loss)
    without.compile("sgd")
    again = without.evaluate(cached, LABELS, verbose=0, return_dict=True)["triplet"]
    np.testing.assert_allclose(again, naive(LABELS, student(IMAGES), teacher(IMAGES), margin=0.5))


def test_one_of_several_teachers(small_embedder):
    student = small_embedder(image_size=8)
    teachers = {name: small_embedder(seed=i, image_size=8) for i, name in enumerate("ab", 1)}
    for name in "ab":
        loss = TeacherReferences(BatchHardTriplet(0.5), teacher=name)
        distiller = Distiller(student, teacher={name: teachers[name]}, task_loss=loss)
        distiller.compile("sgd")
        value = distiller.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)["triplet"]
        expected = naive(LABELS, student(IMAGES), teachers[name](IMAGES), margin=0.5)
        np.testing.assert_allclose(value, expected, rtol=1e-5)
    with pytest.raises(InputError, match=r"disagree about the teachers \['a', 'b'\]"):
        Distiller(student, teacher={"a": teachers["a"]}, task_loss=loss)
