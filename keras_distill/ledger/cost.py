"""What a model or an index takes: space and time."""

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_distill.ledger.chain_model import ChainModel
from keras_distill.retrieval.neighbours import sample_rows
from keras_distill.retrieval.searcher import ExactSearcher, Searcher

_WARM_UP = 3
_LEAST_ROUNDS = 3
_QUERIES = 1000


def model_cost(model: ChainModel, jpegs: list[bytes], *, batch_size: int) -> dict[str, Any]:
    """Measures a model, warmed up, alone on the machine if the user sees to that.

    Args:
        model: The model.
        jpegs: Image files: the first is timed alone, all of them as a batch.
        batch_size: Images in the batch.

    Returns:
        `megabytes` on disk; `parameters`; `milliseconds`, the median time of one image from decoded
        pixels to the vector, in the model's own runtime if it has one; `milliseconds_from_jpeg`,
        from the bytes of its file; each with the `…_quartiles` of the calls;
        `runtime_milliseconds`, those of the own runtime by the number of threads: one, and one a
        CPU; `images_per_second`, from the bytes of files in batches of `batch_size`. `null` where
        it cannot be known.
    """
    single: dict[str, Callable[[], Any] | None] = {
        "milliseconds": None,
        "milliseconds_from_jpeg": None,
    }
    from_jpeg, from_pixels = model.from_jpeg, model.from_pixels
    images_per_second = None
    if from_jpeg is not None:
        one = tf.constant(jpegs[:1])
        batch = tf.constant([jpegs[row % len(jpegs)] for row in range(batch_size)])
        single["milliseconds_from_jpeg"] = lambda: from_jpeg(one)
        (taken,) = _seconds([lambda: from_jpeg(batch)], rounds=5)
        images_per_second = batch_size / statistics.median(taken)
    if from_pixels is not None and model.image_size is not None:
        noise = np.random.default_rng(0)
        shape = (1, model.image_size, model.image_size, 3)
        pixels = tf.constant(noise.integers(0, 256, shape, np.uint8))
        single["milliseconds"] = lambda: from_pixels(pixels)
        if model.runtime is not None:  # TensorFlow around it would take longer than itself
            run = model.runtime(os.cpu_count() or 1)
            single["milliseconds"] = partial(run, pixels.numpy().astype(np.float32))
    cost: dict[str, Any] = {"megabytes": model.megabytes, "parameters": model.parameters}
    known = {name: call for name, call in single.items() if call is not None}
    times = dict(zip(known, _seconds(list(known.values()), rounds=30), strict=True))
    for name in single:
        low, middle, high = 1e3 * np.quantile(times.get(name, [np.nan]), [0.25, 0.5, 0.75])
        cost[name] = float(middle) if name in times else None
        cost[f"{name}_quartiles"] = [float(low), float(high)] if name in times else None
    return cost | {
        "runtime_milliseconds": _runtime_milliseconds(model),
        "images_per_second": images_per_second,
    }


def index_cost(searcher: Searcher, gallery: np.ndarray, k: int) -> dict[str, Any]:
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
    searches = [lambda: searcher.nearest(queries, k=k), lambda: exact.nearest(queries, k=k)]
    own, exactly = map(statistics.median, _seconds(searches, rounds=5))
    return {
        "megabytes": (gallery.nbytes + _bytes_of(searcher)) / 1e6,
        "queries_per_second": len(queries) / own,
        "exact_queries_per_second": len(queries) / exactly,
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


def _runtime_milliseconds(model: ChainModel) -> dict[str, float] | None:
    if model.runtime is None or model.image_size is None:
        return None
    shape = (1, model.image_size, model.image_size, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)
    threads = sorted({1, os.cpu_count() or 1})
    calls = [partial(model.runtime(count), pixels) for count in threads]
    times = _seconds(calls, rounds=100)
    return {
        str(count): 1e3 * statistics.median(taken)
        for count, taken in zip(threads, times, strict=True)
    }


def _seconds(
    calls: Sequence[Callable[[], Any]], *, rounds: int, most_seconds: float = 6.0
) -> list[list[float]]:
    """The times of each call, all in turn so that they meet the same machine, in so many rounds.

    In fewer rounds where they would take too long.
    """
    for call in [*calls] * _WARM_UP:
        call()
    taken: list[list[float]] = [[] for _ in calls]
    begun = time.perf_counter()
    for done in range(rounds):
        if done >= _LEAST_ROUNDS and time.perf_counter() - begun > most_seconds:
            break
        for call, own in zip(calls, taken, strict=True):
            start = time.perf_counter()
            answer = call()
            if isinstance(answer, tf.Tensor):
                answer.numpy()  # a GPU answers before it has computed
            own.append(time.perf_counter() - start)
    return taken


def _bytes_of(searcher: Searcher) -> int:
    with tempfile.TemporaryDirectory() as folder:
        assets = Path(folder) / "assets"
        searcher.save(assets)
        files = [file for file in assets.rglob("*") if file.is_file() and not file.is_symlink()]
        return sum(file.stat().st_size for file in files)
