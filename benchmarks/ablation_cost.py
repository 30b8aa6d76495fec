"""Draws what the models of an ablation find against what they cost.

    python benchmarks/ablation_cost.py --ablation=runs/birds100_widths_ablation

Purpose: what more parameters and more milliseconds buy. Each variant's model is written as a LiteRT
file of --precision and timed on one decoded image with one thread, the variants by turns; the
median is kept. Prints a line of JSON a variant, and writes cost.png to --ablation.
Cost: about a minute on one core.
Expected: see benchmarks/RESULTS.md.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, flags
from matplotlib.figure import Figure

from keras_distill import InputError, load_teacher
from keras_distill.models.loading import load_model
from keras_distill.serving.export.litert_format import write_litert

ABLATION = flags.DEFINE_string("ablation", None, "Folder of an ablation.", required=True)
EVALUATION = flags.DEFINE_string("evaluation", "", "Name of the evaluation; the first if empty.")
MEASURE = flags.DEFINE_string("measure", "R@1", "Name of the figure that is drawn.")
PRECISION = flags.DEFINE_enum("precision", "float32", ["float32", "float16"], "Of the files.")
ROUNDS = flags.DEFINE_integer("rounds", 10, "Turns of 20 images that each model is timed on.", 1)
IN_A_ROW = 20  # so that the weights of a model stay in the caches of the processor


def measured():
    """By variant: the values of the figure, one a seed, the parameters, and the first run."""
    file = Path(ABLATION.value) / "results.json"
    try:
        results = json.loads(file.read_text())
    except OSError as error:
        raise InputError(f"--ablation={ABLATION.value} has no results.json to read.") from error
    evaluation = EVALUATION.value or (results[0]["evaluation"] if results else "")
    found = {}
    for result in results:
        if result["evaluation"] == evaluation and MEASURE.value in result["figures"]:
            first = [], result["parameters"], Path(result["run_dir"])
            found.setdefault(result["variant"], first)[0].append(result["figures"][MEASURE.value])
    if not found:
        raise InputError(
            f"--ablation={ABLATION.value} has no {MEASURE.value} of the evaluation {evaluation!r}."
        )
    return found


def milliseconds(runs):
    """Median time of one image by variant, and megabytes of its file."""
    runtimes, megabytes, pixels = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for variant, run in runs.items():
            model = load_model(run / "student.keras")
            file = Path(folder) / f"{len(runtimes)}.tflite"
            write_litert(model, file, precision=PRECISION.value)
            size = model.input_shape[1]
            pixels[variant] = np.full((1, size, size, 3), 128, np.float32)
            megabytes[variant] = file.stat().st_size / 1e6
            runtimes[variant] = load_teacher(str(file)).runtime(1)
    taken = {variant: [] for variant in runs}
    for _ in range(ROUNDS.value):
        for variant, runtime in runtimes.items():
            for _ in range(IN_A_ROW):
                begun = time.perf_counter()
                runtime(pixels[variant])
                taken[variant].append(time.perf_counter() - begun)
    return {v: (1e3 * statistics.median(taken[v]), megabytes[v]) for v in runs}


def draw(lines):
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, name, unit in (
        (left, "parameters", "parameters (millions)"),
        (right, "milliseconds", "milliseconds an image, one thread"),
    ):
        scale = 1e-6 if name == "parameters" else 1
        across = [line[name] * scale for line in lines]
        axes.plot(across, [statistics.mean(line["values"]) for line in lines], "-", color="0.7")
        for x, line in zip(across, lines, strict=True):
            axes.plot([x] * len(line["values"]), line["values"], "o", color="tab:blue")
            axes.annotate(
                line["variant"],
                (x, statistics.mean(line["values"])),
                xytext=(6, -10),
                textcoords="offset points",
            )
        axes.set(xlabel=unit, xlim=(0, 1.15 * max(across)))
        axes.grid(alpha=0.3)
    left.margins(y=0.15)  # room for the names below the points
    left.set_ylabel(MEASURE.value.replace("R@", "Recall@"))
    figure.savefig(Path(ABLATION.value) / "cost.png", dpi=120)


def main(_):
    try:
        found = measured()
        costs = milliseconds({variant: run for variant, (*_, run) in found.items()})
    except InputError as error:
        print(f"ablation_cost: {error}", file=sys.stderr)
        return 2
    lines = []
    for variant, (values, parameters, _) in found.items():
        taken, megabytes = costs[variant]
        lines.append(
            {
                "benchmark": "ablation_cost",
                "variant": variant,
                "measure": MEASURE.value,
                "values": [round(value, 4) for value in values],
                "parameters": parameters,
                "megabytes": round(megabytes, 2),
                "milliseconds": round(taken, 3),
            }
        )
        print(json.dumps(lines[-1]), flush=True)
    draw(lines)
    return 0


if __name__ == "__main__":
    app.run(main)
