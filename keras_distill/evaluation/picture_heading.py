"""Heading of a picture of figures."""

import textwrap

_WIDTH = 48


def picture_heading(figures: str, title: str = "") -> str:
    """Puts what was measured above what it was measured of, in lines that a picture has room for.

    Args:
        figures: The figures in words.
        title: The model and the data, whose paths may be long.

    Returns:
        Text for matplotlib, which takes no dollar sign in it for mathematics.

    Example:
        >>> print(picture_heading("mAP 0.81", "runs/student on folder:photos (test)"))
        mAP 0.81
        runs/student on folder:photos (test)
    """
    lines = [figures, *textwrap.wrap(title, _WIDTH, break_on_hyphens=False)]
    return "\n".join(lines).replace("$", r"\$")
