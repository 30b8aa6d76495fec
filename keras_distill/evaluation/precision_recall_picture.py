"""Picture of precision against recall, and of the average precision of each label."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from keras_distill.evaluation.average_precision import average_precision
from keras_distill.evaluation.label_arrays import checked_labels
from keras_distill.evaluation.picture_heading import picture_heading
from keras_distill.publishing import published_file

_INK, _GREY, _LIGHT = "#33373d", "#8a9099", "#c9d3df"
_COLOURS = ("#2f6db3", "#d9772b")
_BARS = 30  # labels, of which the best and the worst are drawn if there are more
_POINTS = 500  # of a curve


def precision_recall(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes precision and recall at every threshold.

    Args:
        scores: Float array of any shape.
        targets: Integers in {1, 0, -1} of the same shape; -1 is left out.

    Returns:
        Precision and recall, float64, from the highest threshold to the lowest; recall is NaN if
        there is no positive.

    Example:
        >>> precision_recall(np.array([0.9, 0.8, 0.7]), np.array([1, 0, 1]))
        (array([1.        , 0.5       , 0.66666667]), array([0.5, 0.5, 1. ]))
    """
    annotated = targets >= 0
    values, positive = scores[annotated], targets[annotated] == 1
    order = np.argsort(-values)
    last = np.flatnonzero(np.diff(values[order], append=np.nan) != 0)  # of equal scores
    found = np.cumsum(positive[order])[last]
    total = float(positive.sum()) or np.nan
    return found / (last + 1), found / total


def draw_precision_recall(
    path: str | Path,
    scores: np.ndarray,
    targets: np.ndarray,
    class_names: Sequence[str],
    *,
    title: str = "",
) -> None:
    """Draws precision against recall, and the AP of each label.

    To the left a curve for each label, and one for all labels together; to the right the AP of each
    label from the best to the worst, with a mark at the share of its positives, the AP of chance.

    Args:
        path: Where to write the picture, such as `precision_recall.png`.
        scores: Float array `(n, c)`.
        targets: Integers `(n, c)` in {1, 0, -1}.
        class_names: Names of the labels, by column.
        title: Heading.

    Raises:
        InputError: If the arrays do not fit each other, or the file cannot be written.
    """
    scores, targets = checked_labels(scores, targets)
    precisions = average_precision(scores, targets)
    counted = np.flatnonzero(np.isfinite(precisions))
    order = counted[np.argsort(-precisions[counted], kind="stable")]
    shown = order
    if len(order) > _BARS:
        shown = np.concatenate([order[: _BARS // 2], order[-_BARS // 2 :]])
    figure = Figure(
        figsize=(10.4, max(4.4, 1.2 + 0.215 * len(shown))),
        layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1),
        facecolor="white",
    )
    curves, bars = figure.subplots(1, 2, width_ratios=(1.15, 1))
    _draw_curves(curves, scores, targets, counted)
    _draw_bars(bars, precisions, targets, class_names, shown, left_out=len(order) - len(shown))
    mean = f"mAP {precisions[counted].mean():.3f}" if len(counted) else "no label has positives"
    figure.suptitle(
        picture_heading(mean, title),
        x=0.012,
        ha="left",
        fontsize=12,
        fontweight="bold",
        color=_INK,
    )
    with published_file(Path(path)) as temporary:
        figure.savefig(temporary, dpi=130)


def _draw_curves(axes: Any, scores: np.ndarray, targets: np.ndarray, labels: np.ndarray) -> None:
    width = 0.9 if len(labels) <= _BARS else 0.45
    thin = {"color": _LIGHT, "linewidth": width, "zorder": 2}
    for place, label in enumerate(labels.tolist()):
        precision, recall = _thinned(*precision_recall(scores[:, label], targets[:, label]))
        axes.plot(recall, precision, label="" if place else "each label", **thin)
    if len(labels):
        precision, recall = _thinned(*precision_recall(scores, targets))
        axes.plot(
            recall,
            precision,
            color=_COLOURS[0],
            linewidth=2.2,
            zorder=3,
            label="all labels together",
        )
        axes.legend(
            loc="lower right",
            bbox_to_anchor=(1.01, 0.985),
            ncols=2,
            frameon=False,
            fontsize=8.5,
            labelcolor=_INK,
            handlelength=1.4,
        )
    axes.set_title("precision", loc="left", fontsize=10.5, color=_INK)
    axes.set_xlabel("recall", color=_GREY, fontsize=9)
    axes.set_xlim(0, 1.01)
    axes.set_ylim(0, 1.01)
    axes.grid(axis="y", color="#e6e8eb", linewidth=0.8)
    _plain(axes)


def _draw_bars(
    axes: Any,
    precisions: np.ndarray,
    targets: np.ndarray,
    class_names: Sequence[str],
    shown: np.ndarray,
    *,
    left_out: int,
) -> None:
    places = np.arange(len(shown))
    cut = len(shown) // 2 if left_out else len(shown)
    places = places + (places >= cut)  # a gap where labels are left out
    positives, annotated = ((targets[:, shown] >= least).sum(axis=0) for least in (1, 0))
    axes.barh(places, precisions[shown], color=_COLOURS[0], height=0.68, zorder=2)
    axes.plot(
        positives / np.maximum(annotated, 1),
        places,
        "|",
        color=_COLOURS[1],
        markersize=9,
        markeredgewidth=2,
        zorder=3,
        label="share of positives",
    )
    for place, value in zip(places.tolist(), precisions[shown].tolist(), strict=True):
        axes.text(value + 0.012, place, f"{value:.2f}", va="center", fontsize=7.5, color=_INK)
    if left_out:
        axes.text(0, cut, f"… {left_out} more", va="center", fontsize=8, color=_GREY)
    if len(shown):
        axes.legend(
            loc="lower right",
            bbox_to_anchor=(1.01, 0.985),
            frameon=False,
            fontsize=8.5,
            labelcolor=_INK,
            handlelength=1.0,
        )
    axes.set_yticks(places, [_shortened(class_names[label]) for label in shown])
    axes.set_ylim(max(places[-1:], default=0) + 0.6, -0.6)
    axes.set_xlim(0, 1.08)
    axes.set_title("average precision", loc="left", fontsize=10.5, color=_INK)
    axes.grid(axis="x", color="#e6e8eb", linewidth=0.8)
    _plain(axes)
    axes.tick_params(axis="y", labelcolor=_INK, labelsize=8)


def _plain(axes: Any) -> None:
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=_GREY, labelsize=8.5, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#c9cdd2")


def _thinned(precision: np.ndarray, recall: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Some of the points of a curve, from the first positive on, evenly in recall."""
    chosen = np.unique(np.searchsorted(recall, np.linspace(recall[recall > 0][0], 1, _POINTS)))
    return precision[chosen], recall[chosen]


def _shortened(name: str) -> str:
    name = name.replace("$", r"\$")  # no formula
    return name if len(name) <= 24 else f"{name[:23]}…"
