"""Picture of density maps next to their images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image, ImageOps

from keras_distill.publishing import published_file

#: Number of images that are drawn.
SHOWN = 4


def draw_densities(
    path: str | Path,
    files: Sequence[str],
    densities: Sequence[np.ndarray],
    points: Sequence[np.ndarray],
    *,
    stride: float,
) -> None:
    """Draws images, their points, and the density maps that a model has computed.

    Args:
        path: Where to write the picture, a PNG file.
        files: The images.
        densities: Density map of each, `(rows, columns)`, of cells of `stride` pixels.
        points: x and y of the points of each, in pixels, `(n, 2)`.
        stride: Height and width of a cell, in pixels.

    Raises:
        InputError: If the file cannot be written.
    """
    figure = Figure(
        figsize=(3.4 * len(files), 5.4),
        layout=ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.05),
        facecolor="white",
    )
    rows = figure.subplots(2, len(files), squeeze=False)
    for column, file in enumerate(files):
        with Image.open(file) as opened:
            image = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
        height, width = image.shape[:2]
        above, below = rows[:, column]
        above.imshow(image)
        x, y = np.reshape(points[column], (-1, 2)).T
        above.plot(x, y, ".", color="#ff3b30", markersize=1.5)
        above.set_title(f"{len(points[column])} points", fontsize=9)
        density = densities[column]
        extent = (0, density.shape[1] * stride, density.shape[0] * stride, 0)
        below.imshow(np.maximum(density, 0), extent=extent, cmap="magma", interpolation="nearest")
        below.set_title(f"counted {density.sum():.1f}", fontsize=9)
        for axes in (above, below):
            axes.set_xlim(0, width)
            axes.set_ylim(height, 0)
            axes.set_axis_off()
    with published_file(Path(path)) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def evenly_spread(counts: np.ndarray, number: int = SHOWN) -> list[int]:
    """Chooses images from the fewest points to the most.

    Args:
        counts: Number of points of each image, `(n,)`.
        number: How many to choose.

    Returns:
        Their rows, at most `number`, each once.

    Example:
        >>> evenly_spread(np.array([5, 1, 9, 3, 7]), 3)
        [1, 0, 2]
    """
    order = np.argsort(counts, kind="stable")
    places = np.linspace(0, len(order) - 1, min(number, len(order))).round().astype(int)
    return [int(order[place]) for place in places]
