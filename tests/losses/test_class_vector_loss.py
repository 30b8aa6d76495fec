import numpy as np
import pytest
from keras import ops

from keras_distill.losses.class_vector_loss import ClassVectorLoss

CLASSES = [3, 2**24, 2**24 + 1, 2**40]


class Own(ClassVectorLoss):
    """Adds up the cosines of the rows with their own classes; remembers what it was given."""

    def compare(self, cosines, own, weights):
        self.arguments = cosines, own, weights
        return ops.sum(ops.where(own, cosines, 0.0) * weights[:, None])


def built(classes=CLASSES, dim=4):
    loss = Own(classes, "own")
    loss.build(dim)
    return loss


def test_compares_with_the_own_class():
    loss = built()
    loss.layer.set_weights([np.float32(5 * np.eye(4))])
    rows = np.float64([[3, 4, 0, 0], [0, 0, 2, 0], [1, 0, 0, 0]])
    labels = np.array([2**24, 2**24 + 1, 2**40])
    assert float(loss(labels, rows)) == pytest.approx(0.8 + 1.0)
    cosines, own, weights = loss.arguments
    np.testing.assert_allclose(cosines, [[0.6, 0.8, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]], rtol=1e-6)
    np.testing.assert_array_equal(own, np.eye(4, dtype=bool)[1:])
    np.testing.assert_array_equal(weights, [1, 1, 1])
    assert float(loss(labels[:, None], rows, [[2.0], [0.5], [1.0]])) == pytest.approx(1.6 + 0.5)


def test_other_labels_have_no_class():
    loss = built()
    assert float(loss(np.array([-1, 0, 4, 2**24 + 2, 2**41]), np.ones((5, 4)))) == 0
    assert not np.any(loss.arguments[1])


def test_classes_are_sorted_and_unique():
    assert Own([7, 3, 7], "own").get_config() == {"name": "own", "classes": [3, 7]}
    np.testing.assert_array_equal(Own(np.uint8([5, 0]), "own").classes, [0, 5])


@pytest.mark.parametrize("classes", [[], [0.0, 1.0], [-1, 0], ["a"]])
def test_unusable_classes(classes):
    with pytest.raises(ValueError, match="Own: `classes` must be the labels of the training set"):
        Own(classes, "own")


def test_float_labels():
    with pytest.raises(TypeError, match="must be integers"):
        built()([3.0], np.ones((1, 4)))


def test_a_loss_whose_vectors_nobody_trains():
    with pytest.raises(ValueError, match=r"Distiller\(task_loss=...\)"):
        Own(CLASSES, "own")([3], np.ones((1, 4)))


def test_building_again_keeps_the_vectors():
    loss = built()
    before = loss.layer.get_weights()[0]
    loss.build(4)
    np.testing.assert_array_equal(loss.layer.get_weights()[0], before)
    assert len(loss.layer.trainable_variables) == 1
    assert before.shape == (4, 4)


def test_subclass_without_compare():
    loss = type("Empty", (ClassVectorLoss,), {})(CLASSES, "empty")
    loss.build(4)
    with pytest.raises(ValueError, match=r"Empty must implement compare\(\)"):
        loss([3], np.ones((1, 4)))


def test_vectors_start_from_means_of_the_classes():
    loss = built()
    random = np.random.default_rng(0)
    labels = np.array([3, 2**24, 2**24 + 1, 2**40, 3, 7, -1, 3])
    embeddings = random.normal(size=(8, 4)) * random.uniform(0.1, 9, (8, 1))
    loss.start_from(labels, embeddings)
    rows = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    means = np.stack([rows[labels == label].mean(axis=0) for label in CLASSES])
    found = loss.layer.get_weights()[0]
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 0.02, rtol=1e-5)
    np.testing.assert_allclose(
        found / 0.02, means / np.linalg.norm(means, axis=1, keepdims=True), atol=1e-5
    )


def test_a_mean_without_direction_starts_at_random():
    loss = Own([0, 1], "own")
    loss.start_from([0, 0, 1], [[1.0, 0.0], [-1.0, 0.0], [0.0, 3.0]])
    vectors = loss.layer.get_weights()[0]
    assert np.linalg.norm(vectors[0]) > 0
    np.testing.assert_allclose(vectors[1], [0, 0.01 * 2**0.5], rtol=1e-5)


def test_vectors_that_cannot_start_there():
    with pytest.raises(ValueError, match=r"holds no embedding of 2 of 4 classes, such as 16777217"):
        built().start_from([3, 2**24], np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"`embeddings` have width 3, the class vectors 4"):
        built().start_from(CLASSES, np.ones((4, 3)))
