import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.losses.arc_face import ArcFace
from keras_distill.losses.batch_all_triplet import BatchAllTriplet
from keras_distill.losses.batch_hard_triplet import BatchHardTriplet
from keras_distill.losses.contrastive import Contrastive
from keras_distill.losses.cross_batch_memory import CrossBatchMemory
from keras_distill.losses.lifted_structure import LiftedStructure
from keras_distill.losses.multi_similarity import MultiSimilarity
from keras_distill.losses.n_pairs import NPairs
from keras_distill.losses.semi_hard_triplet import SemiHardTriplet

LOSSES = [
    BatchAllTriplet(),
    BatchHardTriplet(0.2),
    Contrastive(),
    LiftedStructure(),
    MultiSimilarity(),
    NPairs(),
    SemiHardTriplet(),
]


def built(loss, size=8, **settings):
    memory = CrossBatchMemory(loss, size, **settings)
    memory.build(4)
    return memory


def content(memory):
    embeddings, labels = memory.layer.get_weights()
    return labels.tolist(), embeddings[:, 0].tolist()


def rows(values):
    return np.float32(np.outer(values, np.ones(4)))


def test_contract(contract):
    memory = built(Contrastive(0.0, 3.0))
    memory.update([2**24, -1, 2**24 + 1], np.float32(np.eye(3, 4)))
    contract(memory)


@pytest.mark.quick(8)
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_adds_the_comparison_with_earlier_batches(loss, batch):
    labels, embeddings, weights = batch
    memory = built(loss, weight=0.5)
    alone = float(loss(labels, embeddings, weights))
    assert float(memory(labels, embeddings, weights)) == pytest.approx(alone)
    earlier_labels, earlier = labels[:8][::-1], embeddings[4:]
    memory.update(earlier_labels, earlier)
    remembered = loss(
        labels, embeddings, weights, ref_labels=earlier_labels, ref_embeddings=earlier
    )
    assert float(remembered) > 0
    expected = alone + 0.5 * float(remembered)
    assert float(memory(labels, embeddings, weights)) == pytest.approx(expected, rel=1e-5)


def test_is_a_queue():
    memory = built(Contrastive(), size=5)
    assert content(memory) == ([-1] * 5, [0] * 5)
    memory.update([7, 8], rows([0.1, 0.2]).astype("float64"))
    memory.update(np.int64([[2**40], [9]]), tf.cast(rows([0.5, 0.25]), "bfloat16"))
    labels, values = content(memory)
    assert labels == [2**40, 9, 7, 8, -1]
    assert values == pytest.approx([0.5, 0.25, 0.1, 0.2, 0.0])
    memory.update([1, 2], rows([1, 2]))
    assert content(memory)[0] == [1, 2, 2**40, 9, 7]
    memory.update(range(7), rows(range(7)))
    assert content(memory) == ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])


def test_unlabelled_rows_are_not_remembered():
    memory = built(Contrastive(), size=4)
    memory.update([3, -1, 4, -1], rows([0.1, 0.2, 0.3, 0.4]))
    labels, values = content(memory)
    assert labels == [3, 4, -1, -1]
    assert values == pytest.approx([0.1, 0.3, 0.0, 0.0])
    memory.update([-1, -1], rows([0.5, 0.6]))
    assert content(memory) == (labels, values)


def test_only_update_changes_it():
    memory = built(Contrastive())
    memory.update([1, 2], rows([1, 2]))
    before = content(memory)
    memory([1, 2, 1], rows([0.1, 0.2, 0.3]))
    assert content(memory) == before


def test_no_gradient_reaches_earlier_batches():
    memory = built(Contrastive())
    earlier = tf.Variable(rows([0.1]))
    with tf.GradientTape() as tape:
        memory.update([1], earlier)
        value = memory([1], rows([0.2]))
    assert float(value) == pytest.approx(0.2)
    assert tape.gradient(value, earlier) is None
    assert not memory.layer.trainable_variables


class Learner(keras.Model):
    """Does with the loss what a model must do: builds it, tracks its layer and updates it."""

    def __init__(self, loss):
        super().__init__()
        self.task_loss = loss
        loss.build(4)
        self.task_loss_layer = loss.layer
        self.dense = keras.layers.Dense(4)

    def call(self, x):
        return self.dense(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = self.task_loss(y, y_pred, sample_weight)
        if training:
            self.task_loss.update(y, y_pred)
        return loss


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_training_fills_it_and_evaluation_does_not(jit_compile):
    memory = CrossBatchMemory(Contrastive(), 6)
    model = Learner(memory)
    model.compile(keras.optimizers.SGD(0.0), jit_compile=jit_compile)
    x, y = np.float32(np.random.default_rng(0).normal(size=(8, 3))), np.arange(8) + 2**24
    model.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    embeddings, labels = memory.layer.get_weights()
    assert (labels - 2**24).tolist() == [4, 5, 6, 7, 0, 1]
    expected = model.predict(x, verbose=0)[[4, 5, 6, 7, 0, 1]]
    np.testing.assert_allclose(embeddings, expected, rtol=1e-5)
    model.evaluate(x[::-1], y[::-1], verbose=0)
    np.testing.assert_array_equal(memory.layer.get_weights()[1], labels)


def test_weights_files_and_checkpoints_keep_the_content(tmp_path):
    x, y = np.float32(np.random.default_rng(0).normal(size=(4, 3))), np.array([0, 1, 2, 2**40])
    model = Learner(CrossBatchMemory(Contrastive(), 6))
    model.compile("sgd")
    model.fit(x, y, verbose=0)
    model.save_weights(tmp_path / "memory.weights.h5")
    checkpoint = tf.train.Checkpoint(model=model).save(str(tmp_path / "checkpoint"))
    expected = content(model.task_loss)
    assert sorted(expected[0]) == [-1, -1, 0, 1, 2, 2**40]

    copy = Learner(CrossBatchMemory(Contrastive(), 6))
    copy(x)
    copy.load_weights(tmp_path / "memory.weights.h5")
    assert content(copy.task_loss) == expected

    copy = Learner(CrossBatchMemory(Contrastive(), 6))
    copy(x)
    tf.train.Checkpoint(model=copy).restore(checkpoint).expect_partial()
    assert content(copy.task_loss) == expected


def test_class_vectors_are_trained_and_kept(tmp_path):
    x, y = np.float32(np.random.default_rng(0).normal(size=(4, 3))), np.array([0, 5, 5, 2**40])
    model = Learner(ArcFace([0, 5, 2**40]))
    before = model.task_loss.layer.get_weights()[0]
    model.compile("adam")
    model.fit(x, y, verbose=0)
    after = model.task_loss.layer.get_weights()[0]
    np.testing.assert_allclose(np.abs(after - before), 1e-3, rtol=1e-2)
    model.save_weights(tmp_path / "vectors.weights.h5")
    copy = Learner(ArcFace([0, 5, 2**40]))
    copy(x)
    copy.load_weights(tmp_path / "vectors.weights.h5")
    np.testing.assert_array_equal(copy.task_loss.layer.get_weights()[0], after)


def test_name():
    assert CrossBatchMemory(BatchHardTriplet(), 4).name == "triplet"
    assert CrossBatchMemory(BatchHardTriplet(), 4, name="remembered").name == "remembered"


def test_unusable_settings():
    with pytest.raises(ValueError, match="ArcFace, takes no references"):
        CrossBatchMemory(ArcFace([0, 1]), 4)
    with pytest.raises(ValueError, match="size=0` must be positive"):
        CrossBatchMemory(Contrastive(), 0)


def test_a_memory_that_nobody_fills():
    with pytest.raises(ValueError, match=r"Distiller\(task_loss=...\)"):
        CrossBatchMemory(Contrastive(), 4)([0, 1], rows([0, 1]))


def test_rows_that_are_not_finite_are_not_remembered():
    memory = built(BatchHardTriplet(0.2), size=4)
    memory.update([1, 2], rows([1, 2]))
    memory.update([3, 4, 5], rows([3, np.nan, np.inf]))
    assert content(memory) == ([3, 1, 2, -1], [3, 1, 2, 0])
