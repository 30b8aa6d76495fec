"""Closeness of an exported file's outputs to the outputs of the Keras model."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_distill.models.file_formats import MISSING_SHARE, WORST_FACTOR

_DIGITS = 4


@dataclass(frozen=True)
class FileFidelity:
    """How close an output of a file is to that of its model, image by image.

    Args:
        cosines: Cosine of the two embeddings of each image, float64 `(n,)`; of other outputs, their
            closeness, see `OutputContract`.
        least: The least cosine or closeness that all but a twentieth of the images must have. The
            worst may be four times as far from 1.
        measure: What messages call it.

    Example:
        >>> FileFidelity(np.array([0.9995] * 63 + [0.9988]), least=0.999).fault()
        >>> FileFidelity(np.array([0.9995] * 63 + [0.5]), least=0.999).fault()
        'the worst of 64 images has a cosine of 0.5000 < 0.9960'
    """

    cosines: np.ndarray
    least: float
    measure: str = "cosine"

    @property
    def low(self) -> float:
        """The measure that only a twentieth of the images are below."""
        return float(np.quantile(self.cosines, MISSING_SHARE, method="lower"))

    @property
    def worst(self) -> float:
        """The least measure."""
        return float(self.cosines.min())

    def fault(self) -> str | None:
        """Says which of the two bounds is not reached, if one is not."""
        count = len(self.cosines)
        if not self.low >= self.least:
            below = np.count_nonzero(~(self.cosines >= self.least))
            return (
                f"{below} of {count} images have a {self.measure} below {self.least:g}, the worst "
                f"{self.worst:.{_DIGITS}f}"
            )
        bound = 1 - WORST_FACTOR * (1 - self.least)
        if not self.worst >= bound:
            return (
                f"the worst of {count} images has a {self.measure} of {self.worst:.{_DIGITS}f} < "
                f"{bound:.{_DIGITS}f}"
            )
        return None

    def passing(self) -> float | None:
        """Returns the highest `least` that would have no fault, rounded down; none above 0."""
        bound = min(self.low, 1 - (1 - self.worst) / WORST_FACTOR)
        if not bound > 10**-_DIGITS:  # or it is not finite
            return None
        return math.floor(bound * 10**_DIGITS - 1e-6) / 10**_DIGITS

    def summary(self) -> dict[str, Any]:
        """Returns mean, low quantile, worst and bound, as the card of a file has them."""
        return {
            "mean": float(self.cosines.mean()),
            "low": self.low,
            "least": self.worst,
            "asked": self.least,
        }
