import keras
import numpy as np
import pytest

from keras_distill import ConfidenceGap


def naive(targets, logits, weights=None):
    right = {1: [], 0: []}
    for i, j in np.ndindex(targets.shape):
        if targets[i, j] >= 0:
            p = 1 / (1 + np.exp(-np.float64(logits[i, j])))
            weight = 1 if weights is None else weights[i]
            right[int(targets[i, j])].append((p if targets[i, j] else 1 - p, weight))
    true, false = (np.array(right[value]).T for value in (1, 0))
    return np.average(true[0], weights=true[1]) - np.average(false[0], weights=false[1])


@pytest.fixture
def batch():
    random = np.random.default_rng(0)
    targets = random.choice([1, 0, -1], (12, 5)).astype("int8")
    return targets, np.float32(random.normal(size=(12, 5)) * 3), random.uniform(0.1, 2, 12)


@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_over_all_entries_of_all_batches(batch, weighted):
    targets, logits, weights = batch
    gap = ConfidenceGap()
    for part in (slice(5), slice(5, 12)):
        gap.update_state(targets[part], logits[part], weights[part] if weighted else None)
    expected = naive(targets, logits, weights if weighted else None)
    assert float(gap.result()) == pytest.approx(expected, rel=1e-5)
    gap.reset_state()
    assert float(gap.result()) == 0


def test_without_true_or_without_false_labels_it_is_0(batch):
    _, logits, _ = batch
    for target in (1, 0, -1):
        gap = ConfidenceGap()
        gap.update_state(np.full(logits.shape, target), logits)
        assert float(gap.result()) == 0


def test_in_a_model_and_its_config(batch):
    targets, logits, _ = batch
    inputs = keras.Input((5,))
    model = keras.Model(inputs, keras.layers.Activation("linear")(inputs))
    gap = ConfidenceGap.from_config(ConfidenceGap("gap").get_config())
    model.compile(loss="mse", metrics=[gap])
    logs = model.evaluate(logits, targets, batch_size=5, verbose=0, return_dict=True)
    assert logs["gap"] == pytest.approx(naive(targets, logits), rel=1e-5)
    per_entry = np.where(targets == 1, 2.0, 1.0)
    gap.reset_state()
    gap.update_state(targets, logits, per_entry)
    assert float(gap.result()) == pytest.approx(naive(targets, logits), rel=1e-5)
