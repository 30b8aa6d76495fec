"""Output contract: what the name of a model's output says of its values.

An output is a float32 array with a row for each image. Those of the name `embedding` are vectors of
length 1, of which only the direction counts. Of any other name, such as `logits`, `score` or
`density`, they are numbers that count as they are.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

EMBEDDING = "embedding"
LENGTH_TOLERANCE = 1e-3
LEAST_COSINE = 0.9999
# Of other outputs: the largest difference is a thousandth of the largest value. Rounding gives a
# hundred times less; a crop that is off by a pixel gives more.
LEAST_CLOSENESS = 0.999
# Added to the largest value: what is zero but for rounding is compared absolutely.
_ABSOLUTE = 0.01


@dataclass(frozen=True)
class OutputContract:
    """What the values of an output must be, and when two answers are the same.

    Attributes:
        name: Name of the output.
        unit_length: Whether each row is a vector of length 1.
        measure: How two answers are compared: by the cosine of their rows, or by their closeness,
            which is 1 minus the largest difference in a row, relative to the largest value of all.
            Both are 1 for equal answers.
        least: The least cosine or closeness of two answers that count as the same.
    """

    name: str
    unit_length: bool
    measure: Literal["cosine", "closeness"]
    least: float

    def compare(self, given: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """Compares two answers, image by image.

        Args:
            given: The answer, `(n, ...)`, a row for each image.
            expected: The answer that is known to be right, of the same shape.

        Returns:
            The measure, float64 `(n,)`; NaN where a value is not finite.

        Example:
            >>> known = np.array([1.0, 9.99])
            >>> output_contract("score").compare(known - [0, 0.1], known)
            array([1.  , 0.99])
        """
        a = given.reshape(len(given), -1).astype(np.float64)
        b = expected.reshape(len(expected), -1).astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):  # any number may be there
            if self.measure == "cosine":
                lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
                return np.sum(a * b, axis=1) / np.where(lengths > 0, lengths, 1.0)
            scale = np.max(np.abs(b), initial=0.0) + _ABSOLUTE
            differences = np.max(np.abs(a - b), axis=1, initial=0.0)
            return 1 - np.where(np.isfinite(scale), differences / scale, np.nan)

    def least_of(self, given: np.ndarray, expected: np.ndarray) -> float:
        """Returns the least measure of all images; 0 if the shapes differ, NaN as `compare`."""
        if given.shape != expected.shape:
            return 0.0
        return float(np.min(self.compare(given, expected), initial=np.inf))

    def off_length(self, rows: np.ndarray) -> float:
        """Returns the most that the length of a row is off 1; 0 of outputs that have no length."""
        if not self.unit_length:
            return 0.0
        lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
        return float(np.max(np.abs(lengths - 1), initial=0.0))


def output_contract(name: str) -> OutputContract:
    """Returns the contract of an output.

    Args:
        name: Its name.

    Example:
        >>> output_contract("embedding").measure, output_contract("logits").measure
        ('cosine', 'closeness')
    """
    if name == EMBEDDING:
        return OutputContract(name, unit_length=True, measure="cosine", least=LEAST_COSINE)
    return OutputContract(name, unit_length=False, measure="closeness", least=LEAST_CLOSENESS)
