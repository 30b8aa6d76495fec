import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "retrieval.py"


def run(*flags):
    """The lines of a run, by case."""
    command = [sys.executable, str(BENCHMARK), "--rounds=1", "--queries=50", *map(str, flags)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    cases = {}
    for line in map(json.loads, result.stdout.splitlines()):
        assert {"benchmark", "case", "value", "unit", "against", "ratio"} <= line.keys()
        assert line["ratio"] == pytest.approx(line["value"] / line["against"], rel=1e-2)
        assert line["case"] not in cases
        cases[line["case"]] = line
    return cases


@pytest.mark.slow
def test_all_sides_answer_the_same_question_alike():
    cases = run("--cases=exact_vs_faiss,exact_memory,scann_vs_exact", "--vectors=1500", "--dim=32")
    compared = ("exact_vs_faiss", "scann_vs_exact")
    assert [*cases] == [f"{case}_k{k}" for k in (10, 1000) for case in compared] + ["exact_memory"]
    for case in compared:
        few, many = cases[f"{case}_k10"], cases[f"{case}_k1000"]
        assert (few["k"], many["k"]) == (10, 1000)
        assert few["recall"].items() <= many["recall"].items()
        # So few vectors ScaNN compares one by one, too.
        assert many["recall"] == cases["exact_vs_faiss_k1000"]["recall"]
        assert many["recall_at_1_difference"] == 0
        assert 0.5 < many["recall"]["1"] < many["recall"]["10"] < many["recall"]["1000"]
    assert cases["exact_memory"]["value"] == cases["exact_vs_faiss_k1000"]["peak_mb"]


@pytest.mark.slow
def test_an_index_on_disk():
    line = run("--cases=million", "--million=3000")["million"]
    assert line["vectors"] == 3000
    assert line["agreement"] == 1
    assert line["disk_mb"] > line["vectors_mb"] == pytest.approx(3000 * 128 * 4 / 1e6, rel=1e-2)
    assert line["build_s"] > line["open_s"] > 0


@pytest.mark.slow
def test_queries_one_by_one():
    line = run("--cases=one_by_one", "--million=3000", "--singles=5")["one_by_one"]
    assert (line["vectors"], line["k"], line["agreement"]) == (3000, 10, 1)


@pytest.mark.slow
def test_cost_by_size(tmp_path):
    cases = run("--cases=cost", "--sizes=300,900", f"--plot={tmp_path / 'cost.png'}")
    assert [(line["vectors"], line["backend"]) for line in cases.values()] == [
        (size, backend) for size in (300, 900) for backend in ("exact", "faiss", "scann")
    ]
    assert (tmp_path / "cost.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_no_picture_is_drawn_unless_asked_for():
    tracked = BENCHMARK.with_name("retrieval_cost.png")
    former = tracked.stat().st_mtime_ns
    run("--cases=cost", "--sizes=300")
    assert tracked.stat().st_mtime_ns == former


def test_an_unknown_case_is_refused():
    command = [sys.executable, str(BENCHMARK), "--cases=exact,cost"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert "--cases: exact unknown; exact_vs_faiss, exact_memory" in result.stderr + result.stdout
