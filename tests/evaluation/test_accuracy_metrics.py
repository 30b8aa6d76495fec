import numpy as np
import pytest

from keras_distill import InputError, accuracy_metrics
from keras_distill.evaluation.accuracy_result import accuracy_result
from keras_distill.evaluation.confusion_picture import draw_confusion

NAMES = ["cat", "dog", "cow", "[hen]", "pig", "ape", "fox"]


def case(seed=0, images=60, classes=7):
    random = np.random.default_rng(seed)
    targets = random.integers(0, classes, images)
    scores = random.integers(0, 4, (images, classes)) + 2.0 * np.eye(classes)[targets]  # with ties
    return scores, targets


def naive(scores, targets, k):
    hits = 0
    for row, target in zip(scores, targets, strict=True):
        order = sorted(range(len(row)), key=lambda label: (-row[label], label))
        hits += target in order[:k]
    return hits / len(targets)


@pytest.mark.parametrize("seed", range(3))
def test_naive_loop(seed):
    scores, targets = case(seed)
    metrics = accuracy_metrics(scores, targets, top_ks=[1, 3, 5])
    for k in (1, 3, 5):
        assert metrics.means[f"top-{k}"] == pytest.approx(naive(scores, targets, k))
    predicted = [int(np.argmax(row)) for row in scores]
    for label in range(7):
        of = [p for p, t in zip(predicted, targets, strict=True) if t == label]
        right = sum(p == label for p in of)
        assert metrics.by_class["accuracy"][label] == pytest.approx(right / len(of))
        taken = predicted.count(label)
        assert metrics.by_class["precision"][label] == pytest.approx(right / taken)
        assert metrics.by_class["F1"][label] == pytest.approx(2 * right / (len(of) + taken))
        for other in range(7):
            assert metrics.confusion[label, other] == of.count(other)
    assert metrics.means["class mean"] == pytest.approx(metrics.by_class["accuracy"].mean())
    row, column, count = metrics.most_confused(1)[0]
    wrong = metrics.confusion - np.diag(np.diagonal(metrics.confusion))
    assert count == wrong.max() == metrics.confusion[row, column] > 0


def test_intervals_resample_images():
    scores, targets = case()
    metrics = accuracy_metrics(scores, targets)
    random = np.random.default_rng(0)
    drawn = [random.integers(60, size=60) for _ in range(1000)]
    means = [accuracy_metrics(scores[rows], targets[rows]).means for rows in drawn]
    for name in ("top-1", "top-5", "class mean"):
        expected = np.quantile([each[name] for each in means], [0.025, 0.975])
        np.testing.assert_allclose(metrics.intervals[name], expected, atol=1e-6)


def test_ties_are_not_always_right():
    metrics = accuracy_metrics(np.zeros((6, 3)), np.array([0, 1, 2, 0, 1, 2]), top_ks=[2])
    assert metrics.means["top-1"] == pytest.approx(1 / 3)
    assert metrics.means["top-2"] == pytest.approx(2 / 3)


def test_degenerate_cases_are_named():
    scores = np.zeros((4, 3)) + [1.0, 0.0, 0.0]
    result = accuracy_result("a", scores, np.array([0, 0, 0, 1]), NAMES[:3], per_class=True)
    assert [warning.partition(":")[0] for warning in result.warnings] == [
        "All scores are alike",
        "top-1 0.7500 cannot be told from taking every image for cat, which 0.7500 of them are.",
        "1 of 3 classes have no image here, and no accuracy",
        "2 of 3 classes are what no image is taken for",
    ]
    assert result.more["per_class"][2] == {
        "class": "cow",
        "images": 0,
        "accuracy": None,
        "precision": None,
        "f1": None,
    }
    assert result.more["confusion"] == [[3, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert result.figures == {"top_1": 0.75, "class_mean": 0.5}
    alone = accuracy_metrics(np.ones((3, 1)), np.zeros(3, int))
    assert alone.means == {"top-1": 1.0, "class mean": 1.0}
    assert alone.intervals["top-1"] == (1.0, 1.0)


@pytest.mark.parametrize(
    ("scores", "targets", "said"),
    [
        (np.zeros((3, 2)), np.zeros(2, int), "must be .images, classes. and .images,."),
        (np.zeros((0, 2)), np.zeros(0, int), "and hold some"),
        (np.zeros((2, 2)), np.array([0, 2]), "`targets` must be integers from 0 to 1"),
        (np.zeros((2, 2)), np.array([0.0, 1.0]), "`targets` must be integers"),
        (np.array([[0.0, np.nan]]), np.array([0]), "`scores` holds nan in row 0, column 1"),
    ],
)
def test_unusable_arrays_are_refused(scores, targets, said):
    with pytest.raises(InputError, match=said):
        accuracy_metrics(scores, targets)


def test_confusion_is_drawn(tmp_path):
    scores, targets = case()
    confusion = accuracy_metrics(scores, targets).confusion
    draw_confusion(tmp_path / "few.png", confusion, NAMES, title="animals")
    large = np.random.default_rng(0).integers(0, 9, (70, 70))
    draw_confusion(tmp_path / "many.png", large, [str(n) for n in range(70)])
    for name in ("few.png", "many.png"):
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(InputError, match="a row and a column for each name"):
        draw_confusion(tmp_path / "no.png", confusion, NAMES[:2])
