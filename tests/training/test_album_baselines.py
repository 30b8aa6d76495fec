from pathlib import Path

import keras
import numpy as np
import pytest

from keras_distill import AlbumEncoder, build_album_classifier
from keras_distill.data.albums import Albums
from keras_distill.data.image_set import ImageSet
from keras_distill.evaluation.album_scorer import AlbumScorer
from keras_distill.evaluation.average_precision import average_precision
from keras_distill.models.album_classifier import BASELINES
from keras_distill.training.album_baselines import fit_baselines

THEMES = np.random.default_rng(0).normal(size=(2, 6))


def drawn(count):
    """Albums of 2 to 5 photographs, one of which is of each theme that the album has."""
    random = np.random.default_rng(count)
    targets = random.integers(0, 2, (count, 2)).astype(np.int8)
    vectors, members = [], []
    for row in targets:
        size = int(random.integers(2, 6))
        own = 0.3 * random.normal(size=(size, 6))
        own[: row.sum()] += THEMES[row == 1]
        members.append(np.arange(len(vectors), len(vectors) + size))
        vectors += list(0.01 * own + 5)  # short differences, far from the origin
    names = np.array([str(number) for number in range(len(vectors))])
    images = ImageSet(Path(), names, np.full(len(names), -1, np.int64), ())
    albums = Albums(
        images, np.array([str(n) for n in range(count)]), tuple(members), targets, ("a", "b")
    )
    return albums, np.array(vectors, np.float32)


@pytest.mark.parametrize("validated", [True, False])
def test_baselines_fit_what_a_linear_map_can_tell(validated):
    keras.utils.set_random_seed(0)
    model = build_album_classifier(["a", "b"], 6, AlbumEncoder(1, 1, 8), baselines=True)
    encoder = [np.array(weight) for weight in model.trainable_weights]
    train, validation, test = drawn(200), drawn(60), drawn(100)
    train[0].targets[:20, 0] = -1
    chosen = fit_baselines(model, train, validation if validated else None)
    assert set(chosen) == set(BASELINES)
    assert set(chosen.values()) <= ({1e-4, 1e-3, 1e-2} if validated else {1e-3})
    scores = AlbumScorer(model).scores(*test)
    for name in BASELINES:
        precisions = average_precision(scores.logits[name], test[0].targets)
        assert precisions.min() > 0.75, name
    # The bias has no penalty, so the mean probability of a label is its share of the known albums.
    logits = AlbumScorer(model).scores(*train).logits["mean_vectors"]
    for label, known in ((0, slice(20, None)), (1, slice(None))):
        share = 1 / (1 + np.exp(-logits[known, label]))
        assert share.mean() == pytest.approx(train[0].targets[known, label].mean(), abs=0.01)
    for before, after in zip(encoder, model.trainable_weights, strict=True):
        np.testing.assert_array_equal(before, after)


def test_labels_without_positives_and_equal_vectors():
    model = build_album_classifier(["a", "b"], 6, AlbumEncoder(1, 1, 8), baselines=True)
    albums, vectors = drawn(8)
    albums.targets[:] = [[0, -1]]
    fit_baselines(model, (albums, np.ones_like(vectors)), (albums, np.ones_like(vectors)))
    scores = AlbumScorer(model).scores(albums, np.ones_like(vectors))
    assert all(np.isfinite(scores.logits[name]).all() for name in BASELINES)
