"""What each step of the way loses, and what all lose together."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from keras_distill.errors import InputError
from keras_distill.ledger.step import Step
from keras_distill.retrieval.bootstrap import mean_intervals
from keras_distill.retrieval.metrics import RetrievalMetrics


@dataclass(frozen=True)
class Change:
    """The difference of a mean between two steps, on the same queries.

    Attributes:
        value: Mean after less mean before; negative for a loss.
        low: Least value of its 95 % interval.
        high: Greatest value of it.
    """

    value: float
    low: float
    high: float

    @property
    def beyond_noise(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


class Ledger:
    """The steps in their order, and the changes from each to the next.

    Changes are means over queries of paired differences, so those of the steps add up to `total`.
    Their intervals are of a paired bootstrap: the same queries are drawn for both.

    Args:
        steps: At least one, all of the same images.

    Raises:
        InputError: If there is none, or they measure different queries.
    """

    def __init__(self, steps: Sequence[Step]):
        if not steps:
            raise InputError("a ledger needs at least one step.")
        for step in steps[1:]:
            if not np.array_equal(step.metrics.labels, steps[0].metrics.labels):
                names = f"{steps[0].name} and {step.name}"
                raise InputError(f"the steps {names} measure different images.")
        self.steps = list(steps)

    @functools.cached_property
    def changes(self) -> list[Mapping[str, Change]]:
        """Changes from each step to the next, one fewer than steps, by measure."""
        pairs = zip(self.steps, self.steps[1:], strict=False)
        return [changes(before.metrics, after.metrics) for before, after in pairs]

    @functools.cached_property
    def total(self) -> Mapping[str, Change]:
        """Changes from the first step to the last, by measure."""
        return changes(self.steps[0].metrics, self.steps[-1].metrics)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Numbers of the steps that are worth comparing: neighbours, and the first with the last.

        Example:
            >>> ledger = Ledger.__new__(Ledger)
            >>> ledger.steps = ["teacher", "student", "export"]
            >>> ledger.pairs
            [(0, 1), (1, 2), (0, 2)]
        """
        last = len(self.steps) - 1
        return [(i, i + 1) for i in range(last)] + ([(0, last)] if last > 1 else [])


def changes(before: RetrievalMetrics, after: RetrievalMetrics) -> dict[str, Change]:
    """Compares two measurements of the same queries.

    Args:
        before: One measurement.
        after: Another, with the same measures.

    Returns:
        The changes by the names of `RetrievalMetrics.per_query`.
    """
    differences = {
        name: after.per_query[name] - values for name, values in before.per_query.items()
    }
    bounds = mean_intervals(np.stack(list(differences.values()), axis=1)).tolist()
    return {
        name: Change(after.means[name] - before.means[name], low, high)
        for name, (low, high) in zip(differences, bounds, strict=True)
    }
