"""Picture of a confusion matrix."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from keras_distill.errors import InputError
from keras_distill.evaluation.picture_heading import picture_heading
from keras_distill.publishing import published_file

_INK, _GREY = "#33373d", "#8a9099"
_BLUES = LinearSegmentedColormap.from_list("blues", ["#ffffff", "#8fb3dc", "#1d4f8a"])
_NAMED = 60  # classes, beyond which names and numbers are too small to read
_NUMBERED = 25


def draw_confusion(
    path: str | Path, confusion: np.ndarray, class_names: Sequence[str], *, title: str = ""
) -> None:
    """Draws a confusion matrix: each row shows what the images of a class are taken for.

    Colours are shares of the row. Up to 25 classes the counts are written, up to 60 the names.

    Args:
        path: Where to write the picture, such as `confusion.png`.
        confusion: Number of images by class and taken class, integers `(classes, classes)`.
        class_names: Names of the classes.
        title: Heading.

    Raises:
        InputError: If there is not a name for each class, or the file cannot be written.
    """
    confusion = np.asarray(confusion)
    count = len(class_names)
    if confusion.shape != (count, count) or not count:
        raise InputError(
            f"`confusion` has the shape {confusion.shape}, and `class_names` are {count}; give a "
            "row and a column for each name."
        )
    side = min(14.0, 3.2 + 0.3 * min(count, _NAMED))
    figure = Figure(
        figsize=(side + 0.8, side), layout=ConstrainedLayoutEngine(w_pad=0.1), facecolor="white"
    )
    axes: Any = figure.subplots()
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    shown = axes.imshow(shares, cmap=_BLUES, vmin=0, vmax=1, interpolation="nearest")
    if count <= _NUMBERED:
        for row, column in np.argwhere(confusion).tolist():
            axes.text(
                column,
                row,
                confusion[row, column],
                ha="center",
                va="center",
                fontsize=7.5,
                color="white" if shares[row, column] > 0.55 else _INK,
            )
    if count <= _NAMED:
        names = [_shortened(name) for name in class_names]
        axes.set_xticks(range(count), names, rotation=90)
        axes.set_yticks(range(count), names)
    axes.set_xlabel("taken for", color=_GREY, fontsize=9)
    axes.set_ylabel("class", color=_GREY, fontsize=9)
    axes.tick_params(colors=_INK, labelsize=8, length=0)
    for spine in axes.spines.values():
        spine.set_color("#c9cdd2")
    bar = figure.colorbar(shown, ax=axes, fraction=0.04, pad=0.02)
    bar.ax.tick_params(colors=_GREY, labelsize=8, length=0)
    bar.outline.set_visible(False)
    bar.set_label("share of the images of the class", color=_GREY, fontsize=8.5)
    accuracy = np.trace(confusion) / max(confusion.sum(), 1)
    told = f"top-1 {accuracy:.3f}"
    figure.suptitle(
        picture_heading(told, title),
        x=0.012,
        ha="left",
        fontsize=11.5,
        fontweight="bold",
        color=_INK,
    )
    with published_file(Path(path)) as temporary:
        figure.savefig(temporary, dpi=130)


def _shortened(name: str) -> str:
    name = name.replace("$", r"\$")  # no formula
    return name if len(name) <= 24 else f"{name[:23]}…"
