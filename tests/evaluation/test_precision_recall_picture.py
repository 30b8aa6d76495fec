import numpy as np
import pytest
from PIL import Image

from keras_distill import InputError, draw_precision_recall
from keras_distill.evaluation.average_precision import average_precision
from keras_distill.evaluation.precision_recall_picture import precision_recall


def naive(scores, targets):
    points = []
    for threshold in sorted(set(scores[targets >= 0].tolist()), reverse=True):
        given = (scores >= threshold) & (targets >= 0)
        right = (given & (targets == 1)).sum()
        points.append((right / given.sum(), right / (targets == 1).sum()))
    return np.array(points).T


@pytest.mark.parametrize("seed", range(10))
def test_curve_is_that_of_all_thresholds(seed):
    rng = np.random.default_rng(seed)
    scores, targets = np.round(rng.random((9, 3)), 1), rng.integers(-1, 2, (9, 3))
    np.testing.assert_allclose(precision_recall(scores, targets), naive(scores, targets))
    column = scores[:, 0], targets[:, 0]
    precision, recall = precision_recall(*column)
    area = np.sum(precision * np.diff(recall, prepend=0))
    (found,) = average_precision(column[0][:, None], column[1][:, None])
    assert np.isnan(found) or area == pytest.approx(found)


@pytest.mark.parametrize("labels", [1, 40])
def test_a_picture_is_written(tmp_path, labels):
    rng = np.random.default_rng(0)
    targets = (rng.random((200, labels)) < 0.2).astype(int)
    scores = targets + rng.normal(size=targets.shape)
    names = [f"{'long ' * (label % 9)}label ${label}$" for label in range(labels)]
    draw_precision_recall(tmp_path / "new" / "curve.png", scores, targets, names, title="t")
    with Image.open(tmp_path / "new" / "curve.png") as image:
        assert image.width > 1000
        pixels = np.asarray(image.convert("L"))
    assert 0.01 < (pixels < 200).mean() < 0.5


@pytest.mark.parametrize("target", [0, 1, -1])
def test_degenerate_targets_are_drawn(tmp_path, target):
    scores = np.random.default_rng(0).random((4, 2))
    draw_precision_recall(tmp_path / "curve.png", scores, np.full((4, 2), target), ["a", "b"])
    assert (tmp_path / "curve.png").is_file()


def test_arrays_must_fit(tmp_path):
    with pytest.raises(InputError, match="`scores` has the shape"):
        draw_precision_recall(tmp_path / "x.png", np.zeros((2, 2)), np.zeros((2, 3)), ["a", "b"])
    assert list(tmp_path.iterdir()) == []
