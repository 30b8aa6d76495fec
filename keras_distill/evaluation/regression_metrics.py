"""Metrics of predicted scores against human ones, and of the order of pairs."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from keras_distill.errors import InputError
from keras_distill.evaluation.bootstrap import drawn_times, percentile_intervals


@dataclass(frozen=True)
class RegressionMetrics:
    """Metrics of scores.

    Attributes:
        images: Number of scored images.
        references: Number of references that they were made from.
        means: The figures by name, `LCC`, `SROCC`, `KROCC`, `RMSE`, and `LCC (logistic)` and
            `RMSE (logistic)` after the logistic fit; NaN where there is none.
        intervals: Their 95 % intervals over references.
        by_distortion: `LCC`, `SROCC` and `images` by distortion.
    """

    images: int
    references: int
    means: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    by_distortion: Mapping[str, Mapping[str, float]]


def regression_metrics(
    predicted: np.ndarray,
    scores: np.ndarray,
    *,
    references: np.ndarray | None = None,
    distortions: np.ndarray | None = None,
    resamples: int = 1000,
) -> RegressionMetrics:
    """Measures predicted scores against human ones.

    LCC is the linear correlation of Pearson, SROCC the rank correlation of Spearman, KROCC that of
    Kendall, RMSE the root of the mean squared error in the unit of the scores. `(logistic)` is
    after the monotonic map of `logistic_map`, as quality metrics are usually compared, which is
    fitted on the same images.

    Args:
        predicted: Predicted scores, `(n,)`.
        scores: Human scores, `(n,)`.
        references: What each image was made from, `(n,)`, resampled as a whole for the intervals;
            each image by itself by default.
        distortions: Kind of distortion of each image, `(n,)`; empty for unknown.
        resamples: Resamples for the intervals.

    Returns:
        The metrics.

    Raises:
        InputError: If there are no images, or the arrays do not fit each other.

    Example:
        >>> import numpy as np
        >>> metrics = regression_metrics(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0]))
        >>> round(metrics.means["LCC"], 3), round(metrics.means["SROCC"], 3)
        (0.982, 1.0)
    """
    predicted, scores = (np.asarray(each, np.float64) for each in (predicted, scores))
    if predicted.shape != scores.shape or predicted.ndim != 1 or not len(scores):
        raise InputError(
            f"`predicted` has the shape {predicted.shape}, `scores` {scores.shape}; give both "
            "`(n,)`, of at least one image."
        )
    fitted = logistic_map(predicted, scores)
    references = np.arange(len(scores)) if references is None else references
    place = np.unique(references, return_inverse=True)[1]
    rows_of = [np.flatnonzero(place == each) for each in range(place.max() + 1)]
    sampled = []
    for times in drawn_times(len(rows_of), resamples=resamples):
        rows = np.concatenate([np.tile(rows_of[each], n) for each, n in enumerate(times) if n])
        sampled.append(list(_figures(predicted[rows], scores[rows], fitted[rows]).values()))
    means = _figures(predicted, scores, fitted)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN")
        bounds = percentile_intervals(np.array(sampled)).tolist()
    by_distortion = {}
    for name in np.unique([] if distortions is None else distortions).tolist():
        rows = np.flatnonzero(distortions == name)
        figures = _figures(predicted[rows], scores[rows], fitted[rows])
        if name:
            by_distortion[name] = {
                "LCC": figures["LCC"],
                "SROCC": figures["SROCC"],
                "images": len(rows),
            }
    return RegressionMetrics(
        len(scores),
        len(rows_of),
        means,
        {name: (low, high) for name, (low, high) in zip(means, bounds, strict=True)},
        by_distortion,
    )


def logistic_map(predicted: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Maps predictions to the scale of the scores by the logistic function of five parameters.

    `b1 (1/2 - 1 / (1 + exp(b2 (x - b3)))) + b4 x + b5`, fitted by least squares, as the Video
    Quality Experts Group does. Where it cannot be fitted, with fewer than six images or equal
    predictions, it is a straight line.

    Args:
        predicted: Predictions, `(n,)`.
        scores: Human scores, `(n,)`.

    Returns:
        The mapped predictions, float64 `(n,)`.
    """
    from scipy.optimize import curve_fit

    spread = predicted.std()
    if len(predicted) < 2 or spread == 0:
        return np.full(len(scores), scores.mean())
    x = (predicted - predicted.mean()) / spread
    line = np.polyval(np.polyfit(x, scores, 1), x)
    if len(predicted) < 6:
        return line

    def logistic(
        x: np.ndarray, b1: float, b2: float, b3: float, b4: float, b5: float
    ) -> np.ndarray:
        return b1 * (0.5 - 1 / (1 + np.exp(np.clip(b2 * (x - b3), -500, 500)))) + b4 * x + b5

    begin = (np.ptp(scores), 1.0, 0.0, 0.0, scores.mean())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = logistic(x, *curve_fit(logistic, x, scores, begin, maxfev=5000)[0])
    except RuntimeError:  # it does not converge
        return line
    better = np.mean((found - scores) ** 2) <= np.mean((line - scores) ** 2)
    return found if better and np.isfinite(found).all() else line


def pair_accuracy(better: np.ndarray, worse: np.ndarray) -> float:
    """Computes the share of pairs whose better image scores higher; a tie is half a success.

    Args:
        better: Scores of the images that somebody preferred, higher for better, `(n,)`.
        worse: Those of the others, `(n,)`.

    Returns:
        A fraction; NaN without pairs.

    Example:
        >>> pair_accuracy(np.array([2.0, 1.0, 3.0]), np.array([1.0, 1.0, 4.0]))
        0.5
    """
    if not len(better):
        return float("nan")
    return float(np.mean(np.where(better == worse, 0.5, better > worse)))


def _figures(predicted: np.ndarray, scores: np.ndarray, fitted: np.ndarray) -> dict[str, float]:
    from scipy.stats import kendalltau, pearsonr, spearmanr

    if len(scores) < 2 or np.ptp(scores) == 0 or np.ptp(predicted) == 0:
        lcc = srocc = krocc = lcc_fitted = float("nan")
    else:
        lcc = float(pearsonr(predicted, scores)[0])
        srocc = float(spearmanr(predicted, scores)[0])
        krocc = float(kendalltau(predicted, scores)[0])
        lcc_fitted = float(pearsonr(fitted, scores)[0]) if np.ptp(fitted) else float("nan")
    return {
        "LCC": lcc,
        "SROCC": srocc,
        "KROCC": krocc,
        "RMSE": float(np.sqrt(np.mean((predicted - scores) ** 2))),
        "LCC (logistic)": lcc_fitted,
        "RMSE (logistic)": float(np.sqrt(np.mean((fitted - scores) ** 2))),
    }
