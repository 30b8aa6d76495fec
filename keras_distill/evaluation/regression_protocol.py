"""Regression protocol: how well scores agree with human ones."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from keras_distill.data.comparison_pairs import read_comparisons
from keras_distill.errors import InputError, renamed_arguments
from keras_distill.evaluation.image_scores import ImageScorer
from keras_distill.evaluation.metric_tables import plain_table
from keras_distill.evaluation.multilabel_figures import plain
from keras_distill.evaluation.protocol_result import ProtocolResult
from keras_distill.evaluation.regression_metrics import (
    RegressionMetrics,
    pair_accuracy,
    regression_metrics,
)
from keras_distill.models.loading import load_model
from keras_distill.models.score_scale import find_score_scale
from keras_distill.settings.evaluation import EvaluateSettings
from keras_distill.settings.progress import work_progress
from keras_distill.settings.regression_data import load_regression_images

if TYPE_CHECKING:
    from rich.table import Table

_FEW_REFERENCES = 10


def evaluate(settings: EvaluateSettings, console: Console) -> ProtocolResult:
    """Measures how well a model's scores agree with human ones.

    Args:
        settings: The settings, checked.
        console: Where progress is shown.

    Returns:
        The result; `by_distortion` where distortions are known, and `pairs` with `--comparisons`.

    Raises:
        InputError: If there are no such images, or the model has no score.
    """
    with renamed_arguments(path="model"):
        model = load_model(settings.model)
    with renamed_arguments(model=f"model={settings.model}"):
        scorer = ImageScorer(model, crops=settings.crops)
    begun = time.perf_counter()
    (images,), skipped = load_regression_images(settings, settings.split)
    every = set() if images is None else set(images.paths.tolist())
    images = None if images is None else images.scored
    if images is None or not len(images):
        raise InputError(
            f"`split={settings.split}`: `dataset={settings.dataset}` has no such images with a "
            "score."
        )
    with work_progress("scoring", len(images), "images", console, transient=True) as advance:
        predicted = scorer(images.unlabelled, advance)
    metrics = regression_metrics(
        predicted,
        images.scores,
        references=images.references,
        distortions=images.distortions,
    )
    pairs = _pairs(settings, scorer, model, every)
    title = f"{settings.model} on {settings.dataset} ({settings.split})"
    return ProtocolResult(
        figures=plain_names(metrics.means) | ({"pairs": pairs["accuracy"]} if pairs else {}),
        intervals=plain_names(metrics.intervals),
        table=_table(title, metrics),
        notes=_notes(settings, metrics, pairs, time.perf_counter() - begun),
        warnings=_warnings(metrics),
        more={
            "images": metrics.images,
            "references": metrics.references,
            "crops": settings.crops,
            "skipped_images": skipped,
            "by_distortion": {
                name: plain_names(each) for name, each in metrics.by_distortion.items()
            },
            **({"pairs": pairs} if pairs else {}),
        },
    )


def plain_names(values: Any) -> dict[str, Any]:
    """Names figures as JSON has them: `LCC (logistic)` is `lcc_logistic`, NaN is `None`."""
    short = str.maketrans({" ": "_", "(": "", ")": ""})
    return {name.lower().translate(short): plain(value) for name, value in values.items()}


def _pairs(
    settings: EvaluateSettings, scorer: ImageScorer, model: Any, images_of_split: set[str]
) -> dict[str, Any]:
    """The accuracy on comparisons of images of the evaluated split."""
    if not settings.comparisons:
        return {}
    root = Path(settings.dataset.partition(":")[2]).expanduser()
    pairs = read_comparisons(settings.comparisons, root)
    chosen = np.array([set(pair) <= images_of_split for pair in pairs.paths.tolist()])
    others = int((~chosen).sum())
    pairs = replace(pairs, paths=pairs.paths[chosen], labels=pairs.labels[chosen])
    images = pairs.images
    found = scorer(images).tolist() if len(images) else []
    scores = dict(zip(images.paths.tolist(), found, strict=True))

    ordered = np.array([[scores[path] for path in pair] for pair in pairs.ordered.tolist()])
    ordered = ordered.reshape(-1, 2)
    scale = find_score_scale(model)
    if scale is not None and not scale.higher_is_better:
        ordered = -ordered
    return {
        "accuracy": plain(pair_accuracy(ordered[:, 0], ordered[:, 1])),
        "decided": len(ordered),
        "undecided": len(pairs) - len(ordered),
        "of_other_splits": others,
    }


def _table(title: str, metrics: RegressionMetrics) -> "Table":
    table = plain_table(title, "in brackets: 95 % interval over references")
    table.show_header = False
    table.add_column("")
    table.add_column("", justify="right", no_wrap=True)
    for name, value in metrics.means.items():
        low, high = metrics.intervals[name]
        table.add_row(name, "-" if value != value else f"{value:.4f} [{low:.3f}, {high:.3f}]")
    for name, figures in metrics.by_distortion.items():
        text = f"{figures['SROCC']:.4f} of {figures['images']}"
        table.add_row(f"SROCC of {name}", "-" if "nan" in text else text)
    return table


def _notes(
    settings: EvaluateSettings, metrics: RegressionMetrics, pairs: dict[str, Any], seconds: float
) -> list[str]:
    crops = f"the mean over {settings.crops} seeded crops" if settings.crops else "of whole images"
    notes = [
        "(logistic): after the logistic function of five parameters that fits these images best.",
        f"{metrics.images} images of {metrics.references} references, scores {crops}, in "
        f"{seconds:.1f} s",
    ]
    if pairs:
        share = "none" if pairs["accuracy"] is None else f"{pairs['accuracy']:.4f}"
        notes.append(f"Accuracy on {pairs['decided']} decided comparisons of these images: {share}")
    return notes


def _warnings(metrics: RegressionMetrics) -> list[str]:
    warnings = []
    if metrics.references < _FEW_REFERENCES:
        warnings.append(
            f"there are {metrics.references} references: the intervals are rough, and another "
            "division of the data may give other figures."
        )
    if metrics.means["SROCC"] != metrics.means["SROCC"]:
        warnings.append("all predictions, or all scores, are equal: there is no correlation.")
    elif metrics.means["SROCC"] < 0:
        warnings.append(
            "the scores are ordered the wrong way round; does a lower score of the data mean a "
            "better image?"
        )
    return warnings
