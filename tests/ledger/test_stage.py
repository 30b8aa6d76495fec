import numpy as np
import pytest

from keras_distill import InputError, retrieval_metrics
from keras_distill.ledger.stage import exact_stage, index_stage
from keras_distill.retrieval.scann_search import ScannSearcher, ScannSettings
from keras_distill.retrieval.searcher import ExactSearcher


def test_exact_stage_agrees_with_evaluate(labelled):
    vectors, labels = labelled(1.5)
    stage = exact_stage("student", "student.keras", vectors, labels, ks=[1, 4])
    assert stage.metrics == retrieval_metrics(vectors, labels, ks=[1, 4])
    assert 0 < stage.metrics.recall[1] < 1
    assert stage.notes == []


def test_first_match_gives_the_recall_at_every_k(stage):
    measured = stage(1.5)
    for k, recall in measured.metrics.recall.items():
        assert ((measured.first_match > 0) & (measured.first_match <= k)).mean() == recall


def test_vectors_that_are_not_finite_are_measured_as_found_nowhere(labelled):
    vectors, labels = labelled(0.0)  # each class at one point
    vectors[3] = np.nan
    vectors[40, 2] = np.inf
    stage = exact_stage("export", "1", vectors, labels, ks=[1])
    assert stage.metrics.recall[1] == 1 - 2 / len(labels)
    assert not np.isin(stage.neighbours, [3, 40]).any()
    assert (stage.neighbours[[3, 40]] == -1).all()
    assert stage.notes == [
        "2 of 96 vectors are not finite: these queries find nothing, and no query finds them."
    ]


def test_all_vectors_lost(labelled):
    vectors, labels = labelled(1.0)
    stage = exact_stage("export", "1", np.full_like(vectors, np.nan), labels, ks=[1])
    assert stage.metrics.recall[1] == stage.metrics.map_at_r == 0
    with pytest.raises(InputError, match="the stage export gave 0 finite vectors"):
        index_stage("index", stage, ExactSearcher, ks=[1])


def test_length_is_noted_and_decides(labelled):
    vectors, labels = labelled(1.0)
    vectors *= np.linspace(1, 9, len(vectors), dtype=np.float32)[:, None]
    stage = exact_stage("export", "1", vectors, labels, ks=[1])
    assert stage.notes == [
        "Vectors are not of length 1, but from 1 to 9: measured by Euclidean distance without "
        "normalisation."
    ]
    assert stage.metrics == retrieval_metrics(vectors, labels, ks=[1])


def test_index_that_compares_all_agrees_with_exact_search(stage):
    before = stage(1.5)
    index = index_stage("index", before, ScannSearcher, ks=[1, 2, 4])
    assert index.metrics == before.metrics
    assert index.agreement.share == 1
    assert (index.backend, index.model) == ("scann", before.model)
    assert "ScaNN compares with every row" in index.notes[-1]


def test_starved_index_loses_recall_and_says_so(stage):
    before = stage(0.6, classes=300, each=5)

    def starved(gallery):
        return ScannSearcher(gallery, ScannSettings(55, 1, reorder=1, reorder_factor=1))

    index = index_stage("index", before, starved, ks=[1, 2, 4])
    assert index.metrics.recall[1] < before.metrics.recall[1] - 0.1
    assert index.agreement.share < 0.9
    assert index.notes[-1].startswith(
        f"Finds {100 * index.agreement.share:.2f} % of the exact 4 nearest"
    )


def test_index_holds_finite_vectors_only(labelled):
    vectors, labels = labelled(0.5)
    vectors[5] = np.nan
    before = exact_stage("export", "1", vectors, labels, ks=[1])
    index = index_stage("index", before, ExactSearcher, ks=[1])
    np.testing.assert_array_equal(index.neighbours, before.neighbours)


def test_single_image_is_refused():
    with pytest.raises(InputError, match="there is nothing to search: 1 images"):
        exact_stage("student", "student.keras", np.ones((1, 3)), np.zeros(1, int), ks=[1])
