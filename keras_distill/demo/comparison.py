"""Comparison of the demo's models on classes that none of them has seen."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console
from rich.table import Table

from keras_distill.data.dataset import load_dataset
from keras_distill.data.pipeline import evaluation_batches
from keras_distill.embedding.batches import embed_batches
from keras_distill.evaluation.retrieval_metrics import retrieval_metrics
from keras_distill.models.loading import load_model
from keras_distill.publishing import published_file

_KS = (1, 2, 4, 8)


def compare_models(root: Path, names: list[str]) -> dict[str, Any]:
    """Evaluates models on the unseen classes; prints a table, and draws it with some images.

    Args:
        root: Folder of the demo, with `data/` and the run directories.
        names: Names of the run directories.

    Returns:
        By name `recall` by K, `map_at_r`, `parameters`, `megabytes` and `milliseconds_per_image`.
    """
    images = load_dataset("glyphs", data_dir=root / "data").test
    _draw_glyphs(images, root / "glyphs.png")
    table = Table(title=f"{len(images)} images of {len(images.classes)} unseen classes")
    table.add_column("model")
    for heading in (*(f"R@{k}" for k in _KS), "parameters", "MB", "ms per image"):
        table.add_column(heading, justify="right")
    results: dict[str, Any] = {}
    for name in names:
        model = load_model(root / name)
        size = model.input_shape[1]
        embeddings, labels = embed_batches(model, evaluation_batches(images, image_size=size))
        metrics = retrieval_metrics(embeddings, labels, ks=_KS)
        milliseconds = _milliseconds_per_image(model, size)
        megabytes = (root / name / "student.keras").stat().st_size / 1e6
        results[name] = {
            "recall": {str(k): value for k, value in metrics.recall.items()},
            "map_at_r": metrics.map_at_r,
            "parameters": model.count_params(),
            "megabytes": round(megabytes, 3),
            "milliseconds_per_image": round(milliseconds, 3),
        }
        table.add_row(
            name,
            *(f"{value:.3f}" for value in metrics.recall.values()),
            f"{model.count_params():,}",
            f"{megabytes:.1f}",
            f"{milliseconds:.2f}",
        )
    print()
    Console().print(table)
    _draw_recall(results, root / "recall.png")
    return results


def _milliseconds_per_image(model: Any, size: int) -> float:
    """The median time of single images, one after another."""
    infer = tf.function(lambda image: model(image, training=False))
    image = tf.zeros([1, size, size, 3])
    infer(image)
    seconds = []
    for _ in range(100):
        begun = time.perf_counter()
        infer(image).numpy()
        seconds.append(time.perf_counter() - begun)
    return 1000 * float(np.median(seconds))


def _draw_glyphs(images: Any, path: Path) -> None:
    """Draws eight classes in rows of ten images."""
    rows = []
    for label in images.classes[:8]:
        files = images.paths[images.labels == label][:10]
        rows.append(np.hstack([np.asarray(Image.open(images.root / file)) for file in files]))
    with published_file(path) as temporary:
        Image.fromarray(np.vstack(rows)).save(temporary)


def _draw_recall(results: dict[str, Any], path: Path) -> None:
    """Draws Recall@K of each model."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, result in results.items():
        axes.plot(_KS, list(result["recall"].values()), marker="o", label=name)
    axes.set(xlabel="K", ylabel="Recall@K on unseen classes", xscale="log", xticks=_KS)
    axes.set_xticks(_KS, [str(k) for k in _KS])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    with published_file(path) as temporary:
        figure.savefig(temporary, dpi=120)
