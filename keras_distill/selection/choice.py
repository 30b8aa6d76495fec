"""Images that were chosen to be labelled, and why."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Choice:
    """Images that were chosen.

    Attributes:
        root: Folder of the images.
        paths: Their relative paths, the first choice first.
        values: Why each was chosen, by its name, such as `distance`, floats or `None`.
        measure: Name of the values; empty for none.
        images: Number of all images.
        labelled: Number of images that are labelled already.
        unreadable: Images that were left out, because they cannot be read.
        more: Further facts for the summary.
    """

    root: Path
    paths: list[str]
    values: list[float | None]
    measure: str
    images: int
    labelled: int
    unreadable: list[str] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)

    def captions(self) -> list[str]:
        """Returns a rank and the value for each image."""
        return [
            f"{rank}" if value is None else f"{rank}: {value:.3f}"
            for rank, value in enumerate(self.values, 1)
        ]

    def summary(self) -> dict[str, Any]:
        """Returns what is known, without the images, as plain values for JSON."""
        known = np.array([value for value in self.values if value is not None])
        spread = {"first": known[0], "last": known[-1]} if len(known) else {}
        return {
            "images": self.images,
            "labelled": self.labelled,
            "chosen": len(self.paths),
            **({self.measure: {k: float(v) for k, v in spread.items()}} if spread else {}),
            **self.more,
            "unreadable": len(self.unreadable),
        }
