"""Counting protocol: how well counts agree with the points of images."""

import time
from typing import TYPE_CHECKING

from rich.console import Console

from keras_distill.errors import InputError, renamed_arguments
from keras_distill.evaluation.counting_metrics import (
    CountingMetrics,
    count_errors,
    counting_metrics,
)
from keras_distill.evaluation.density_picture import draw_densities, evenly_spread
from keras_distill.evaluation.image_densities import ImageCounter
from keras_distill.evaluation.metric_tables import plain_table
from keras_distill.evaluation.protocol_result import ProtocolResult
from keras_distill.models.loading import load_model
from keras_distill.settings.evaluation import EvaluateSettings
from keras_distill.settings.progress import work_progress
from keras_distill.settings.regression_data import load_regression_images

if TYPE_CHECKING:
    from rich.table import Table


def evaluate(settings: EvaluateSettings, console: Console) -> ProtocolResult:
    """Measures how well a model counts, in whole images of their own size.

    Args:
        settings: The settings, checked.
        console: Where progress is shown.

    Returns:
        The result, in objects, not fractions.

    Raises:
        InputError: If there are no such images, or the model has no density.
    """
    with renamed_arguments(path="model"):
        model = load_model(settings.model)
    with renamed_arguments(model=f"model={settings.model}"):
        counter = ImageCounter(model)
    begun = time.perf_counter()
    (images,), skipped = load_regression_images(settings, settings.split)
    if images is None:
        raise InputError(
            f"`split={settings.split}`: `dataset={settings.dataset}` has no such images."
        )
    shown = evenly_spread(images.counts) if settings.picture else []
    errors, drawn = [], {}
    with work_progress("counting", len(images), "images", console, transient=True) as advance:
        for row, (density, shape) in enumerate(counter(images.unlabelled, advance)):
            errors.append(count_errors(density, counter.stride, shape, images.points[row]))
            if row in shown:
                drawn[row] = density
    if shown:
        files = images.unlabelled.files()
        draw_densities(
            settings.picture,
            [files[row] for row in shown],
            [drawn[row] for row in shown],
            [images.points[row] for row in shown],
            stride=counter.stride,
        )
    metrics = counting_metrics(errors)
    names = {name: name.lower().replace("(", "_").replace(")", "") for name in metrics.means}
    per_image = [
        {"file": path, "points": points, "count": round(points + error[0], 3)}
        for path, points, error in zip(
            images.paths.tolist(), images.counts.tolist(), errors, strict=True
        )
    ]
    return ProtocolResult(
        figures={names[name]: value for name, value in metrics.means.items()},
        intervals={names[name]: list(value) for name, value in metrics.intervals.items()},
        table=_table(f"{settings.model} on {settings.dataset} ({settings.split})", metrics),
        notes=[
            "RMSE is what crowd papers call MSE; GAME(L) adds up the errors of 4^L regions.",
            f"{metrics.images} images with {int(images.counts.sum())} points, in "
            f"{time.perf_counter() - begun:.1f} s",
        ],
        more={
            "images": metrics.images,
            "points": int(images.counts.sum()),
            "mean_error": sum(error[0] for error in errors) / len(errors),
            "skipped_images": skipped,
            "per_image": per_image,
        },
    )


def _table(title: str, metrics: CountingMetrics) -> "Table":
    table = plain_table(title, "in brackets: 95 % interval over images")
    table.show_header = False
    table.add_column("")
    table.add_column("", justify="right", no_wrap=True)
    for name, value in metrics.means.items():
        low, high = metrics.intervals[name]
        table.add_row(name, f"{value:.2f} [{low:.1f}, {high:.1f}]")
    return table
