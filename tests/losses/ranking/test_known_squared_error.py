from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill import AllPairsRankingHinge, InputError, KnownSquaredError

GOLDEN = Path(__file__).parents[2] / "golden"
NAN = np.nan


def test_it_is_the_mean_over_known_rows(value_and_gradient):
    random = np.random.default_rng(0)
    outputs = np.float32(random.normal(size=(5, 3, 2, 1)))
    targets = np.float32(random.normal(size=(5, 3, 2, 1)))
    targets[[1, 4]] = NAN
    weights = np.float32([1, 7, 2, 0, 3])
    known = [0, 2, 3]
    for given in (None, weights):
        w = np.ones(5) if given is None else weights
        rows = ((outputs - targets) ** 2).sum((1, 2, 3)) * w
        slope = np.zeros_like(outputs)
        slope[known] = 2 * (outputs - targets)[known] * w[known, None, None, None]
        for reduction, count in (("sum", 1), ("mean", 3)):
            loss = KnownSquaredError(reduction)
            value, gradient = value_and_gradient(
                lambda x, loss=loss, given=given: loss(targets, x, given), outputs
            )
            np.testing.assert_allclose(value, rows[known].sum() / count, rtol=1e-5)
            np.testing.assert_allclose(gradient, slope / count, rtol=1e-5, atol=1e-6)


def test_the_terms_of_crowd_counting_add_up(value_and_gradient):
    with np.load(GOLDEN / "crowd__multitask_formula.npz") as file:
        arrays = dict(file)
    squares, ranks = KnownSquaredError(), AllPairsRankingHinge(0.0, "sum")
    levels, groups = np.tile(np.arange(5), 2), np.repeat([0, 1], 5)
    value, gradient = value_and_gradient(
        lambda x: squares(arrays["density_true"], x), arrays["density_pred"]
    )
    np.testing.assert_allclose(value, arrays["L_count_f64"], rtol=1e-5)
    np.testing.assert_allclose(gradient, arrays["grad_density_pred_f64"], rtol=1e-4, atol=1e-6)
    ranked, slope = value_and_gradient(
        lambda x: ranks(levels, tf.reduce_mean(x, [1, 2]), groups), arrays["density_rank"]
    )
    np.testing.assert_allclose(ranked, arrays["L_rank_f64"], rtol=1e-5)
    np.testing.assert_allclose(100 * slope, arrays["grad_density_rank_f64"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(value + 100 * ranked, arrays["loss_f64"], rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_unknown_rows_give_nothing(dtype, value_and_gradient):
    outputs = tf.cast([[1.0], [-2.0]], dtype)
    for targets in ([NAN, NAN], [[NAN], [NAN]]):
        value, gradient = value_and_gradient(
            lambda x, y=targets: KnownSquaredError()(np.float32(y), x), outputs
        )
        assert value == 0
        np.testing.assert_array_equal(np.float32(gradient), 0)
    value, gradient = value_and_gradient(
        lambda x: KnownSquaredError()(np.float32([0, NAN]), x), tf.cast([100.0, np.inf], dtype)
    )
    assert value == 10000
    np.testing.assert_array_equal(np.float32(gradient), [200, 0])


def test_configuration():
    loss = KnownSquaredError("sum", name="score")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert copy.get_config() == loss.get_config() == {"reduction": "sum", "name": "score"}


def test_other_shapes_are_refused():
    with pytest.raises(InputError, match=r"targets have the shape \(2, 3\), outputs \(2, 1\)"):
        KnownSquaredError()(np.zeros((2, 3)), np.zeros((2, 1), np.float32))
