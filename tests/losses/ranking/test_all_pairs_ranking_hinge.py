import json
from itertools import combinations, product
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill import AllPairsRankingHinge, InputError

GOLDEN = Path(__file__).parents[2] / "golden"
REFERENCE = sorted(path.stem for path in GOLDEN.glob("rankiqa__*"))
CROWD = sorted(path.stem for path in GOLDEN.glob("crowd__rank_*"))


def read(name):
    with np.load(GOLDEN / f"{name}.npz") as file:
        return dict(file)


def laid_out(kinds, levels, images=1):
    """Levels and groups of scores in the order of the reference: kind, level, image."""
    group, level, _ = np.unravel_index(np.arange(kinds * levels * images), (kinds, levels, images))
    return level, group


def siamese(levels, scores, groups, margin):
    """A network of two branches: the sum of the hinges of all pairs, each shown by itself."""
    total = tf.constant(0.0)
    for i, j in combinations(range(len(levels)), 2):
        if groups[i] == groups[j] >= 0 and levels[i] != levels[j]:
            better, worse = (i, j) if levels[i] < levels[j] else (j, i)
            total += tf.nn.relu(margin - (scores[better] - scores[worse]))
    return total


def drawn(seed=0, rows=14):
    random = np.random.default_rng(seed)
    levels, groups = random.integers(0, 4, rows), random.integers(-1, 3, rows)
    return levels, np.float32(random.normal(size=rows) * 2), groups


@pytest.mark.parametrize("case", REFERENCE)
def test_reference(case, value_and_gradient):
    arrays = read(case)
    params = json.loads(str(arrays["params_json"]))
    levels, groups = laid_out(params["dis"], params["level"], params["batch"])
    loss = AllPairsRankingHinge(params["margin"])
    value, gradient = value_and_gradient(lambda s: loss(levels, s, groups), arrays["scores"])
    np.testing.assert_allclose(value, arrays["loss"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, arrays["grad_scores"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", CROWD)
def test_nested_crops_of_the_reference(case, value_and_gradient):
    arrays = read(case)
    levels, groups = laid_out(5, 5)
    for normalisation, suffix in (("sum", "sum"), ("rows", "div_n")):
        if f"grad_{suffix}" not in arrays:
            continue
        loss = AllPairsRankingHinge(0.0, normalisation)
        value, gradient = value_and_gradient(
            lambda s, loss=loss: loss(levels, s, groups), arrays["counts"]
        )
        np.testing.assert_allclose(value, arrays[f"loss_{suffix}"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(gradient, arrays[f"grad_{suffix}"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("margin", [0.0, 1.0])
def test_it_is_the_network_of_two_branches(margin, value_and_gradient):
    for seed in range(3):
        levels, scores, groups = drawn(seed)
        pairs = sum(
            groups[i] == groups[j] >= 0 and levels[i] < levels[j]
            for i, j in product(range(len(levels)), repeat=2)
        )
        expected, slope = value_and_gradient(
            lambda s, batch=(levels, groups): siamese(batch[0], s, batch[1], margin), scores
        )
        counts = {"sum": 1, "rows": (groups >= 0).sum(), "pairs": pairs}
        for normalisation, count in counts.items():
            loss = AllPairsRankingHinge(margin, normalisation)
            value, gradient = value_and_gradient(
                lambda s, loss=loss, batch=(levels, groups): loss(batch[0], s, batch[1]), scores
            )
            np.testing.assert_allclose(value, expected / count, rtol=1e-5)
            np.testing.assert_allclose(gradient, slope / count, rtol=1e-5, atol=1e-7)


def test_levels_and_groups_in_one_tensor_and_weights(value_and_gradient):
    levels, scores, groups = drawn()
    loss, both = AllPairsRankingHinge(1.0), np.stack([levels, groups], 1)
    assert loss(both, scores) == loss(levels, scores, groups)
    assert loss(both, scores[:, None]) == loss.batch_loss(both, scores)
    weights = np.float32(np.arange(14) % 3)
    expected = sum(
        float(siamese(levels[pair], scores[pair], groups[pair], 1.0)) * weights[pair].prod()
        for pair in map(list, combinations(range(14), 2))
    )
    for value in (loss(both, scores, weights), loss(levels, scores, groups, weights)):
        np.testing.assert_allclose(value, expected / (groups >= 0).sum(), rtol=1e-5)
    _, gradient = value_and_gradient(lambda s: loss(both, s, weights), scores)
    np.testing.assert_array_equal(gradient[weights == 0], 0)


@pytest.mark.parametrize("normalisation", ["rows", "pairs", "sum"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_degenerate_batches_are_finite(normalisation, dtype, value_and_gradient):
    loss = AllPairsRankingHinge(10.0, normalisation)
    large = tf.cast([6e4, -6e4, 6e4, -6e4], dtype)
    for levels, groups in (
        ([0, 0, 0, 0], [1, 1, 1, 1]),  # one level
        ([0, 1, 2, 3], [0, 1, 2, 3]),  # each alone
        ([0, 1, 2, 3], [-1, -1, -1, -1]),  # none in a group
    ):
        value, gradient = value_and_gradient(
            lambda s, batch=(levels, groups): loss(batch[0], s, batch[1]), large
        )
        assert value == 0
        assert value.dtype == "float32"
        np.testing.assert_array_equal(np.float32(gradient), 0)
    value, gradient = value_and_gradient(lambda s: loss([0, 1, 2, 3], s), large)
    assert np.isfinite(value)
    assert np.isfinite(np.float32(gradient)).all()
    for rows in (0, 1):
        assert loss(np.zeros(rows, np.int64), tf.zeros(rows, dtype)) == 0


def test_rows_without_a_group_may_be_anything(value_and_gradient):
    loss = AllPairsRankingHinge(1.0)
    value, gradient = value_and_gradient(
        lambda s: loss([0, 1, 0], s, [4, 4, -1]), np.float32([0, 0, np.inf])
    )
    assert value == 0.5
    np.testing.assert_array_equal(gradient, [-0.5, 0.5, 0])
    assert np.isnan(loss([0, 1], np.float32([np.nan, 0])))


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_it_compiles_for_any_batch_size(jit_compile):
    loss = AllPairsRankingHinge(1.0)
    specs = [tf.TensorSpec([None, 2], tf.int32), tf.TensorSpec([None, 1])]
    compiled = tf.function(loss.batch_loss, jit_compile=jit_compile, input_signature=specs)
    for rows in (3, 6):
        levels, scores, groups = drawn(rows, rows)
        both = np.int32(np.stack([levels, groups], 1))
        expected = loss(levels, scores, groups)
        np.testing.assert_allclose(compiled(both, scores[:, None]), expected, rtol=1e-6)


def test_configuration_and_a_plain_keras_model(tmp_path):
    loss = AllPairsRankingHinge(0.5, "pairs", name="ranked")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert copy.get_config() == loss.get_config()
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile(keras.optimizers.Adam(0.1), loss=loss)
    x = np.float32(np.random.default_rng(0).normal(size=(16, 2)))
    y = np.stack([np.argsort(np.argsort(-x[:, 0])), np.zeros(16, int)], 1)
    history = model.fit(x, y, epochs=30, batch_size=16, verbose=0).history["loss"]
    assert history[-1] < 0.2 * history[0]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(x, y, batch_size=16, verbose=0) == pytest.approx(
        model.evaluate(x, y, batch_size=16, verbose=0)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"margin": -1}, r"`margin=-1` must be 0 or more"),
        ({"margin": float("nan")}, r"`margin=nan` must be 0 or more"),
        ({"normalisation": "mean"}, r"`normalisation='mean'` is not one of 'rows', 'pairs', 'sum'"),
    ],
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(InputError, match=f"^AllPairsRankingHinge: {message}"):
        AllPairsRankingHinge(**arguments)


def test_other_shapes_are_refused():
    with pytest.raises(InputError, match=r"scores \(2, 2\); give levels"):
        AllPairsRankingHinge()([0, 1], np.zeros((2, 2), np.float32))
