"""Drawing of a query and its neighbours."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from keras_distill.data.pictures import read_thumbnail
from keras_distill.publishing import published_file

_COLUMNS = 6
_PIXELS = 160


def draw_neighbours(
    query: Path | None, neighbours: Sequence[Path], captions: Sequence[str], file: Path
) -> None:
    """Draws a query and its neighbours, nearest first, as a PNG file.

    Args:
        query: File of the query image; `None` if the query is no image.
        neighbours: Files of the images that were found; a missing one is drawn as a grey square.
        captions: Text above each neighbour.
        file: PNG file to write; replaced if it exists.

    Raises:
        InputError: If the file cannot be written.
    """
    images = list(neighbours) if query is None else [query, *neighbours]
    rows = -(-len(images) // _COLUMNS)
    columns = min(len(images), _COLUMNS)
    figure = Figure(figsize=(1.8 * columns, 2.0 * rows), layout="constrained", dpi=100)
    texts = [f"{rank}: {text}" for rank, text in enumerate(captions, 1)]
    texts = texts if query is None else ["query", *texts]
    grid: Any = figure.subplots(rows, _COLUMNS if rows > 1 else columns, squeeze=False)
    for place in grid.flat:
        place.axis("off")
    for place, path, text in zip(grid.flat, images, texts, strict=False):
        place.imshow(read_thumbnail(path, _PIXELS))
        place.set_title(text if len(text) <= 26 else f"{text[:12]}…{text[-13:]}", fontsize=7)
    with published_file(file) as temporary:
        figure.savefig(temporary)
