import numpy as np
import pytest

from keras_distill.errors import InputError
from keras_distill.models.album_means import mean_probabilities, mean_vectors

RANDOM = np.random.default_rng(0)
VECTORS = RANDOM.normal(size=(4, 6, 3))
MASK = RANDOM.integers(0, 2, (4, 6))
MASK[0], MASK[1] = 1, 0


def naive(vectors):
    rows = []
    for album, present in zip(vectors, MASK, strict=True):
        chosen = [v for v, p in zip(album, present, strict=True) if p]
        rows.append(np.mean(chosen, axis=0) if chosen else np.zeros(3))
    return rows


def test_mean_vectors():
    spoilt = np.where(MASK[..., None] == 1, VECTORS, np.nan)
    np.testing.assert_allclose(mean_vectors(spoilt, MASK), naive(VECTORS), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mean_vectors(VECTORS), VECTORS.mean(axis=1), rtol=1e-5, atol=1e-6)
    assert mean_vectors(np.float16(VECTORS)).dtype == "float32"


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_mean_probabilities(activation):
    powers = np.exp(VECTORS)
    softmax = powers / powers.sum(axis=-1, keepdims=True)
    probabilities = {"softmax": softmax, "sigmoid": powers / (1 + powers)}[activation]
    got = mean_probabilities(VECTORS, MASK, activation=activation)
    np.testing.assert_allclose(got, naive(probabilities), rtol=1e-5, atol=1e-6)


def test_unknown_activation():
    with pytest.raises(InputError, match="`activation='relu'` is unknown"):
        mean_probabilities(VECTORS, activation="relu")
