"""The report of an ablation: one table as Markdown and CSV, the figures, and a plot."""

import csv
import json
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_distill.publishing import published_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# How tables call figures of retrieval, and those of it that are given by K.
_SHORT = {"map_at_r": "MAP@R", "r_precision": "R-precision"}
_BY_K = {"recall": "R@", "precision_at_k": "P@", "map_at_k": "mAP@"}


def plain_figures(figures: Mapping[str, Any]) -> dict[str, float]:
    """Returns the figures of an evaluation by the names that tables have.

    Args:
        figures: The key `figures` of `evaluate --json`, which may be nested.

    Returns:
        The figures in their order, without those that could not be measured.

    Example:
        >>> plain_figures({"recall": {"1": 0.5}, "map_at_r": 0.3})
        {'R@1': 0.5, 'MAP@R': 0.3}
        >>> plain_figures({"map": 0.4, "micro": {"recall": 0.2}, "top_k": {"3": {"f1": 0.1}}})
        {'map': 0.4, 'micro recall': 0.2, 'top_k 3 f1': 0.1}
    """
    plain: dict[str, float] = {}
    for name, value in figures.items():
        if isinstance(value, Mapping):
            prefix = _BY_K.get(name, f"{name} ")
            plain |= {f"{prefix}{inner}": each for inner, each in plain_figures(value).items()}
        elif value is not None:
            plain[_SHORT.get(name, name)] = value
    return plain


def write_report(out: Path, results: list[dict[str, Any]]) -> None:
    """Writes `results.json`, `table.md`, `table.csv`, and a plot.

    Standard deviations are those of a sample (divided by n - 1), and left out for a single seed.
    Where some seeds alone could measure a figure, the table says how many, as does `NAME_seeds` of
    the CSV file.
    The plot is `recall.png`, or `figures.png` if something else than retrieval was measured.

    Args:
        out: Folder.
        results: One record for each variant, evaluation and seed, in the order of the rows, with
            `variant`, `evaluation`, `seed`, `figures` as of `plain_figures`, `parameters` and
            `training_seconds`.
    """
    with published_file(out / "results.json") as temporary:
        temporary.write_text(json.dumps(results, indent=2) + "\n")
    rows = _summarised(results)
    with (
        published_file(out / "table.csv") as temporary,
        temporary.open("w", newline="") as file,
    ):
        writer = csv.DictWriter(file, _distinct(name for row in rows for name in row))
        writer.writeheader()
        writer.writerows(rows)
    with published_file(out / "table.md") as temporary:
        temporary.write_text(_markdown(rows))
    if drawn := [result for result in results if result["figures"]]:
        retrieval = all(next(iter(result["figures"])).startswith("R@") for result in drawn)
        with published_file(out / f"{'recall' if retrieval else 'figures'}.png") as temporary:
            figure_by_variant(drawn).savefig(temporary, dpi=120)


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
            columns = {
                name: [r["figures"][name] for r in own if name in r["figures"]]
                for name in _distinct(name for r in own for name in r["figures"])
            }
            columns["training_seconds"] = [r["training_seconds"] or 0.0 for r in own]
            for name, values in columns.items():
                row[f"{name}_mean"] = statistics.mean(values)
                row[f"{name}_std"] = statistics.stdev(values) if len(values) > 1 else None
                if len(values) < len(own):
                    row[f"{name}_seeds"] = len(values)
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
        for name in _distinct(name for row in rows for name in row)
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
            mean, spread = row.get(f"{name}_mean"), row.get(f"{name}_std")
            cell = "" if mean is None else f"{mean:.3f}"
            cell = cell if spread is None else f"{cell} ± {spread:.3f}"
            some = row.get(f"{name}_seeds")
            cells.append(f"{cell} ({some} of {row['seeds']} seeds)" if some else cell)
        cells.append(f"{row['training_seconds_mean']:.0f} s")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def figure_by_variant(results: list[dict[str, Any]]) -> "Figure":
    """Draws the first figure of each seed, and their mean, by variant, a panel an evaluation.

    Args:
        results: As of `write_report`, at least one.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    variants = _distinct(result["variant"] for result in results)
    evaluations = _distinct(result["evaluation"] for result in results)
    longest = max(map(len, variants))
    figure = Figure(
        figsize=(1.5 + 0.08 * longest + 4 * len(evaluations), 1.2 + 0.35 * len(variants)),
        layout="constrained",
    )
    panels = figure.subplots(1, len(evaluations), sharey=True, squeeze=False)[0]
    for axes, evaluation in zip(panels, evaluations, strict=True):
        own = [result for result in results if result["evaluation"] == evaluation]
        name = next(iter(own[0]["figures"]))
        for row, variant in enumerate(variants):
            values = [
                result["figures"][name]
                for result in own
                if result["variant"] == variant and name in result["figures"]
            ]
            if values:
                axes.plot(values, [row] * len(values), "o", color="tab:blue", alpha=0.4)
                axes.plot(statistics.mean(values), row, "|", color="black", markersize=14)
        axes.set(xlabel=f"{name.replace('R@', 'Recall@')}, {evaluation}")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))  # more would run into each other
        axes.grid(alpha=0.3)
    panels[0].set_yticks(range(len(variants)), variants)
    panels[0].set_ylim(len(variants) - 0.5, -0.5)
    return figure
