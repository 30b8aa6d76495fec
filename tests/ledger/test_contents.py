import json

import numpy as np
import pytest

from keras_distill.ledger.contents import report_contents, rows_by_importance
from keras_distill.ledger.ledger import Ledger
from keras_distill.ledger.stage import exact_stage


def test_stages_have_the_keys_of_an_evaluation(contents, ledger):
    for entry, stage in zip(contents["steps"], ledger.stages, strict=True):
        assert entry["recall"] == {str(k): value for k, value in stage.metrics.recall.items()}
        assert entry["map_at_r"] == stage.metrics.map_at_r
        assert entry["intervals"]["recall"]["1"] == pytest.approx(stage.metrics.intervals["R@1"])
        assert (entry["queries"], entry["gallery"]) == (96, 96)
        assert entry["index"]["dim"] == 16
        assert [row["queries"] for row in entry["per_class"]] == [8] * 12


def test_changes_add_up(contents):
    changes = [stage["change"] for stage in contents["steps"]]
    assert changes[0] is None
    total = contents["total"]
    for pick in (lambda c: c["recall"]["2"], lambda c: c["map_at_r"], lambda c: c["r_precision"]):
        summed = sum(pick(change)["value"] for change in changes[1:])
        assert summed == pytest.approx(pick(total)["value"])
    none = {"interval": [0, 0], "beyond_noise": False}
    over = {"queries": none, "classes": none}
    assert changes[3]["recall"]["1"] == {"value": 0, **none, "intervals_over": over}
    assert (
        changes[1]["recall"]["1"]["interval"]
        == (changes[1]["recall"]["1"]["intervals_over"]["queries"]["interval"])
    )


def test_recall_curve_passes_through_recall(contents):
    for stage in contents["steps"]:
        curve = dict(zip(stage["recall_curve"]["k"], stage["recall_curve"]["recall"], strict=True))
        assert curve.items() >= {int(k): recall for k, recall in stage["recall"].items()}.items()
        assert list(curve.values()) == sorted(curve.values())


def test_comparisons_name_the_changed_queries(contents, ledger):
    assert [(c["from"], c["to"]) for c in contents["comparisons"]] == ledger.pairs
    for comparison in contents["comparisons"]:
        assert len(comparison["regressed"]) == comparison["regressed_count"]
        for row in comparison["regressed"]:
            answer = contents["queries"][str(row)]
            assert answer["first_match"][comparison["from"]] == 1
            assert answer["first_match"][comparison["to"]] != 1
            own = contents["images"][str(row)]["class"]
            first = [answer["neighbours"][comparison[side]][0] for side in ("from", "to")]
            found = [contents["images"][str(neighbour)]["class"] == own for neighbour in first]
            assert found == [True, False]
    assert contents["comparisons"][0]["regressed_count"] > 5
    assert contents["comparisons"][2]["regressed_count"] == 0


def test_lists_are_bounded_from_the_worst_on(ledger, drawn, contents):
    few = report_contents(ledger, drawn, most_queries=3)
    whole = contents["comparisons"][0]
    assert few["comparisons"][0]["regressed"] == whole["regressed"][:3]
    assert few["comparisons"][0]["regressed_count"] == whole["regressed_count"]
    assert len(few["queries"]) < len(contents["queries"])


def test_rows_come_by_importance(contents):
    rows = rows_by_importance(contents)
    assert len(rows) == len(set(rows))
    assert set(rows) == set(map(int, contents["images"]))
    assert rows[0] == contents["samples"][0]

    def needed(row):
        answers = contents["queries"][str(row)]["neighbours"]
        return {row, *(neighbour for found in answers for neighbour in found)}

    samples = set().union(*map(needed, contents["samples"]))
    assert set(rows[: len(samples)]) == samples
    worst = [c["regressed"][0] for c in contents["comparisons"] if c["regressed"]]
    first = samples.union(*map(needed, worst))
    assert set(rows[: len(first)]) == first


def test_classes_name_the_class_they_are_taken_for(contents, ledger, drawn):
    stage = ledger.stages[1]
    row = next(r for r in contents["steps"][1]["per_class"] if r["recall"]["1"] < 1)
    label = drawn.class_names.index(row["class"])
    firsts = drawn.labels[stage.neighbours[drawn.labels == label, 0]].tolist()
    taken = drawn.class_names.index(row["taken_for"]["class"])
    assert row["taken_for"]["queries"] == firsts.count(taken)
    assert taken != label
    assert all(firsts.count(taken) >= firsts.count(other) for other in set(firsts) - {label})


def test_vectors_that_are_not_finite_are_null(drawn, labelled):
    vectors, labels = labelled(0.5)
    vectors = vectors.copy()
    vectors[0] = np.nan
    stage = exact_stage("student", "student.keras", vectors, labels, ks=[1])
    found = report_contents(Ledger([stage]), drawn, most_queries=10)
    assert found["total"] is None
    assert found["comparisons"] == []
    assert found["map"]["steps"][0]["places"][0] == [None, None]
    assert found["queries"]["0"]["neighbours"] == [[None] * 5]
    assert found["queries"]["0"]["first_match"] == [None]
    json.dumps(found, allow_nan=False)


def test_space_of_a_projection_differs_from_a_copy(contents):
    student, export = (contents["steps"][n]["compared_with_before"] for n in (1, 2))
    assert export["cosine"]["least"] == pytest.approx(1, abs=1e-5)
    assert export["same_neighbours"]["share"] < 1
    assert student["cosine"]["mean"] < 0.99
