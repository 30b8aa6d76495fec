"""Picture of the photographs of albums that an encoder attends to most."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from keras_distill.data.albums import Albums
from keras_distill.data.pictures import read_thumbnail
from keras_distill.publishing import published_file

_ALBUMS = 8
_PHOTOGRAPHS = 8
_PIXELS = 160
_INK, _GREY, _BAR = "#33373d", "#8a9099", "#2f6db3"


def draw_albums(
    file: Path, albums: Albums, attention: Sequence[np.ndarray], captions: Sequence[str]
) -> int:
    """Draws a row of photographs for each album, those that are attended to most first.

    Above each photograph is its share of the attention to the album's photographs, and a bar, which
    is as wide as the photograph for the largest share of the album. Of more than 8 albums 8 are
    drawn, evenly spaced, and the 8 photographs of each that have the largest shares.

    Args:
        file: PNG file to write; replaced if it exists.
        albums: The albums.
        attention: For each album the attention to each of its photographs.
        captions: Text above each album.

    Returns:
        The number of albums that were drawn.

    Raises:
        InputError: If the file cannot be written.
    """
    count = min(len(albums), _ALBUMS)
    chosen = np.unique(np.linspace(0, len(albums) - 1, count).round().astype(int)).tolist()
    width = min(int(albums.sizes[chosen].max()), _PHOTOGRAPHS)
    figure = Figure(
        figsize=(max(1.5 * width, 6.0), 2.0 * len(chosen)), layout="constrained", facecolor="white"
    )
    rows: Any = figure.subfigures(len(chosen), 1, squeeze=False)
    for (part,), album in zip(rows, chosen, strict=True):
        shares = attention[album] / max(float(attention[album].sum()), 1e-12)
        equal = f"{len(shares)} photographs, {1 / len(shares):.1%} each if equal"
        title = f"{captions[album]} ({equal})".replace("$", r"\$")
        part.suptitle(title, x=0.01, ha="left", fontsize=9, color=_INK)
        places: Any = part.subplots(1, width, squeeze=False)
        order = np.argsort(-shares, kind="stable")[:width]
        for axes in places.flat:
            axes.axis("off")
        for axes, photograph in zip(places.flat, order.tolist(), strict=False):
            path = albums.photographs.paths[albums.members[album][photograph]]
            axes.imshow(read_thumbnail(albums.photographs.root / path, _PIXELS, square=True))
            share = float(shares[photograph])
            axes.set_title(f"{share:.1%}", fontsize=8, color=_GREY, pad=6)
            axes.plot(
                [0, share / max(float(shares.max()), 1e-12)],
                [1.03, 1.03],
                transform=axes.transAxes,
                color=_BAR,
                linewidth=3,
                clip_on=False,
                solid_capstyle="butt",
            )
    with published_file(file) as temporary:
        figure.savefig(temporary, dpi=100)
    return len(chosen)
