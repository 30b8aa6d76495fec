"""The report of an ablation: one table as Markdown and CSV, the figures, and a plot."""

import csv
import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_distill.publishing import published_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_report(out: Path, results: list[dict[str, Any]]) -> None:
    """Writes `results.json`, `table.md`, `table.csv` and `recall.png`.

    Standard deviations are those of a sample (divided by n - 1), and left out for a single seed.

    Args:
        out: Folder.
        results: One record for each variant, evaluation and seed, in the order of the rows, with
            `variant`, `evaluation`, `seed`, `recall`, `map_at_r`, `r_precision`, `parameters` and
            `training_seconds`.
    """
    with published_file(out / "results.json") as temporary:
        temporary.write_text(json.dumps(results, indent=2) + "\n")
    rows = _summarised(results)
    with (
        published_file(out / "table.csv") as temporary,
        temporary.open("w", newline="") as file,
    ):
        writer = csv.DictWriter(file, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)
    with published_file(out / "table.md") as temporary:
        temporary.write_text(_markdown(rows))
    if results:
        with published_file(out / "recall.png") as temporary:
            recall_figure(results).savefig(temporary, dpi=120)


def _summarised(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each variant and evaluation, with means and standard deviations over seeds."""
    rows = []
    for variant in _distinct(result["variant"] for result in results):
        for evaluation in _distinct(result["evaluation"] for result in results):
            own = [r for r in results if (r["variant"], r["evaluation"]) == (variant, evaluation)]
            if not own:
                continue
            row: dict[str, Any] = {
                "variant": variant,
                "evaluation": evaluation,
                "seeds": len(own),
                "parameters": own[0]["parameters"],
            }
            columns = {f"R@{k}": [r["recall"][k] for r in own] for k in own[0]["recall"]}
            columns["MAP@R"] = [r["map_at_r"] for r in own]
            columns["R-precision"] = [r["r_precision"] for r in own]
            columns["training_seconds"] = [r["training_seconds"] or 0.0 for r in own]
            for name, values in columns.items():
                row[f"{name}_mean"] = statistics.mean(values)
                row[f"{name}_std"] = statistics.stdev(values) if len(values) > 1 else None
            rows.append(row)
    return rows


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _markdown(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "No run is complete yet.\n"
    several = len({row["evaluation"] for row in rows}) > 1
    measures = [
        name.removesuffix("_mean")
        for name in rows[0]
        if name.endswith("_mean") and not name.startswith("training")
    ]
    left = ["variant", "evaluation"] if several else ["variant"]
    lines = [
        "| " + " | ".join([*left, "seeds", *measures, "training"]) + " |",
        "|" + "---|" * len(left) + "---:|" * (len(measures) + 2),
    ]
    for row in rows:
        cells = [row[name] for name in left] + [str(row["seeds"])]
        for name in measures:
            spread = row[f"{name}_std"]
            cell = f"{row[f'{name}_mean']:.3f}"
            cells.append(cell if spread is None else f"{cell} ± {spread:.3f}")
        cells.append(f"{row['training_seconds_mean']:.0f} s")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def recall_figure(results: list[dict[str, Any]]) -> "Figure":
    """Draws the first recall of each seed, and their mean, by variant, a panel an evaluation.

    Args:
        results: As of `write_report`, at least one.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    variants = _distinct(result["variant"] for result in results)
    evaluations = _distinct(result["evaluation"] for result in results)
    k = next(iter(results[0]["recall"]))
    longest = max(map(len, variants))
    figure = Figure(
        figsize=(1.5 + 0.08 * longest + 4 * len(evaluations), 1.2 + 0.35 * len(variants)),
        layout="constrained",
    )
    panels = figure.subplots(1, len(evaluations), sharey=True, squeeze=False)[0]
    for axes, evaluation in zip(panels, evaluations, strict=True):
        for row, variant in enumerate(variants):
            values = [
                result["recall"][k]
                for result in results
                if (result["variant"], result["evaluation"]) == (variant, evaluation)
            ]
            if values:
                axes.plot(values, [row] * len(values), "o", color="tab:blue", alpha=0.4)
                axes.plot(statistics.mean(values), row, "|", color="black", markersize=14)
        axes.set(xlabel=f"Recall@{k}, {evaluation}")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))  # more would run into each other
        axes.grid(alpha=0.3)
    panels[0].set_yticks(range(len(variants)), variants)
    panels[0].set_ylim(len(variants) - 0.5, -0.5)
    return figure
