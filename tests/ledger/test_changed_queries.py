import numpy as np

from keras_distill.evaluation.retrieval_metrics import neighbour_metrics
from keras_distill.ledger.changed_queries import changed_queries
from keras_distill.ledger.stage import LedgerStage

LABELS = np.array([0, 0, 0, 1, 1, 1])


def listed(lists):
    lists = np.array(lists)
    metrics = neighbour_metrics(lists, LABELS, ks=[1])
    return LedgerStage("stage", "", np.zeros((6, 2)), lists, np.zeros(lists.shape), metrics)


def test_worst_is_first():
    right = listed([[1, 2, 3], [0, 2, 3], [0, 1, 3], [4, 5, 0], [3, 5, 0], [0, 1, 2]])
    # Of rows 0 to 4: match at rank 2, none, at rank 3, at rank 2 and 3, right; row 5 improved.
    wrong = listed([[3, 1, 4], [3, 4, 5], [3, 4, 1], [0, 4, 5], [3, 0, 1], [4, 0, 1]])
    changed = changed_queries(right, wrong)
    assert changed.regressed.tolist() == [1, 2, 0, 3]
    assert changed.improved.tolist() == [5]
    assert (changed.both_right, changed.both_wrong) == (1, 0)
    back = changed_queries(wrong, right)
    assert back.improved.tolist() == changed.regressed.tolist()
    assert back.regressed.tolist() == changed.improved.tolist()


def test_counts_explain_the_difference_of_the_recall(stage):
    before, after = stage(0.8, "teacher"), stage(1.4, "student")
    changed = changed_queries(before, after)
    net = len(changed.improved) - len(changed.regressed)
    queries = before.metrics.queries
    difference = after.metrics.recall[1] - before.metrics.recall[1]
    assert net == round(difference * queries) < 0
    assert len(changed.regressed) + changed.both_right == round(before.metrics.recall[1] * queries)
    assert changed.both_wrong + changed.both_right + net + 2 * len(changed.regressed) == queries
