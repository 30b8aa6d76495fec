import numpy as np
import pytest


@pytest.fixture(scope="session")
def clustered():
    """Vectors of length 1 in clusters of 5 that lie in 12 clouds, as of products."""

    def make(rows, dim, seed=0):
        rng = np.random.default_rng(seed)
        clouds = 2 * rng.normal(size=(12, dim))
        centres = clouds[rng.integers(0, 12, rows // 5)] + rng.normal(size=(rows // 5, dim))
        vectors = centres[np.arange(rows) % len(centres)] + 0.3 * rng.normal(size=(rows, dim))
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    return make
