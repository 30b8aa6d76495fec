import io
import json
import time
from pathlib import Path

import numpy as np
import pytest

from keras_distill import InputError, best_label_thresholds, multilabel_metrics
from keras_distill.evaluation.average_precision import average_precision
from keras_distill.evaluation.bootstrap import weighted_intervals
from keras_distill.evaluation.multilabel_figures import by_measure, class_figures
from keras_distill.evaluation.multilabel_result import multilabel_result
from keras_distill.evaluation.multilabel_tables import class_table, multilabel_table

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = ("cat", "dog", "[cow]", "never")


def case(images=60, seed=0, partial=True):
    rng = np.random.default_rng(seed)
    targets = (rng.random((images, 4)) < [0.5, 0.3, 0.2, 0]).astype(np.int8)
    scores = 1 / (1 + np.exp(-(2.0 * targets - 1 + rng.normal(size=targets.shape))))
    if partial:
        targets[rng.random(targets.shape) < 0.2] = -1
        targets[:, 3] = np.minimum(targets[:, 3], 0)
    return scores.astype(np.float32), targets


def text_of(table):
    from rich.console import Console

    console = Console(width=100, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


def test_golden_values_of_semantic_diversity():
    with np.load(GOLDEN / "sdl__metric_f1_map.npz") as file:
        rows = file["features"].reshape(12, 20, 3)  # element e * k + row
        scores = np.einsum("ner,ce->ncr", rows, file["words"]).max(axis=2)
        np.testing.assert_allclose(-np.sort(-scores), -file["knn_dist"], rtol=1e-5)
        targets = file["targets"]
        found = multilabel_metrics(scores, targets, top_ks=[3]).means
        for name, golden in (("P@3", "P3"), ("R@3", "R3"), ("F1@3", "F1_3"), ("mAP", "mAP")):
            assert 100 * found[name] == pytest.approx(float(file[golden]), rel=1e-7)
        # An image without any label is dropped.
        more = np.concatenate([scores, scores[:1]]), np.concatenate([targets, 0 * targets[:1]])
        assert multilabel_metrics(*more).means["P@3"] == found["P@3"]
        assert multilabel_metrics(*more).means["mAP"] != found["mAP"]


def test_map_is_the_mean_over_labels_that_have_an_ap():
    scores, targets = case()
    metrics = multilabel_metrics(scores, targets)
    each = average_precision(scores, targets)
    assert np.isnan(each).tolist() == [False, False, False, True]
    assert metrics.means["mAP"] == pytest.approx(np.nanmean(each))
    assert metrics.skipped == 1
    assert metrics.positives.tolist() == (targets == 1).sum(axis=0).tolist()
    assert metrics.annotated.tolist() == (targets >= 0).sum(axis=0).tolist()
    assert list(metrics.means) == [
        "mAP",
        *(
            f"{mean} {name}"
            for mean in ("micro", "macro")
            for name in ("precision", "recall", "F1")
        ),
        *("P@3", "R@3", "F1@3"),
    ]


def test_intervals_are_those_of_drawn_images():
    scores, targets = case(images=25)
    metrics = multilabel_metrics(scores, targets, top_ks=[1, 2])
    assert metrics.intervals == weighted_intervals(metrics._measures, 25, resamples=1000, seed=0)
    random = np.random.default_rng(0)
    samples = {name: [] for name in metrics.means}
    for _ in range(70):
        drawn = random.integers(25, size=25)
        each = targets[drawn]
        # A label counts if it does on all images: a negative need not be drawn.
        found = multilabel_metrics(scores[drawn], each, top_ks=[1, 2]).means
        kept = (targets == 1).any(axis=0) & (each == 1).any(axis=0)
        full = np.array([average_precision(scores[drawn], each), [1.0] * 4])
        found["mAP"] = np.where(np.isnan(full[0]), full[1], full[0])[kept].mean()
        for name, value in found.items():
            samples[name].append(value)
    intervals = weighted_intervals(metrics._measures, 25, resamples=70)
    for name, (low, high) in intervals.items():
        expected = np.quantile(samples[name], [0.025, 0.975])
        np.testing.assert_allclose([low, high], expected, atol=1e-6)
        assert low <= metrics.means[name] <= high


def test_thresholds_for_each_label():
    scores, targets = case()
    chosen = best_label_thresholds(scores, targets)
    better = multilabel_metrics(scores, targets, thresholds=chosen)
    plain = multilabel_metrics(scores, targets)
    assert better.means["macro F1"] > plain.means["macro F1"]
    assert better.means["mAP"] == plain.means["mAP"]
    np.testing.assert_array_equal(better.thresholds, chosen)
    assert plain.thresholds.tolist() == [0.5] * 4


@pytest.mark.parametrize("ks", [[0], [5], [1, -1]])
def test_k_are_checked(ks):
    with pytest.raises(InputError, match=r"`top_ks=.* must be from 1 to the number of labels, 4"):
        multilabel_metrics(*case(), top_ks=ks)


@pytest.mark.parametrize(
    "targets", [np.zeros((5, 4), int), np.full((5, 4), -1), np.ones((5, 4), int)]
)
def test_degenerate_targets_give_figures_and_json(targets):
    scores = np.random.default_rng(0).random((5, 4))
    metrics = multilabel_metrics(scores, targets)
    result = multilabel_result("t", scores, targets, NAMES, per_class=True)
    text = json.dumps([result.figures, result.intervals, result.more], allow_nan=False)
    assert "NaN" not in text
    if targets[0, 0] == 1:
        assert metrics.means["mAP"] == 1.0
    else:
        assert np.isnan(metrics.means["mAP"])
        assert result.figures["map"] is None
        assert result.figures["micro"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0}
        row = next(line for line in text_of(result.table).splitlines() if line.startswith("mAP"))
        assert row.split() == ["mAP", "-"]


def test_figures_for_json():
    scores, targets = case()
    metrics = multilabel_metrics(scores, targets, top_ks=[1, 3])
    figures = by_measure(metrics.means)
    assert figures["map"] == metrics.means["mAP"]
    assert figures["macro"]["f1"] == metrics.means["macro F1"]
    assert figures["top_k"]["1"]["recall"] == metrics.means["R@1"]
    assert figures["top_k"].keys() == {"1", "3"}
    intervals = by_measure(metrics.intervals)
    assert intervals["micro"].keys() == figures["micro"].keys()
    assert intervals["map"] == list(metrics.intervals["mAP"])
    cat, *_, never = class_figures(metrics, NAMES)
    assert cat["ap"] == metrics.average_precision[0]
    assert cat.keys() == {
        *("class", "positives", "annotated", "threshold", "ap", "precision", "recall", "f1")
    }
    assert never["ap"] is never["f1"] is None
    json.dumps([figures, intervals, cat, never], allow_nan=False)


def test_zero_shot_and_generalised_figures():
    scores, targets = case(partial=False)
    result = multilabel_result(
        "a model", scores, targets, NAMES, unseen=["[cow]", "dog"], top_ks=[1, 3]
    )
    columns = [1, 2]
    alone = multilabel_metrics(scores[:, columns], targets[:, columns], top_ks=[1])
    assert result.more["zero_shot"]["figures"] == by_measure(alone.means)
    assert result.figures == by_measure(multilabel_metrics(scores, targets, top_ks=[1, 3]).means)
    text = text_of(result.table)
    assert "generalised" in text
    assert "zero-shot" in text
    assert result.more["unseen"] == ["[cow]", "dog"]
    row = next(line for line in text.splitlines() if line.startswith("F1@3"))
    assert row.split()[-1] == "-"


def test_tables():
    scores, targets = case()
    metrics = multilabel_metrics(scores, targets)
    text = text_of(multilabel_table("a [title]", {"": metrics}))
    low, high = metrics.intervals["mAP"]
    assert f"{metrics.means['mAP']:.4f} [{low:.3f}, {high:.3f}]" in text
    assert "a [title]" in text
    lines = text_of(class_table("t", metrics, NAMES)).splitlines()
    order = [name for line in lines for name in NAMES if line.startswith(name)]
    assert order[-1] == "never"
    ranked = sorted(range(3), key=lambda label: -metrics.average_precision[label])
    assert order[:3] == [NAMES[label] for label in ranked]
    assert sum("-" in line.split() for line in lines) == 1


@pytest.mark.slow
def test_intervals_of_many_images_take_seconds():
    rng = np.random.default_rng(0)
    targets = (rng.random((40_000, 80)) < 2.9 / 80).astype(np.int8)
    scores = (targets + rng.normal(size=targets.shape)).astype(np.float32)
    metrics = multilabel_metrics(scores, targets)
    begun = time.perf_counter()
    low, high = metrics.intervals["mAP"]
    assert time.perf_counter() - begun < 60
    assert low < metrics.means["mAP"] < high


def test_the_difference_of_two_maps_has_an_interval_of_the_same_resamples():
    random = np.random.default_rng(0)
    targets = (random.random((60, 3)) < 0.4).astype(np.int8)
    good = targets + random.normal(0, 0.5, targets.shape)
    better, worse = (
        multilabel_metrics(s, targets) for s in (good, good + random.normal(0, 1, good.shape))
    )
    difference, low, high = better.map_difference(worse)
    assert difference == pytest.approx(better.means["mAP"] - worse.means["mAP"])
    assert low < difference < high
    assert better.map_difference(better) == (0.0, 0.0, 0.0)
    shifted = multilabel_metrics(2 * good + 1, targets)  # the same order
    assert better.map_difference(shifted) == (0.0, 0.0, 0.0)
