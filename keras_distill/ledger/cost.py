"""What a model or an index takes: space and time."""

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_distill.ledger.chain_model import ChainModel
from keras_distill.retrieval.neighbours import sample_rows
from keras_distill.retrieval.searcher import ExactSearcher, Searcher

_WARM_UP = 3
_QUERIES = 1000


def model_cost(model: ChainModel, jpegs: list[bytes], *, batch_size: int) -> dict[str, Any]:
    """Measures a model, warmed up, alone on the machine if the user sees to that.

    Args:
        model: The model.
        jpegs: Image files to embed; one after the other, and all at once as a batch.
        batch_size: Images in the batch.

    Returns:
        `megabytes` on disk; `parameters`; `milliseconds`, the median time of one image from decoded
        pixels to the vector; `milliseconds_from_jpeg`, from the bytes of its file;
        `images_per_second`, from the bytes of files in batches of `batch_size`. `null` where it
        cannot be known.
    """
    cost: dict[str, Any] = {
        "megabytes": model.megabytes,
        "parameters": model.parameters,
        "milliseconds": None,
        "milliseconds_from_jpeg": None,
        "images_per_second": None,
    }
    from_jpeg, from_pixels = model.from_jpeg, model.from_pixels
    if from_jpeg is not None:
        single = tf.constant(jpegs[:1])
        batch = tf.constant([jpegs[row % len(jpegs)] for row in range(batch_size)])
        cost["milliseconds_from_jpeg"] = 1e3 * _median_seconds(lambda: from_jpeg(single))
        seconds = _median_seconds(lambda: from_jpeg(batch), calls=5)
        cost["images_per_second"] = batch_size / seconds
    if from_pixels is not None and model.image_size is not None:
        noise = np.random.default_rng(0)
        shape = (1, model.image_size, model.image_size, 3)
        pixels = tf.constant(noise.integers(0, 256, shape, np.uint8))
        cost["milliseconds"] = 1e3 * _median_seconds(lambda: from_pixels(pixels))
    return cost


def index_cost(searcher: Searcher, gallery: np.ndarray, *, k: int) -> dict[str, Any]:
    """Measures a search, and exact search beside it, on up to 1,000 queries at once.

    Args:
        searcher: The search.
        gallery: What it searches, float32 `(m, dim)`, which the queries are of too.
        k: Neighbours of each query.

    Returns:
        `megabytes` of vectors and index; `queries_per_second`; `exact_queries_per_second`.
    """
    queries = np.ascontiguousarray(gallery[sample_rows(len(gallery), _QUERIES)])
    k = min(k, len(gallery))
    exact = ExactSearcher(gallery)
    seconds = _median_seconds(lambda: searcher.nearest(queries, k=k), calls=5)
    exact_seconds = _median_seconds(lambda: exact.nearest(queries, k=k), calls=5)
    return {
        "megabytes": (gallery.nbytes + _bytes_of(searcher)) / 1e6,
        "queries_per_second": len(queries) / seconds,
        "exact_queries_per_second": len(queries) / exact_seconds,
    }


def machine() -> dict[str, Any]:
    """Returns what figures of time depend on: processor, devices and versions."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux: a container's share
    devices = [device.device_type for device in tf.config.list_physical_devices()]
    return {
        "processor": platform.processor() or platform.machine(),
        "system": platform.system(),
        "cpus": os.cpu_count() if affinity is None else len(affinity(0)),
        "devices": sorted(set(devices)),
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
    }


def _median_seconds(
    call: Callable[[], Any], *, calls: int = 30, most_seconds: float = 3.0
) -> float:
    """The median of up to `calls` calls, fewer where they would take too long."""
    for _ in range(_WARM_UP):
        call()
    taken: list[float] = []
    while len(taken) < calls and (sum(taken) < most_seconds or len(taken) < 3):
        begun = time.perf_counter()
        answer = call()
        if isinstance(answer, tf.Tensor):
            answer.numpy()  # a GPU answers before it has computed
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def _bytes_of(searcher: Searcher) -> int:
    with tempfile.TemporaryDirectory() as folder:
        assets = Path(folder) / "assets"
        searcher.save(assets)
        files = [file for file in assets.rglob("*") if file.is_file() and not file.is_symlink()]
        return sum(file.stat().st_size for file in files)
