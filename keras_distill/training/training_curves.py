"""Curves of a training, as a picture."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from keras_distill.methods.optimizers import is_value
from keras_distill.publishing import published_file
from keras_distill.runs.directory import RunDirectory
from keras_distill.training.gradient_norm import GradientNorm
from keras_distill.training.recall_validation import VALIDATION_RECALL

_INK, _GREY = "#33373d", "#8a9099"
_COLOURS = ("#2f6db3", "#d9772b", "#3a9159", "#9b4f96", "#b03a48", "#6a7f2b", "#4aa3b5", "#7a5c3e")
_LOG_FROM = 30.0  # greatest over least, from which on a scale is logarithmic


def draw_training(run: RunDirectory, *, losses: Sequence[str]) -> None:
    """Draws losses, recall, learning rate and gradient norm over the epochs: `training.png`.

    Args:
        run: The run, whose `metrics.jsonl` is drawn; nothing is drawn without one.
        losses: Names of the losses, the total first.

    Raises:
        InputError: If the file cannot be written.
    """
    records = run.read_metrics()
    if not records:
        return
    parts = [name for name in losses if name != "loss"]
    if len(parts) == 1 and all(record.get(parts[0]) == record["loss"] for record in records):
        losses = parts  # which is the total
    names = {name: None for record in records for name in record}
    panels = [
        ("loss", losses),
        ("Recall@1 of held-out classes", [VALIDATION_RECALL]),
        ("learning rate", [name for name in names if is_value(name, "learning_rate")]),
        ("gradient norm", [name for name in names if is_value(name, GradientNorm.names[0])]),
    ]
    panels = [
        (label, found)
        for label, wanted in panels
        if (found := [name for name in wanted if name in names])
    ]
    rows = -(-len(panels) // 2)
    figure = Figure(
        figsize=(10.4, 0.5 + 3.1 * rows),
        layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1),
        facecolor="white",
    )
    grid = figure.subplots(rows, 2, squeeze=False)
    for axes, (label, drawn) in zip(grid.flat, panels, strict=False):
        _draw_panel(axes, label, drawn, records)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    figure.suptitle(
        run.path.resolve().name, x=0.012, ha="left", fontsize=12, fontweight="bold", color=_INK
    )
    with published_file(run.curves) as temporary:
        figure.savefig(temporary, dpi=130)


def _draw_panel(
    axes: Any, label: str, names: Sequence[str], records: Sequence[dict[str, Any]]
) -> None:
    drawn: list[float] = []
    for place, name in enumerate(names):
        points = [(record["epoch"], record[name]) for record in records if name in record]
        epochs, values = zip(*points, strict=True)
        drawn += values
        axes.plot(
            epochs,
            values,
            color=_COLOURS[place % len(_COLOURS)],
            linewidth=1.8 if place == 0 else 1.3,
            marker="o" if len(points) <= 20 else None,
            markersize=3.2,
            label=_legend(name),
            zorder=3 - place / 100,
        )
    if min(drawn) > 0 and max(drawn) / min(drawn) >= _LOG_FROM and label != "learning rate":
        axes.set_yscale("log")
    elif label in ("learning rate", "gradient norm"):
        axes.set_ylim(bottom=0)
    if label == "learning rate":
        axes.yaxis.set_major_formatter(_rate)
    if names == [VALIDATION_RECALL]:
        _mark_best(axes, records)
    elif len(names) > 1 or label == "loss":
        axes.legend(
            loc="lower right",
            bbox_to_anchor=(1.01, 0.985),
            ncols=4,
            frameon=False,
            fontsize=8.5,
            labelcolor=_INK,
            handlelength=1.4,
            columnspacing=1.2,
        )
    axes.set_title(label, loc="left", fontsize=10.5, color=_INK)
    axes.set_xlabel("epoch", color=_GREY, fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    first, last = records[0]["epoch"], records[-1]["epoch"]
    room = max(0.03 * (last - first), 0.4 if last == first else 0.0)
    axes.set_xlim(first - room, last + room)
    axes.grid(axis="y", color="#e6e8eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=_GREY, labelsize=8.5, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#c9cdd2")


def _mark_best(axes: Any, records: Sequence[dict[str, Any]]) -> None:
    best = max(
        (record for record in records if VALIDATION_RECALL in record),
        key=lambda record: record[VALIDATION_RECALL],
    )
    epoch, value = best["epoch"], best[VALIDATION_RECALL]
    axes.plot(epoch, value, "o", color=_COLOURS[1], markersize=7, zorder=4)
    axes.margins(y=0.18)
    late = epoch - records[0]["epoch"] > (records[-1]["epoch"] - records[0]["epoch"]) / 2
    axes.annotate(
        f"{value:.3f} in epoch {epoch}",
        (epoch, value),
        xytext=(-9 if late else 9, 7),
        textcoords="offset points",
        ha="right" if late else "left",
        fontsize=9,
        color=_COLOURS[1],
        fontweight="bold",
    )


def _rate(rate: float, _: Any) -> str:
    """Writes 0.00025 as 2.5e-4."""
    mantissa, exponent = f"{rate:.1e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}" if 0 < abs(rate) < 0.01 else f"{rate:g}"


def _legend(name: str) -> str:
    return {
        "loss": "total",
        "gradient_norm": "mean, before clipping",
        "gradient_norm_max": "greatest of the epoch",
    }.get(name, name.replace("_", " "))
