import itertools
import tracemalloc

import numpy as np
import pytest

from keras_distill import InputError, all_pair_metrics, verification_metrics
from keras_distill.evaluation import pair_scores
from keras_distill.evaluation.roc_picture import draw_roc
from keras_distill.evaluation.score_counts import ScoreCounts
from keras_distill.evaluation.verification_result import verification_result


def pairs(seed=0, count=400, distance=1.5):
    random = np.random.default_rng(seed)
    same = random.random(count) < 0.4
    scores = np.round(random.normal(same * distance), 1)  # with ties
    people = random.integers(0, 25, (count, 2))
    people[same, 1] = people[same, 0]
    people[~same, 1] = (people[~same, 0] + 1 + people[~same, 1] % 24) % 25
    return scores, same, people


def faces(people=30, images=5, dim=16, seed=0):
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(people), images)
    vectors = random.normal(size=(people, dim))[labels] + 1.2 * random.normal(
        size=(len(labels), dim)
    )
    vectors = vectors.astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), labels


def naive_tar(scores, same, far):
    best = 0.0
    for threshold in sorted({*scores.tolist()}):
        false = sum(s >= threshold for s, y in zip(scores, same, strict=True) if not y)
        if false <= far * (~same).sum():
            true = sum(s >= threshold for s, y in zip(scores, same, strict=True) if y)
            best = max(best, true / same.sum())
    return best


def naive_accuracy(scores, same, folds):
    accuracies = []

    def balanced(rows, threshold):
        told = [[], []]
        for row in rows:
            told[int(same[row])].append((scores[row] >= threshold) == same[row])
        return (np.mean(told[0]) + np.mean(told[1])) / 2

    for fold in range(folds.max() + 1):
        others, own = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        thresholds = sorted({*scores[others].tolist()}, reverse=True)
        best = max(thresholds, key=lambda t: (round(balanced(others, t), 12), t))
        accuracies.append(balanced(own, best))
    return accuracies


@pytest.mark.parametrize("seed", range(3))
def test_naive_loops(seed):
    scores, same, people = pairs(seed)
    fars = (0.3, 0.1, 0.05)
    metrics = verification_metrics(scores, same, people=people, fars=fars)
    assert metrics.measurable == fars
    for far in fars:
        expected = naive_tar(scores, same, far)
        tar, threshold = metrics.scores.counts.tar_at_far(far)
        assert tar == pytest.approx(expected)
        assert metrics.scores.counts.rates_at(threshold)[0] == tar
        assert metrics.scores.counts.rates_at(threshold)[1] <= far
    folds = pair_scores.equal_folds(same)
    expected = naive_accuracy(scores, same, folds)
    np.testing.assert_allclose(metrics.scores.accuracy.accuracies, expected)
    assert metrics.means["accuracy"] == pytest.approx(np.mean(expected))


def test_folds_have_equal_parts_in_order():
    """As on the View 2 of LFW: 300 same, then 300 different pairs, ten times."""
    same = np.tile(np.repeat([True, False], 3), 10)
    assert pair_scores.equal_folds(same).tolist() == np.repeat(np.arange(10), 6).tolist()
    assert pair_scores.equal_folds(np.array([True, False])) is None


def test_rates_that_too_few_pairs_support_are_not_measurable():
    scores, same, people = pairs(count=1000)
    different = int((~same).sum())
    metrics = verification_metrics(scores, same, people=people)
    assert 10 / different > 1e-2
    assert metrics.measurable == (0.1,)
    assert np.isnan(metrics.means["TAR@FAR=1e-2"])
    result = verification_result("a model", metrics)
    assert result.figures["tar_at_far"]["1e-3"] is None
    assert result.figures["tar_at_far"]["1e-1"] == metrics.means["TAR@FAR=1e-1"]
    assert result.intervals["tar_at_far"]["1e-2"] is None


def test_intervals_resample_people():
    scores, same, people = pairs(count=300)
    metrics = verification_metrics(scores, same, people=people, fars=[0.1])
    right = (scores >= metrics.scores.accuracy.thresholds[pair_scores.equal_folds(same)]) == same
    random = np.random.default_rng(0)
    tars, accuracies = [], []
    for _ in range(1000):
        times = np.bincount(random.integers(25, size=25), minlength=25)
        weights = np.where(same, times[people[:, 0]], times[people[:, 0]] * times[people[:, 1]])
        rows = np.repeat(np.arange(300), weights)
        counts = ScoreCounts.of(scores[rows], same[rows])
        tars.append(counts.tar_at_far(0.1)[0])
        drawn, kinds = right[rows], same[rows]
        accuracies.append((drawn[kinds].mean() + drawn[~kinds].mean()) / 2)
    found = metrics.intervals
    np.testing.assert_allclose(found["TAR@FAR=1e-1"], np.quantile(tars, [0.025, 0.975]), atol=1e-6)
    np.testing.assert_allclose(
        found["accuracy"], np.quantile(accuracies, [0.025, 0.975]), atol=1e-6
    )


@pytest.mark.parametrize("block", [2**21, 4000])
def test_all_pairs_are_those_of_a_naive_loop(monkeypatch, block):
    monkeypatch.setattr(pair_scores, "_BLOCK", block)
    vectors, labels = faces()
    seen = []
    metrics = all_pair_metrics(vectors, labels, fars=(0.1, 0.01), on_pairs=seen.append)
    listed = [
        (float(vectors[a] @ vectors[b]), labels[a] == labels[b], labels[a], labels[b])
        for a, b in itertools.combinations(range(len(labels)), 2)
    ]
    scores, same, one, other = (np.array(column) for column in zip(*listed, strict=True))
    assert sum(seen) == len(listed)
    assert metrics.scores.counts.pairs == (same.sum(), (~same).sum())
    alike = verification_metrics(
        scores, same, people=np.stack([one, other], axis=1), fars=(0.1, 0.01)
    )
    for name in ("TAR@FAR=1e-1", "TAR@FAR=1e-2"):
        assert metrics.means[name] == pytest.approx(alike.means[name], abs=1e-9)
        np.testing.assert_allclose(metrics.intervals[name], alike.intervals[name], atol=1e-6)
    np.testing.assert_allclose(
        metrics.scores.counts.rates_at(0.3), alike.scores.counts.rates_at(0.3)
    )


def test_folds_of_all_pairs_are_of_people():
    """Naively: a threshold from the pairs without the people of the fold, for the pairs of them."""
    vectors, labels = faces(people=12, images=4)
    metrics = all_pair_metrics(vectors, labels)
    fold_of = np.random.default_rng(0).permutation(np.arange(12) % 6)[labels]
    cosines = vectors @ vectors.T
    one, other = np.triu_indices(len(labels), 1)
    for fold, accuracy in enumerate(metrics.scores.accuracy.accuracies):
        both = (fold_of[one] == fold) & (fold_of[other] == fold)
        neither = (fold_of[one] != fold) & (fold_of[other] != fold)
        rates = []
        for chosen in (neither, both):
            same = labels[one[chosen]] == labels[other[chosen]]
            scores = cosines[one[chosen], other[chosen]]
            if chosen is neither:
                thresholds = np.sort(scores)[::-1]
                rates = [
                    (scores[same] >= t).mean() + (scores[~same] < t).mean() for t in thresholds
                ]
                best = thresholds[int(np.argmax(rates))]
            else:
                expected = ((scores[same] >= best).mean() + (scores[~same] < best).mean()) / 2
        assert accuracy == pytest.approx(expected, abs=1e-3)


def test_all_pairs_take_little_memory():
    """Of 3,000 images: a matrix of their 4.5 million cosines, in float64, would take 72 MB more."""
    vectors, labels = faces(people=750, images=4, dim=8)
    tracemalloc.start()
    metrics = all_pair_metrics(vectors, labels, fars=(0.1, 1e-5))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert metrics.scores.counts.pairs == (4500, 4_494_000)
    assert peak < 600e6
    assert 0 < metrics.means["TAR@FAR=1e-5"] < metrics.means["TAR@FAR=1e-1"]


def test_more_different_pairs_than_are_kept(monkeypatch):
    monkeypatch.setattr(pair_scores, "_KEPT", 200)
    monkeypatch.setattr(pair_scores, "_BLOCK", 1000)
    vectors, labels = faces()
    metrics = all_pair_metrics(vectors, labels, fars=(0.1, 0.01))
    assert metrics.scores.same is None  # 300 pairs
    assert len(metrics.scores.different[0]) == 200
    cosines = (vectors @ vectors.T)[np.triu_indices(150, 1)]
    other = (labels[:, None] != labels)[np.triu_indices(150, 1)]
    np.testing.assert_allclose(
        metrics.scores.different[0], np.sort(cosines[other])[::-1][:200], rtol=1e-5
    )
    assert set(metrics.intervals) == {"accuracy"}
    result = verification_result("a model", metrics, unit="classes")
    assert "There are too many pairs for intervals of TAR." in result.warnings


def test_degenerate_pairs():
    vectors, labels = faces(people=2, images=2)
    metrics = all_pair_metrics(vectors, labels)
    assert np.isnan(list(metrics.means.values())).all()
    assert metrics.intervals == {}
    alike = all_pair_metrics(np.ones((40, 3)), np.arange(40) // 2, fars=[0.1])
    assert alike.means["TAR@FAR=1e-1"] == 0
    warnings = verification_result("a model", alike).warnings
    assert any(warning.startswith("All embeddings are alike") for warning in warnings)
    zero = all_pair_metrics(np.zeros((40, 3)), np.arange(40) // 2)
    assert zero.scores.counts.pairs == (20, 760)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: verification_metrics(np.ones(3), np.ones(2)), "both must be .pairs,."),
        (lambda: verification_metrics(np.ones(3), np.ones(3)), "there is no different pair"),
        (lambda: verification_metrics(np.ones(3), np.zeros(3)), "there is no same pair"),
        (lambda: verification_metrics(np.array([1, np.inf]), np.array([0, 1])), "holds inf in pla"),
        (lambda: all_pair_metrics(np.ones((3, 2)), np.zeros(3)), "there is no different pair"),
        (lambda: all_pair_metrics(np.ones((3, 2)), np.arange(3)), "there is no same pair"),
        (lambda: all_pair_metrics(np.ones((3, 2)), np.arange(2)), "must be .images, dim."),
        (lambda: all_pair_metrics(np.full((3, 2), np.nan), np.arange(3)), "not finite"),
    ],
)
def test_unusable_arrays_are_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()


@pytest.mark.slow
def test_roc_is_drawn(tmp_path):
    vectors, labels = faces()
    draw_roc(tmp_path / "roc.png", all_pair_metrics(vectors, labels), title="faces")
    few = verification_metrics(np.array([0.5, 0.5]), np.array([True, False]))
    draw_roc(tmp_path / "few.png", few)
    for name in ("roc.png", "few.png"):
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"
