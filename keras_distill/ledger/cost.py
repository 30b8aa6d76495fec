"""Cost of a model or an index: space and time."""

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_distill.embedding.chain_model import ChainModel
from keras_distill.retrieval.neighbours import sample_rows
from keras_distill.retrieval.searcher import ExactSearcher, Searcher

_WARM_UP = 3
_LEAST_ROUNDS = 3
_QUERIES = 1000


def model_cost(model: ChainModel, jpegs: list[bytes], *, batch_size: int) -> dict[str, Any]:
    """Measures the cost of a model after warm-up; nothing else should run on the machine.

    Calls of one runtime are timed together: between calls of another runtime, whose threads still
    wait for work, they would take many times as long.

    Args:
        model: The model.
        jpegs: Contents of image files: the first is timed alone, all of them as a batch.
        batch_size: Images in the batch.

    Returns:
        `megabytes` on disk; `parameters`; `milliseconds`, the median time of one image from decoded
        pixels to the vector, in the runtime `timed_in`, with a thread for each CPU;
        `milliseconds_from_jpeg`, from the bytes of its file, which TensorFlow decodes; each with
        the `…_quartiles` of the calls; `runtime_milliseconds`, the times in a runtime of its own by
        the number of threads: one, and one for each CPU; `images_per_second`, from the bytes of
        files in batches of `batch_size`. `null` where unknown.
    """
    runtime = _runtime_seconds(model)
    single: dict[str, list[float] | None] = {
        "milliseconds": runtime[max(runtime)] if runtime else _pixel_seconds(model),
        "milliseconds_from_jpeg": None,
    }
    images_per_second = None
    if (from_jpeg := model.from_jpeg) is not None:
        one = tf.constant(jpegs[:1])
        batch = tf.constant([jpegs[row % len(jpegs)] for row in range(batch_size)])
        single["milliseconds_from_jpeg"] = _seconds(partial(from_jpeg, one), rounds=30)
        images_per_second = batch_size / statistics.median(
            _seconds(partial(from_jpeg, batch), rounds=5)
        )
    cost: dict[str, Any] = {"megabytes": model.megabytes, "parameters": model.parameters}
    for name, taken in single.items():
        low, middle, high = 1e3 * np.quantile(taken or [np.nan], [0.25, 0.5, 0.75])
        cost[name] = float(middle) if taken else None
        cost[f"{name}_quartiles"] = [float(low), float(high)] if taken else None
    by_threads = {str(count): 1e3 * statistics.median(taken) for count, taken in runtime.items()}
    return cost | {
        "timed_in": model.timed_in if single["milliseconds"] else None,
        "runtime_milliseconds": by_threads or None,
        "images_per_second": images_per_second,
    }


def _pixels(image_size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1, image_size, image_size, 3), np.uint8)


def _pixel_seconds(model: ChainModel) -> list[float] | None:
    """The times of one decoded image in TensorFlow; `None` if the model reads no pixels."""
    if model.from_pixels is None or model.image_size is None:
        return None
    return _seconds(partial(model.from_pixels, tf.constant(_pixels(model.image_size))), rounds=100)


def _runtime_seconds(model: ChainModel) -> dict[int, list[float]]:
    """The times of one image in the model's own runtime by number of threads, if it has one."""
    if model.runtime is None or model.image_size is None:
        return {}
    pixels = _pixels(model.image_size).astype(np.float32)
    return {
        threads: _seconds(partial(model.runtime(threads), pixels), rounds=100)
        for threads in sorted({1, os.cpu_count() or 1})
    }


def index_cost(searcher: Searcher, gallery: np.ndarray, k: int) -> dict[str, Any]:
    """Measures the cost of a search, and of exact search for comparison, on up to 1,000 queries.

    Args:
        searcher: The searcher.
        gallery: Its gallery, float32 `(m, dim)`, of which some rows are the queries.
        k: Neighbours of each query.

    Returns:
        `megabytes` of vectors and index; `queries_per_second`; `exact_queries_per_second`.
    """
    queries = np.ascontiguousarray(gallery[sample_rows(len(gallery), _QUERIES)])
    k = min(k, len(gallery))
    exact = ExactSearcher(gallery)
    own, exactly = (
        statistics.median(_seconds(partial(searches.nearest, queries, k=k), rounds=5))
        for searches in (searcher, exact)
    )
    return {
        "megabytes": (gallery.nbytes + _bytes_of(searcher)) / 1e6,
        "queries_per_second": len(queries) / own,
        "exact_queries_per_second": len(queries) / exactly,
    }


def machine() -> dict[str, Any]:
    """Describes the machine that times depend on: processor, devices and versions."""
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


def _seconds(call: Callable[[], Any], *, rounds: int, most_seconds: float = 6.0) -> list[float]:
    """The times of a call after warm-up; in fewer rounds where they would take too long."""
    for _ in range(_WARM_UP):
        call()
    taken: list[float] = []
    begun = time.perf_counter()
    while len(taken) < rounds:
        if len(taken) >= _LEAST_ROUNDS and time.perf_counter() - begun > most_seconds:
            break
        start = time.perf_counter()
        answer = call()
        if isinstance(answer, tf.Tensor):
            answer.numpy()  # a GPU returns before it has computed
        taken.append(time.perf_counter() - start)
    return taken


def _bytes_of(searcher: Searcher) -> int:
    with tempfile.TemporaryDirectory() as folder:
        assets = Path(folder) / "assets"
        searcher.save(assets)
        files = [file for file in assets.rglob("*") if file.is_file() and not file.is_symlink()]
        return sum(file.stat().st_size for file in files)
