"""Prometheus metrics, by TF-Serving's names."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

# Microseconds, as in TF-Serving: 10 µs times powers of 1.8.
_BUCKETS = [10 * 1.8**power for power in range(33)]


class Metrics:
    """Counts requests and loads, and measures times.

    Counters are gauges of the library, whose own counters end in `_total`: TF-Serving's do not, and
    serving/monitoring queries TF-Serving's names.
    """

    def __init__(self) -> None:
        disable_created_metrics()
        self._registry = CollectorRegistry()
        self._requests = Gauge(
            ":tensorflow:serving:request_count",
            "Requests by status.",
            ["model_name", "status"],
            registry=self._registry,
        )
        self._latency = Histogram(
            ":tensorflow:serving:request_latency",
            "Microseconds from a request to its answer.",
            ["model_name", "API", "entrypoint"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._loads = Gauge(
            ":tensorflow:cc:saved_model:load_attempt_count",
            "Versions that were loaded, or could not be.",
            ["model_path", "status"],
            registry=self._registry,
        )

    def count_request(self, model: str, status: str) -> None:
        """Counts a request that has ended, for a model of that name (empty for unknown ones)."""
        self._requests.labels(model, status).inc()

    def count_load(self, path: str, *, success: bool) -> None:
        """Counts an attempt to load a version."""
        self._loads.labels(path, "success" if success else "fail").inc()

    @contextmanager
    def timed(self, model: str, api: str, entrypoint: str) -> Iterator[None]:
        """Measures the time of the block, if it succeeds."""
        begun = time.perf_counter()
        yield
        microseconds = (time.perf_counter() - begun) * 1e6
        self._latency.labels(model, api, entrypoint).observe(microseconds)

    def text(self) -> bytes:
        """Returns everything in Prometheus' text format."""
        return generate_latest(self._registry)
