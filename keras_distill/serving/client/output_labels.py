"""Labels of an output, by which logits become names with probabilities."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_distill.errors import InputError

_FACTS_FILE = Path("assets.extra", "distill.json")
_THRESHOLD = 0.5


@dataclass(frozen=True)
class OutputLabels:
    """The labels of an output of logits.

    Attributes:
        output: Name of the output.
        names: Name of each label, in the order of the logits.
        thresholds: Probability from which each label counts as present.
        activation: What turns logits into probabilities, `"sigmoid"` or `"softmax"`.

    Example:
        >>> import numpy as np
        >>> labels = OutputLabels("logits", ("cat", "dog"), (0.5, 0.5))
        >>> labels.present(np.array([[3.0, -1.0], [-2.0, -2.0]]))
        [{'cat': 0.952...}, {}]
    """

    output: str
    names: tuple[str, ...]
    thresholds: tuple[float, ...]
    activation: str = "sigmoid"

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Returns the probability of each label.

        Args:
            logits: Logits `(n, labels)`.

        Returns:
            float64 of the same shape.
        """
        logits = np.asarray(logits, np.float64)
        if self.activation == "softmax":
            powers = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
            return powers / powers.sum(axis=1, keepdims=True)
        return 0.5 * (1 + np.tanh(0.5 * logits))  # never overflows

    def present(self, logits: np.ndarray, threshold: float | None = None) -> list[dict[str, float]]:
        """Returns the labels that each image has.

        Args:
            logits: Logits `(n, labels)`.
            threshold: Instead of `thresholds`, one for all labels.

        Returns:
            For each image the labels that reach their threshold with their probabilities, the most
            probable one first.

        Raises:
            InputError: If there is not a logit for each label.
        """
        self.check_row(np.shape(logits)[1:])
        least = np.asarray(self.thresholds if threshold is None else threshold)
        rows = []
        for row in self.probabilities(logits):
            places = [place for place in np.argsort(-row, kind="stable") if (row >= least)[place]]
            rows.append({self.names[place]: float(row[place]) for place in places})
        return rows

    def check_row(self, shape: Sequence[int]) -> None:
        """Checks the shape of an image's row of the output.

        Raises:
            InputError: If it has not a logit for each label.
        """
        if tuple(shape) != (len(self.names),):
            raise InputError(
                f"`labels` are {len(self.names)} names, but an image's {self.output!r} has the "
                f"shape {tuple(shape)}; give the labels of this very model."
            )


def read_labels(labels: str | Path) -> OutputLabels:
    """Reads the labels of an exported model.

    Args:
        labels: Folder of the version, such as `models/tags/1`; or a text file with a name in each
            line, for the output `logits` with a threshold of 0.5 for each probability.

    Returns:
        The labels.

    Raises:
        InputError: If they cannot be read, or the export has none.

    Example:
        >>> read_labels("models/tags/1").names  # doctest: +SKIP
        ('bird', 'boat')
    """
    path = Path(labels)
    try:
        if path.is_dir():
            return _of_facts(json.loads((path / _FACTS_FILE).read_text(encoding="utf-8")), path)
        names = tuple(filter(None, map(str.strip, path.read_text(encoding="utf-8").splitlines())))
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"`labels={labels}` cannot be read ({error}); give the folder of a version that "
            "`python -m keras_distill.export` wrote, such as models/tags/1, or a text file with a "
            "name in each line."
        ) from error
    if not names:
        raise InputError(f"`labels={labels}` is empty; give a name in each line.")
    return OutputLabels("logits", names, (_THRESHOLD,) * len(names))


def _of_facts(facts: Any, path: Path) -> OutputLabels:
    for output, stated in facts.get("outputs", {}).items():
        if "labels" in stated:
            names = tuple(map(str, stated["labels"]))
            thresholds = stated.get("thresholds") or [_THRESHOLD] * len(names)
            return OutputLabels(output, names, tuple(map(float, thresholds)), stated["activation"])
    raise InputError(
        f"`labels={path}` names no labels; export a model of build_classifier(), or give a text "
        "file with a name in each line."
    )
