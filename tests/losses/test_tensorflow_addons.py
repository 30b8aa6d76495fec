"""The losses of TensorFlow Addons as losses of this package, and as an oracle for the others."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.losses.addons_losses import ADDONS_LOSSES
from keras_distill.losses.batch_hard_triplet import BatchHardTriplet
from keras_distill.losses.contrastive import Contrastive
from keras_distill.losses.lifted_structure import LiftedStructure
from keras_distill.losses.n_pairs import NPairs
from keras_distill.losses.semi_hard_triplet import SemiHardTriplet
from keras_distill.losses.tensorflow_addons import AddonsLoss
from keras_distill.methods.distiller import Distiller

pytestmark = pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="TensorFlow Addons exists for Python 3.11 only"
)

BALANCED = np.repeat([3, 0, 2, 1], 3)  # as many rows of each class
UNBALANCED = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 4])  # 4 has one row


@pytest.fixture(scope="module")
def originals():
    """The functions of TensorFlow Addons by the names of the losses."""
    AddonsLoss("npairs")
    from tensorflow_addons import losses

    return {name: getattr(losses, f"{name}_loss") for name in ADDONS_LOSSES}


@pytest.fixture(params=range(3))
def units(request):
    """Embeddings `(12, 4)` of length 1."""
    embeddings = np.random.default_rng(request.param).normal(size=(12, 4))
    return np.float32(embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True))


@pytest.fixture
def assert_equal(value_and_gradient, units):
    def compare(function, expected):
        value, gradient = value_and_gradient(function, units)
        expected_value, expected_gradient = value_and_gradient(expected, units)
        assert value > 0
        np.testing.assert_allclose(value, expected_value, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-3, atol=1e-5)

    return compare


def pairs(labels):
    """A matrix that takes the differences of all pairs of rows, and which are of one class."""
    first, second = np.triu_indices(len(labels), 1)
    rows = np.eye(len(labels), dtype="float32")
    return rows[first] - rows[second], labels[first] == labels[second]


# As losses of this package


@pytest.mark.parametrize("name", ADDONS_LOSSES)
def test_contract(contract, name):
    loss = AddonsLoss(name)
    if (name, contract.__name__) == ("lifted_struct", "is_finite_for_degenerate_batches"):
        # Long embeddings make it overflow; see the next test.
        contract(lambda labels, rows: loss(labels, tf.clip_by_value(rows, -9, 9)))
    else:
        contract(loss)


def test_lifted_struct_overflows_where_ours_does_not():
    labels, rows = np.array([0, 0, 1]), np.float32([[0], [0], [100]])
    assert np.isnan(AddonsLoss("lifted_struct")(labels, rows))
    assert np.isfinite(AddonsLoss("lifted_struct")(labels, rows / 2))
    assert LiftedStructure()(labels, rows) == 0


@pytest.mark.quick(3)
@pytest.mark.parametrize("name", ["triplet_semihard", "triplet_hard", "lifted_struct"])
def test_value_is_that_of_the_labelled_rows(name, batch, originals):
    labels, embeddings, _ = batch
    expected = originals[name](labels[labels >= 0], embeddings[labels >= 0], 0.7)
    assert expected > 0
    np.testing.assert_allclose(AddonsLoss(name, 0.7)(labels, embeddings), expected, rtol=1e-5)


def test_contrastive_goes_over_all_pairs(batch, originals):
    labels, embeddings, _ = batch
    difference, same = pairs(labels[labels >= 0])
    distances = tf.norm(difference @ embeddings[labels >= 0], axis=1)
    each = originals["contrastive"](same, distances, 2.0)
    np.testing.assert_allclose(
        AddonsLoss("contrastive", 2.0)(labels, embeddings), np.mean(each), rtol=1e-5
    )


def test_npairs_pairs_the_rows_of_each_class_in_their_order(units, originals):
    labels = np.array([5, 9, 5, -1, 9, 5, 9, 7, 5, 9, 5, -1])  # a fifth 5 and 7 have no partner
    first, second = [0, 1, 5, 6], [2, 4, 8, 9]
    expected = originals["npairs"](labels[first], 3.0 * units[first] @ units[second].T)
    assert expected > 0
    np.testing.assert_allclose(AddonsLoss("npairs", scale=3.0)(labels, units), expected, rtol=1e-5)


@pytest.mark.parametrize("name", ADDONS_LOSSES)
def test_large_labels_stay_apart(name, units):
    loss = AddonsLoss(name)
    value = loss(UNBALANCED, units)
    for first in (2**24, 2**53, 2**63 - 5):
        np.testing.assert_array_equal(loss(UNBALANCED + first, units), value)
    assert loss(0 * UNBALANCED, units) != value


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("triplet_semihard", [0, 1, 2]),
        ("lifted_struct", [0, 1, 2]),
        ("lifted_struct", [0, 0, 0]),
        ("npairs", []),
    ],
)
def test_what_is_nan_there_is_zero_here(name, labels, originals):
    rows = np.eye(3, 4, dtype="float32")[: len(labels)]
    assert np.isnan(originals[name](np.array(labels), rows @ rows.T if name == "npairs" else rows))
    assert AddonsLoss(name)(np.array(labels, "int64"), rows) == 0


def test_batches_of_one_class_are_pulled_together():
    labels, rows = np.zeros(2, int), np.float32([[0, 1], [1, 0]])
    assert float(AddonsLoss("triplet_semihard")(labels, rows)) == pytest.approx(2**0.5 + 1)
    assert float(AddonsLoss("triplet_hard")(labels, rows)) == pytest.approx(1)
    assert SemiHardTriplet(1.0)(labels, rows) == BatchHardTriplet(1.0)(labels, rows) == 0


@pytest.mark.parametrize("name", ADDONS_LOSSES)
def test_settings(name):
    loss = AddonsLoss(name)
    assert (loss.name, loss.loss) == (name, name)
    assert (loss.margin, loss.scale) == ((None, 1) if name == "npairs" else (1, None))
    assert AddonsLoss(name, name="other").name == "other"


def test_sample_weight_is_refused():
    with pytest.raises(ValueError, match="npairs has one value for a batch; give no sample_weig"):
        AddonsLoss("npairs")([0, 0], np.eye(2, dtype="float32"), [1.0, 2.0])


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_trains_a_student(jit_compile):
    keras.utils.set_random_seed(0)
    images = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")
    layers = [keras.Input((6,)), keras.layers.Dense(4), keras.layers.UnitNormalization()]
    student = keras.Sequential(layers)
    distiller = Distiller(student, task_loss=AddonsLoss("triplet_semihard", 0.2))
    distiller.compile("sgd", jit_compile=jit_compile)
    labels = np.arange(16) // 2 % 4 - 1  # some unlabelled
    history = distiller.fit(images, labels, batch_size=8, epochs=4, verbose=0).history
    assert history.keys() == {"loss", "triplet_semihard"}
    assert history["loss"][-1] < history["loss"][0]


@pytest.mark.slow
@pytest.mark.parametrize("used", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_nothing_else_in_the_process_changes(run_python, used):
    printed = run_python(
        """
import os
import sys
import warnings

import keras
import numpy as np
import tensorflow as tf

used = sys.argv[1] == "True" and (tf.keras.layers.Dense, tf.keras)
from keras_distill import AddonsLoss

def state():
    modules = {name for name in sys.modules if name.startswith(("tensorflow.keras", "keras."))}
    return dict(os.environ), modules, sys.path[:], warnings.filters[:]

assert not {"tensorflow_addons", "tf_keras"} & set(sys.modules)
before, attribute = state(), vars(tf)["keras"]
with warnings.catch_warnings():
    warnings.simplefilter("error")
    loss = AddonsLoss("triplet_hard")
assert state() == before
assert vars(tf)["keras"] is attribute
assert not used or used == (tf.keras.layers.Dense, tf.keras)
from tensorflow.keras.layers import Dense
assert tf.keras.layers.Dense is Dense is keras.layers.Dense
model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
model.compile("adam", "mse")
model.fit(np.eye(3), np.ones((3, 2)), verbose=0)
print(keras.__version__[0], tf.keras.__version__[0])
print(f"{float(loss([0, 0, 1], [[0.0], [1.0], [1.0]])):.4f}")
""",
        used,
    )
    assert printed.split() == ["3", "3", "1.3333"]


# As an oracle


def test_semi_hard_triplets(assert_equal):
    ours, theirs = SemiHardTriplet(0.3), AddonsLoss("triplet_semihard", 0.3)
    assert_equal(lambda x: ours(BALANCED, x), lambda x: theirs(BALANCED, x))


@pytest.mark.parametrize("labels", [BALANCED, UNBALANCED])
def test_batch_hard_triplets(labels, assert_equal):
    ours, theirs = BatchHardTriplet(0.3), AddonsLoss("triplet_hard", 0.3)
    assert_equal(lambda x: ours(labels, x), lambda x: theirs(labels, x))


@pytest.mark.parametrize("labels", [BALANCED, UNBALANCED])
def test_lifted_structures(labels, assert_equal):
    ours, theirs = LiftedStructure(0.8), AddonsLoss("lifted_struct", 0.8)
    assert_equal(lambda x: ours(labels, x), lambda x: theirs(labels, x))


def test_n_pairs(assert_equal):
    labels, theirs = np.arange(12) // 2, AddonsLoss("npairs", scale=5.0)

    def ours(x):
        references = {"ref_labels": labels[1::2], "ref_embeddings": x[1::2]}
        return NPairs(5.0)(labels[::2], x[::2], **references)

    assert_equal(ours, lambda x: theirs(labels, x))


def test_contrasts_are_the_roots_of_theirs(assert_equal, originals):
    difference, same = pairs(UNBALANCED)

    def theirs(x):
        losses = originals["contrastive"](same, tf.norm(tf.matmul(difference, x), axis=1), 1.0)
        kinds = [tf.boolean_mask(losses, (losses > 0) & kind) for kind in (same, ~same)]
        return sum(tf.reduce_mean(tf.sqrt(kind)) for kind in kinds)

    assert_equal(lambda x: Contrastive()(UNBALANCED, x), theirs)


def test_keras_is_keras_3():
    assert keras.__version__.startswith("3.")
    assert tf.keras.Model is keras.Model
    assert not any(name.startswith("keras.src.engine") for name in sys.modules)
