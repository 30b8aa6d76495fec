"""Recall ledger: the stages from teacher to index, and the loss of each."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from keras_distill.errors import InputError
from keras_distill.evaluation.retrieval_metrics import RetrievalMetrics, measure_intervals
from keras_distill.ledger.stage import LedgerStage


@dataclass(frozen=True)
class Change:
    """The difference of a mean between two stages, on the same queries.

    Attributes:
        value: Mean after less mean before; negative for a loss.
        intervals: Its 95 % intervals, lower and upper bound, by the resampled unit, `queries` or
            `classes`.
    """

    value: float
    intervals: Mapping[str, tuple[float, float]]

    def beyond_noise(self, over: str) -> bool:
        """Whether an interval excludes 0.

        Args:
            over: The resampled unit, `queries` or `classes`.
        """
        low, high = self.intervals[over]
        return low > 0 or high < 0


class Ledger:
    """Stages in their order, and the change of each from the stage it was made from.

    The chain leads from the first model to the last model or index. Branches are off the chain,
    such as the student in other file formats: each is compared with the stage it was made from, and
    no other stage is made from it.

    Changes are means over queries of paired differences, so the changes along the chain add up to
    `total`. Their intervals come from a paired bootstrap: the same queries are drawn for both
    stages.

    Args:
        chain: At least one stage, all of the same images.
        branches: Other stages of these images, each with the number of the stage in the chain that
            it was made from.

    Raises:
        InputError: If there is no stage, or they measure different queries.

    Attributes:
        stages: The stages: the chain, then the branches.
        before: For each stage, the number of the stage it was made from; `None` for the first.
        last: Number of the last stage of the chain.
    """

    def __init__(
        self, chain: Sequence[LedgerStage], branches: Sequence[tuple[int, LedgerStage]] = ()
    ):
        if not chain:
            raise InputError("a ledger needs at least one stage.")
        self.stages = [*chain, *(stage for _, stage in branches)]
        self.last = len(chain) - 1
        self.before: list[int | None] = [
            None,
            *range(self.last),
            *(number for number, _ in branches),
        ]
        for stage in self.stages[1:]:
            if not np.array_equal(stage.metrics.labels, chain[0].metrics.labels):
                names = f"{chain[0].name} and {stage.name}"
                raise InputError(f"the stages {names} measure different images.")

    @functools.cached_property
    def changes(self) -> list[Mapping[str, Change] | None]:
        """For each stage, the change from the stage before, by measure; `None` for the first."""
        return [
            None if before is None else changes(self.stages[before].metrics, stage.metrics)
            for before, stage in zip(self.before, self.stages, strict=True)
        ]

    @functools.cached_property
    def total(self) -> Mapping[str, Change]:
        """Changes from the first stage of the chain to the last, by measure."""
        return changes(self.stages[0].metrics, self.stages[self.last].metrics)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Numbers of the stages to compare: each with the one before it, and first with last.

        Example:
            >>> ledger = Ledger.__new__(Ledger)
            >>> ledger.before, ledger.last = [None, 0, 1, 1], 2
            >>> ledger.pairs
            [(0, 1), (1, 2), (1, 3), (0, 2)]
        """
        pairs = [(before, stage) for stage, before in enumerate(self.before) if before is not None]
        return pairs + ([(0, self.last)] if self.last > 1 else [])


def changes(before: RetrievalMetrics, after: RetrievalMetrics) -> dict[str, Change]:
    """Compares the metrics of two stages on the same queries.

    Args:
        before: Metrics of one stage.
        after: Metrics of another stage, with the same measures.

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
