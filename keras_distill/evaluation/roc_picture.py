"""Picture of an ROC curve, and of the similarities of same and different pairs."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from keras_distill.evaluation.people_intervals import far_name
from keras_distill.evaluation.picture_heading import picture_heading
from keras_distill.evaluation.verification_metrics import LEAST_FALSE, VerificationMetrics
from keras_distill.publishing import published_file

_INK, _GREY = "#33373d", "#8a9099"
_SAME, _DIFFERENT = "#2f6db3", "#d9772b"
_POINTS = 800  # of a curve
_BARS = 100


def draw_roc(path: str | Path, metrics: VerificationMetrics, *, title: str = "") -> None:
    """Draws TAR against FAR, and the cosines of same and of different pairs.

    To the left TAR at each FAR that can be measured, on a logarithmic axis, with the intervals of
    the figures; to the right the shares of both kinds of pairs by cosine, and the probability that
    a pair is the same.

    Args:
        path: Where to write the picture, such as `roc.png`.
        metrics: The metrics, of cosines.
        title: Heading.

    Raises:
        InputError: If the file cannot be written.
    """
    figure = Figure(
        figsize=(10.4, 4.6),
        layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1),
        facecolor="white",
    )
    curve, bars = figure.subplots(1, 2)
    _draw_curve(curve, metrics)
    _draw_bars(bars, metrics)
    accuracy = metrics.means["accuracy"]
    told = f"accuracy {accuracy:.3f}" if np.isfinite(accuracy) else "verification"
    figure.suptitle(
        picture_heading(told, title),
        x=0.012,
        ha="left",
        fontsize=12,
        fontweight="bold",
        color=_INK,
    )
    with published_file(Path(path)) as temporary:
        figure.savefig(temporary, dpi=130)


def _draw_curve(axes: Any, metrics: VerificationMetrics) -> None:
    tar, far = metrics.scores.counts.rates()
    least = min(LEAST_FALSE / metrics.scores.counts.pairs[1], 0.5)
    grid = np.geomspace(least, 1, _POINTS)
    place = np.searchsorted(far, grid * (1 + 1e-12), side="right")
    axes.plot(grid, np.concatenate([[0.0], tar])[place], color=_SAME, linewidth=2.0, zorder=3)
    for rate in metrics.measurable:
        name = far_name(rate)
        axes.plot(rate, metrics.means[name], "o", color=_SAME, markersize=4.5, zorder=4)
        if name in metrics.intervals:
            axes.plot([rate, rate], metrics.intervals[name], color=_SAME, linewidth=1.2, zorder=3)
    axes.plot(grid, grid, color="#c9cdd2", linewidth=1, linestyle="--", zorder=2)
    axes.set_xscale("log")
    axes.set_xlim(least, 1)
    axes.set_ylim(0, 1.01)
    axes.set_title("TAR: accepted share of same pairs", loc="left", fontsize=10.5, color=_INK)
    axes.set_xlabel("FAR: accepted share of different pairs", color=_GREY, fontsize=9)
    axes.grid(axis="both", color="#e6e8eb", linewidth=0.8)
    _plain(axes)


def _draw_bars(axes: Any, metrics: VerificationMetrics) -> None:
    counts = metrics.scores.counts
    low, high = float(counts.thresholds[-1]), float(counts.thresholds[0])
    edges = np.linspace(low, max(high, low + 1e-6), _BARS + 1)
    pairs = ((counts.different, _DIFFERENT, "different"), (counts.same, _SAME, "same"))
    for weights, colour, name in pairs:
        heights, _ = np.histogram(counts.thresholds, edges, weights=weights / weights.sum())
        axes.stairs(heights, edges, color=colour, fill=True, alpha=0.45, label=f"{name} pairs")
    axes.set_title("share of pairs", loc="left", fontsize=10.5, color=_INK)
    axes.set_xlabel("cosine", color=_GREY, fontsize=9)
    axes.set_xlim(edges[0], edges[-1])
    _plain(axes)
    other = axes.twinx()
    other.plot(
        edges,
        metrics.calibration.probability(edges),
        color=_INK,
        linewidth=1.4,
        label="probability of same",
    )
    other.set_ylim(0, 1.01)
    _plain(other)
    handles = [each for axis in (axes, other) for each in axis.get_legend_handles_labels()[0]]
    axes.legend(handles=handles, loc="upper left", frameon=False, fontsize=8.5, labelcolor=_INK)


def _plain(axes: Any) -> None:
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=_GREY, labelsize=8.5, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#c9cdd2")
