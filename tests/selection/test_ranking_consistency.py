import numpy as np
import pytest

from keras_distill.errors import InputError
from keras_distill.selection.ranking_consistency import ranking_consistency


@pytest.mark.parametrize("falling", [True, False])
def test_naive_loop(falling):
    scores = np.random.default_rng(0).integers(0, 5, (30, 5)).astype(float)  # with ties
    found = ranking_consistency(scores, falling=falling)
    for row, share, margin in zip(scores, found.shares, found.margins, strict=True):
        right, differences = 0, []
        for a in range(5):
            for b in range(a + 1, 5):
                difference = row[a] - row[b] if falling else row[b] - row[a]
                right += difference > 0
                differences.append(difference)
        assert share == pytest.approx(right / 10)
        assert margin == pytest.approx(np.mean(differences) / scores.std())


def test_the_least_consistent_are_first():
    scores = np.array([[3.0, 2, 1], [1, 2, 3], [3, 2.9, 2.8], [1, 1, 1], [9, 1, 5]])
    found = ranking_consistency(scores)
    assert found.shares.round(2).tolist() == [1, 0, 1, 0, 0.67]
    assert found.order().tolist() == [1, 3, 4, 2, 0]


def test_several_sets_are_averaged():
    scores = np.random.default_rng(1).normal(size=(6, 3, 4))
    shares = np.mean([ranking_consistency(scores[:, part]).shares for part in range(3)], axis=0)
    np.testing.assert_allclose(ranking_consistency(scores).shares, shares)


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (np.zeros((3, 1)), "of at least two levels"),
        (np.zeros(3), "it must be .images, levels."),
        (np.array([[0, np.nan]]), "not finite"),
    ],
)
def test_unusable_scores_are_refused(scores, said):
    with pytest.raises(InputError, match=said):
        ranking_consistency(scores)
