import numpy as np
import pytest

from keras_distill.errors import InputError
from keras_distill.selection import coverage as module
from keras_distill.selection.coverage import best_covering
from keras_distill.selection.k_centre import k_centre


def points(count=80, dim=3, seed=0):
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def naive(vectors, count, given=()):
    chosen, means = list(given), []
    others = [row for row in range(len(vectors)) if row not in given]

    def mean(rows):
        apart = np.linalg.norm(vectors[others][:, None] - vectors[rows], axis=-1)
        return apart.min(axis=1).mean()

    while len(means) < count:
        best = min((row for row in others if row not in chosen), key=lambda r: mean([*chosen, r]))
        chosen.append(best)
        means.append(mean(chosen))
    return chosen[len(given) :], means


@pytest.mark.parametrize("batch", [1, 32])
@pytest.mark.parametrize("given", [(), (7, 3, 50)])
def test_naive_loop(monkeypatch, batch, given):
    monkeypatch.setattr(module, "_BATCH", batch)
    seen = []
    found = best_covering(points(), 12, given=np.array(given), on_chosen=seen.append)
    rows, means = naive(points(), 12, given)
    assert found.rows.tolist() == rows
    np.testing.assert_allclose(found.mean_distances, means, rtol=1e-5)
    assert sum(seen) == 12


def test_one_of_each_crowd_and_no_odd_ones():
    """Five crowds of thirty and five odd ones, which k-centre greedy chooses first."""
    crowds = np.repeat(20 * np.eye(5, dtype=np.float32), 30, axis=0) + points(150, 5) / 2
    odd = 60 * points(5, 5, seed=2)
    vectors = np.concatenate([crowds, odd])
    chosen = best_covering(vectors, 10).rows
    assert set(range(5)) <= set((chosen // 30).tolist())
    assert (chosen[:5] < 150).sum() >= 3 > (k_centre(vectors, 5).rows[1:] < 150).sum()


def test_a_sample_stands_for_many(monkeypatch):
    monkeypatch.setattr(module, "_SAMPLE", 40)
    one, again, other = (best_covering(points(200), 5, seed=seed) for seed in (0, 0, 1))
    assert one.sample == 40
    assert one.rows.tolist() == again.rows.tolist() != other.rows.tolist()
    assert best_covering(points(200), 30).sample == 120
    assert len(set(best_covering(points(200), 200).rows.tolist())) == 200


def test_degenerate_vectors():
    alike = np.ones((5, 3))
    assert sorted(best_covering(alike, 9).rows) == [0, 1, 2, 3, 4]  # all, each once
    assert best_covering(alike, 2, given=np.arange(5)).rows.tolist() == []
    assert best_covering(np.zeros((1, 3)), 1).mean_distances.tolist() == [0]
    with pytest.raises(InputError, match="`count=0` is not positive"):
        best_covering(alike, 0)
    with pytest.raises(InputError, match="not finite"):
        best_covering(np.array([[np.inf]]), 1)
