"""Probability that two images show the same, by the similarity of their embeddings."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_distill.errors import InputError

_FACTS_FILE = Path("assets.extra", "distill.json")


@dataclass(frozen=True)
class SameProbability:
    """The probability that two images show the same, measured on pairs that people know.

    Attributes:
        slope: Change of the log odds with the cosine of the embeddings.
        intercept: Log odds at a cosine of 0, where same and different pairs are equally frequent.
        data: The pairs that it was measured on.
        version: Version of the exported model; `None` if not known.

    Example:
        >>> told = SameProbability(slope=20.0, intercept=-10.0)
        >>> round(told.probability(0.6), 3), round(told.probability(0.6, share_of_same=0.01), 3)
        (0.881, 0.069)
    """

    slope: float
    intercept: float
    data: str = ""
    version: int | None = None

    def probability(self, cosine: float, share_of_same: float = 0.5) -> float:
        """Returns the probability that a pair shows the same.

        Args:
            cosine: Cosine of its embeddings.
            share_of_same: Share of same pairs among those that are asked about, between 0 and 1.
        """
        odds = self.slope * cosine + self.intercept
        odds += math.log(share_of_same / (1 - share_of_same))
        return 0.5 * (1 + math.tanh(0.5 * odds))  # never overflows


def cosine_of(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the cosine of two vectors `(dim,)`; 0 if one is zero."""
    lengths = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    return float(np.dot(one, other)) / lengths if lengths else 0.0


def read_same_probability(path: str | Path) -> SameProbability:
    """Reads the calibration of a model.

    Args:
        path: Folder of an exported version, such as `models/faces/1`; or the file that
            `evaluate --protocol=verification --json` wrote.

    Returns:
        The probability.

    Raises:
        InputError: If it cannot be read, or has no calibration.

    Example:
        >>> read_same_probability("models/faces/1").probability(0.7)  # doctest: +SKIP
        0.93
    """
    path, version = Path(path), None
    try:
        if path.is_dir():
            facts: Any = json.loads((path / _FACTS_FILE).read_text(encoding="utf-8"))
            whole, version = facts.get("verification"), facts.get("version")
        else:
            whole = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"`calibration={path}` cannot be read ({error}); give the folder of a version that "
            "`python -m keras_distill.export` wrote, such as models/faces/1, or a result of "
            "`python -m keras_distill.evaluate --protocol=verification --json=FILE`."
        ) from error
    try:
        found = whole["calibration"]
        return SameProbability(
            float(found["slope"]), float(found["intercept"]), str(whole.get("data", "")), version
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"`calibration={path}` does not tell which similarity means the same; run `python -m "
            "keras_distill.evaluate --protocol=verification --json=FILE` and give FILE, or export "
            "with `--recall=FILE`."
        ) from error
