import numpy as np
import pytest

from keras_distill.ledger.step import exact_step

KS = (1, 2, 4)


@pytest.fixture(scope="session")
def labelled():
    """Vectors of length 1 around a centre a class, as noisy as asked."""

    def make(noise, *, classes=12, each=8, dim=16, seed=0):
        labels = np.repeat(np.arange(classes), each)
        centres = np.random.default_rng(0).normal(size=(classes, dim))
        rng = np.random.default_rng(seed)
        vectors = centres[labels] + noise * rng.normal(size=(len(labels), dim))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors.astype(np.float32), labels

    return make


@pytest.fixture(scope="session")
def step(labelled):
    """A step of so noisy vectors."""

    def make(noise, name="student", **shape):
        vectors, labels = labelled(noise, **shape)
        return exact_step(name, f"{name}.keras", vectors, labels, ks=KS)

    return make
