"""The queries that one step answers rightly and another wrongly."""

from dataclasses import dataclass

import numpy as np

from keras_distill.ledger.step import Step


@dataclass(frozen=True, eq=False)
class ChangedQueries:
    """Queries whose first neighbour is of their class in one of two steps only.

    Attributes:
        regressed: Right before and wrong after, worst first, int64.
        improved: Wrong before and right after, best first, int64.
        both_right: How many are right in both.
        both_wrong: How many are wrong in both.
    """

    regressed: np.ndarray
    improved: np.ndarray
    both_right: int
    both_wrong: int


def changed_queries(before: Step, after: Step) -> ChangedQueries:
    """Finds the queries whose first neighbour changed between right and wrong.

    The worst is the one whose first match has fallen to the last rank, or out of the list; of
    several at one rank, the one that lost most in average precision.

    Args:
        before: A step.
        after: A later one, of the same images.

    Returns:
        The queries.
    """
    right, right_after = before.first_match == 1, after.first_match == 1
    return ChangedQueries(
        regressed=_worst_first(np.flatnonzero(right & ~right_after), before, after),
        improved=_worst_first(np.flatnonzero(~right & right_after), after, before),
        both_right=int((right & right_after).sum()),
        both_wrong=int((~right & ~right_after).sum()),
    )


def _worst_first(rows: np.ndarray, right: Step, wrong: Step) -> np.ndarray:
    """Sorts queries by how wrong the wrong step is."""
    rank = wrong.first_match[rows]
    rank = np.where(rank > 0, rank, wrong.neighbours.shape[1] + 1)
    lost = (right.metrics.per_query["MAP@R"] - wrong.metrics.per_query["MAP@R"])[rows]
    return rows[np.lexsort((rows, -lost, -rank))]
