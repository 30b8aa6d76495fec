from pathlib import Path

import numpy as np
import pytest

from keras_distill import IndexEntries


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


@pytest.fixture(scope="session")
def entries(clustered):
    """Entries of an index: 300 images of 60 classes, or some of them by their numbers."""
    vectors = clustered(300, 16)
    labels = np.arange(300) % 60
    paths = np.array([f"class_{label:02d}/{row}.jpg" for row, label in enumerate(labels)])
    names = tuple(f"class_{label:02d}" for label in range(60))

    def take(*rows):
        chosen = np.arange(300)[slice(*rows)]
        return IndexEntries(
            vectors[chosen], paths[chosen], labels[chosen], names, Path("/photos/mine")
        )

    return take
