import numpy as np
import pytest

from keras_distill.ledger.pair_distances import pair_distances


def test_counts_every_pair_once(labelled):
    vectors, labels = labelled(1.0, classes=100, each=7)  # more than one block
    pairs = pair_distances(vectors, labels, bins=40)
    distances = np.linalg.norm(vectors[:, None].astype(float) - vectors, axis=2)
    later = np.triu(np.ones(distances.shape, bool), 1)
    same = labels[:, None] == labels
    np.testing.assert_allclose(pairs.edges, np.linspace(0, 2, 41))
    for counts, chosen in ((pairs.positive, same), (pairs.negative, ~same)):
        expected, _ = np.histogram(distances[chosen & later], pairs.edges)
        assert counts.sum() == (chosen & later).sum()
        assert np.abs(counts - expected).sum() <= 2  # rounding at an edge
    assert pairs.images == 700


def test_overlap_falls_with_the_noise(labelled):
    overlaps = [pair_distances(*labelled(noise)).overlap for noise in (0.1, 0.7, 2.0)]
    assert overlaps == sorted(overlaps)
    assert overlaps[0] < 0.02
    assert overlaps[2] > 0.5


def test_long_vectors_have_wide_bins(labelled):
    vectors, labels = labelled(1.0)
    pairs = pair_distances(100 * vectors, labels)
    farthest = 100 * np.linalg.norm(vectors[:, None] - vectors, axis=2).max()
    assert farthest <= pairs.edges[-1] <= 2.5 * farthest
    assert pairs.positive.sum() + pairs.negative.sum() == 96 * 95 / 2


def test_sample_and_vectors_that_are_not_finite(labelled):
    vectors, labels = labelled(1.0)
    vectors[0] = np.nan
    assert pair_distances(vectors, labels).images == 95
    assert pair_distances(vectors, labels, most_images=20).images == 20
    none = pair_distances(np.full_like(vectors, np.nan), labels)
    assert (none.images, none.overlap, none.positive.sum()) == (0, 0, 0)


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_equal_vectors(value):
    pairs = pair_distances(np.full((5, 16), value), np.array([0, 0, 1, 1, 1]))
    assert (pairs.positive[0], pairs.negative[0]) == (4, 6)
