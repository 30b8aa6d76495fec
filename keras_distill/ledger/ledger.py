"""What each step of the way loses, and what all lose together."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from keras_distill.errors import InputError
from keras_distill.evaluation.retrieval_metrics import RetrievalMetrics, measure_intervals
from keras_distill.ledger.step import Step


@dataclass(frozen=True)
class Change:
    """The difference of a mean between two steps, on the same queries.

    Attributes:
        value: Mean after less mean before; negative for a loss.
        intervals: Its 95 % intervals by what was resampled, `queries` or `classes`: the least and
            the greatest value.
    """

    value: float
    intervals: Mapping[str, tuple[float, float]]

    def beyond_noise(self, over: str) -> bool:
        """Whether an interval leaves 0 out.

        Args:
            over: What was resampled, `queries` or `classes`.
        """
        low, high = self.intervals[over]
        return low > 0 or high < 0


class Ledger:
    """The steps in their order, and the change of each from the step that it was made of.

    The chain leads from the first model to what answers at the end. Branches lead off it, such as
    the student in other file formats: each is compared with the step that it was made of, and
    nothing follows from it.

    Changes are means over queries of paired differences, so those along the chain add up to
    `total`. Their intervals are of a paired bootstrap: the same queries are drawn for both.

    Args:
        chain: At least one step, all of the same images.
        branches: Other steps of these images, each with the number of the step in the chain that
            it was made of.

    Raises:
        InputError: If there is no step, or they measure different queries.

    Attributes:
        steps: The steps: the chain, then the branches.
        before: For each step the number of the step that it was made of; `None` for the first.
        last: Number of the last step of the chain.
    """

    def __init__(self, chain: Sequence[Step], branches: Sequence[tuple[int, Step]] = ()):
        if not chain:
            raise InputError("a ledger needs at least one step.")
        self.steps = [*chain, *(step for _, step in branches)]
        self.last = len(chain) - 1
        self.before: list[int | None] = [
            None,
            *range(self.last),
            *(number for number, _ in branches),
        ]
        for step in self.steps[1:]:
            if not np.array_equal(step.metrics.labels, chain[0].metrics.labels):
                names = f"{chain[0].name} and {step.name}"
                raise InputError(f"the steps {names} measure different images.")

    @functools.cached_property
    def changes(self) -> list[Mapping[str, Change] | None]:
        """For each step the change from the step before, by measure; `None` for the first."""
        return [
            None if before is None else changes(self.steps[before].metrics, step.metrics)
            for before, step in zip(self.before, self.steps, strict=True)
        ]

    @functools.cached_property
    def total(self) -> Mapping[str, Change]:
        """Changes from the first step of the chain to the last, by measure."""
        return changes(self.steps[0].metrics, self.steps[self.last].metrics)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Numbers of the steps that are worth comparing: each with the one before it, and the ends.

        Example:
            >>> ledger = Ledger.__new__(Ledger)
            >>> ledger.before, ledger.last = [None, 0, 1, 1], 2
            >>> ledger.pairs
            [(0, 1), (1, 2), (1, 3), (0, 2)]
        """
        pairs = [(before, step) for step, before in enumerate(self.before) if before is not None]
        return pairs + ([(0, self.last)] if self.last > 1 else [])


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
    intervals = measure_intervals(differences, before.labels)
    return {
        name: Change(
            after.means[name] - before.means[name],
            {over: bounds[name] for over, bounds in intervals.items()},
        )
        for name in differences
    }
