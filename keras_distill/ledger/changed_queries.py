"""Changed queries: right in one stage of a ledger and wrong in another."""

from dataclasses import dataclass

import numpy as np

from keras_distill.ledger.stage import LedgerStage


@dataclass(frozen=True, eq=False)
class ChangedQueries:
    """Queries whose first neighbour is of their class in only one of two stages.

    Attributes:
        regressed: Right before and wrong after, worst first, int64.
        improved: Wrong before and right after, best first, int64.
        both_right: Number of queries that are right in both.
        both_wrong: Number of queries that are wrong in both.
    """

    regressed: np.ndarray
    improved: np.ndarray
    both_right: int
    both_wrong: int


def changed_queries(before: LedgerStage, after: LedgerStage) -> ChangedQueries:
    """Finds the queries whose first neighbour changed between right and wrong.

    The worst query is the one whose first match has fallen farthest, or out of the list; of several
    at the same rank, the one that lost most in average precision.

    Args:
        before: A stage.
        after: A later stage, of the same images.

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


def _worst_first(rows: np.ndarray, right: LedgerStage, wrong: LedgerStage) -> np.ndarray:
    """Sorts queries by the rank and the loss in the wrong stage."""
    rank = wrong.first_match[rows]
    rank = np.where(rank > 0, rank, wrong.neighbours.shape[1] + 1)
    lost = (right.metrics.per_query["MAP@R"] - wrong.metrics.per_query["MAP@R"])[rows]
    return rows[np.lexsort((rows, -lost, -rank))]
