import csv
import io
import itertools
import json
import statistics

import pytest

from keras_distill.ablation.report import figure_by_variant, plain_figures, write_report


def result(variant, seed, recall, evaluation="test"):
    return {
        "variant": variant,
        "evaluation": evaluation,
        "seed": seed,
        "figures": {
            "R@1": recall,
            "R@4": recall + 0.1,
            "MAP@R": recall / 2,
            "R-precision": recall / 3,
        },
        "parameters": 100,
        "training_seconds": 10.0 * (seed + 1),
        "run_dir": f"runs/{variant}/{seed}",
    }


def test_means_and_deviations(tmp_path):
    values = {"plain": [0.5, 0.6, 0.65], "lone": [0.7]}
    results = [result(name, s, r) for name, own in values.items() for s, r in enumerate(own)]
    write_report(tmp_path, results)
    assert json.loads((tmp_path / "results.json").read_text()) == results
    with (tmp_path / "table.csv").open() as file:
        plain, lone = csv.DictReader(file)
    assert (plain["variant"], plain["seeds"], lone["seeds"]) == ("plain", "3", "1")
    assert float(plain["R@1_mean"]) == pytest.approx(statistics.mean(values["plain"]))
    assert float(plain["R@1_std"]) == pytest.approx(statistics.stdev(values["plain"]))
    assert float(plain["training_seconds_mean"]) == 20
    assert lone["R@1_std"] == ""
    assert (tmp_path / "table.md").read_text().splitlines() == [
        "| variant | seeds | R@1 | R@4 | MAP@R | R-precision | training |",
        "|---|---:|---:|---:|---:|---:|---:|",
        "| plain | 3 | 0.583 ± 0.076 | 0.683 ± 0.076 | 0.292 ± 0.038 | 0.194 ± 0.025 | 20 s |",
        "| lone | 1 | 0.700 | 0.800 | 0.350 | 0.233 | 10 s |",
    ]
    assert (tmp_path / "recall.png").stat().st_size > 1000


def test_several_evaluations(tmp_path):
    results = [result("plain", 0, 0.5, "good"), result("plain", 0, 0.4, "bad")]
    results.append(result("late", 0, 0.6, "good"))  # its other evaluation is still to come
    write_report(tmp_path, results)
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert lines[0].startswith("| variant | evaluation | seeds | R@1 |")
    starts = [line.split(" | ")[:4] for line in lines[2:]]
    assert starts == [
        ["| plain", "good", "1", "0.500"],
        ["| plain", "bad", "1", "0.400"],
        ["| late", "good", "1", "0.600"],
    ]


def test_figures_of_several_protocols(tmp_path):
    """An evaluation lacks what another measures; one seed could not measure a figure."""
    results = [result("plain", seed, 0.5, "classes") for seed in (0, 1)]
    for seed, value in ((0, None), (1, 0.25)):
        measured = {"accuracy": 0.75, "tar_at_far": {"1e-1": 0.5, "1e-6": value}}
        pairs = result("plain", seed, 0, "pairs") | {"figures": plain_figures(measured)}
        results.append(pairs)
    write_report(tmp_path, results)
    head, _, classes, pairs = [
        line.strip("| ").split(" | ") for line in (tmp_path / "table.md").read_text().splitlines()
    ]
    assert head[3:] == [
        "R@1",
        "R@4",
        "MAP@R",
        "R-precision",
        "accuracy",
        "tar_at_far 1e-1",
        "tar_at_far 1e-6",
        "training",
    ]
    assert classes[3:] == [
        "0.500 ± 0.000",
        "0.600 ± 0.000",
        "0.250 ± 0.000",
        "0.167 ± 0.000",
        "",
        "",
        "",
        "15 s",
    ]
    partly = "0.250 (1 of 2 seeds)"
    assert pairs[3:] == ["", "", "", "", "0.750 ± 0.000", "0.500 ± 0.000", partly, "15 s"]
    with (tmp_path / "table.csv").open() as file:
        classes, pairs = csv.DictReader(file)
    assert [row["accuracy_mean"] for row in (classes, pairs)] == ["", "0.75"]
    assert [row["tar_at_far 1e-6_seeds"] for row in (classes, pairs)] == ["", "1"]
    assert (tmp_path / "figures.png").stat().st_size > 1000
    labels = [axes.get_xlabel() for axes in figure_by_variant(results).axes]
    assert labels == ["Recall@1, classes", "accuracy, pairs"]


def test_nothing_measurable_is_drawn(tmp_path):
    """As where no image of the split has a label."""
    write_report(tmp_path, [result("plain", 0, 0.5) | {"figures": plain_figures({"map": None})}])
    assert "| plain | 1 | 10 s |" in (tmp_path / "table.md").read_text()
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize("evaluations", [("good",), ("good", "blurred")])
def test_labels_of_the_plot_are_apart(evaluations):
    """Values close to each other have long tick labels, and variants long names."""
    names = ["baseline", "relative and absolute teacher at once, 60 epochs", "hint"]
    results = [
        result(name, seed, 0.4126 + 0.0004 * seed + 0.0007 * row, evaluation)
        for evaluation in evaluations
        for row, name in enumerate(names)
        for seed in range(3)
    ]
    figure = figure_by_variant(results)
    figure.savefig(io.BytesIO(), dpi=figure.dpi)  # lays it out
    boxes = [
        label.get_window_extent()
        for axes in figure.axes
        for label in axes.get_xticklabels()
        if axes.get_xlim()[0] <= label.get_position()[0] <= axes.get_xlim()[1]
    ]
    assert len(boxes) >= 3 * len(evaluations)
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
    for label in figure.axes[0].get_yticklabels():
        assert label.get_window_extent().x0 >= 0


def test_no_result_yet(tmp_path):
    write_report(tmp_path, [])
    assert (tmp_path / "table.md").read_text() == "No run is complete yet.\n"
    assert not (tmp_path / "recall.png").exists()
