"""Replicas of a model, one on each device, and the strategy that keeps them equal."""

import functools
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from keras_distill.distribution.cluster import Cluster
from keras_distill.distribution.global_batch import gather_replicas
from keras_distill.errors import InputError

_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


@dataclass(frozen=True)
class Replicas:
    """The replicas of a training.

    Attributes:
        strategy: Strategy in whose scope models and optimisers are made.
        cluster: The processes, if there are several.
    """

    strategy: tf.distribute.Strategy
    cluster: Cluster | None = None

    @property
    def count(self) -> int:
        """Replicas of all processes."""
        return self.strategy.num_replicas_in_sync

    @property
    def own(self) -> range:
        """The replicas of this process."""
        if self.cluster is None:
            return range(self.count)
        own = self.count // len(self.cluster.workers)
        return range(own * self.cluster.index, own * (self.cluster.index + 1))

    @property
    def devices(self) -> str:
        """How many replicas there are, and the devices of this process, for people."""
        if self.cluster is None and self.count == 1:  # maybe without a strategy that knows them
            devices = [_devices()[0]]
        else:
            devices = self.strategy.extended.worker_devices
        names = ", ".join(device.rpartition("device:")[2] for device in devices)
        here = "" if self.cluster is None else " here"
        return f"{self.count} {'replica' if self.count == 1 else 'replicas'} on {names}{here}"

    @property
    def is_chief(self) -> bool:
        """Whether this process alone writes what a training leaves behind."""
        return self.cluster is None or self.cluster.is_chief

    def check_batch(self, rows: int) -> None:
        """Refuses a batch that cannot be dealt to the replicas in equal parts.

        Args:
            rows: Rows of the whole batch.

        Raises:
            InputError: If rows would be left over.
        """
        if rows % self.count:
            raise InputError(
                f"a batch of {rows} images cannot be dealt to {self.count} replicas in equal "
                f"parts; use a multiple of {self.count}."
            )

    def distribute(self, batches: tf.data.Dataset) -> Any:
        """Turns the batches of this process's replicas into a data set for `fit`."""
        if self.cluster is None and self.count == 1:
            return batches
        return self.strategy.distribute_datasets_from_function(lambda context: batches)

    def check_agreement(self, values: Mapping[str, Any]) -> None:
        """Compares what must be the same in all processes.

        Args:
            values: Printable values by their names in messages, the same names everywhere.

        Raises:
            InputError: In each process, if one has another value.
        """
        if self.cluster is None:
            return
        numbers = [
            int.from_bytes(hashlib.blake2b(repr(value).encode(), digest_size=6).digest(), "big")
            for value in values.values()
        ]
        for worker, others in enumerate(self._of_workers(numbers)):
            for (name, value), own, other in zip(values.items(), numbers, others, strict=True):
                if own != other:
                    raise InputError(
                        f"{name} is {value!r} here, on {self.cluster.name(self.cluster.index)}, "
                        f"and something else on {self.cluster.name(worker)}. All workers need the "
                        "same settings, images and models, and must see the same run directory."
                    )

    def largest(self, value: int) -> int:
        """Returns the largest value of all processes; all call it at the same point."""
        return value if self.cluster is None else int(self._of_workers([value]).max())

    def of_first(self, value: float) -> float:
        """Returns the value of the first process; all call it at the same point."""
        if self.cluster is None:
            return value
        bits = self._of_workers([int(np.float64(value).view(np.int64))])
        return float(np.int64(bits[0, 0]).view(np.float64))

    def lost(self, error: Exception) -> str:
        """Returns which worker an error of TensorFlow reports as lost; empty for other errors."""
        if self.cluster is None or not isinstance(error, tf.errors.OpError):
            return ""
        text = str(error)
        if not isinstance(error, _LOST) and "ollective" not in text:
            return ""
        named = {int(task) for task in re.findall(r"task:(\d+)", text)} - {self.cluster.index}
        known = sorted(named & set(range(len(self.cluster.workers))))
        return " or ".join(map(self.cluster.name, known)) or "another worker"

    def _of_workers(self, numbers: list[int]) -> np.ndarray:
        gathered = self._gather(tf.constant(numbers, tf.int64))
        rows = self.strategy.experimental_local_results(gathered)[0].numpy()
        return rows[:: len(self.own)]

    @functools.cached_property
    def _gather(self) -> Any:
        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
        def gather(numbers: tf.Tensor) -> Any:
            return self.strategy.run(lambda own: gather_replicas(own[None]), args=(numbers,))

        return gather


def open_replicas(distribution: str, cluster: Cluster | None) -> Replicas:
    """Makes the strategy; with several processes, before TensorFlow has done anything else.

    Args:
        distribution: `"none"`, `"mirrored"` for all devices of this process, or `"multiworker"`.
        cluster: The processes, for `"multiworker"`.

    Returns:
        The replicas.

    Raises:
        InputError: If the processes do not find each other.
    """
    if distribution == "none":
        return Replicas(tf.distribute.get_strategy())
    if cluster is None:
        return Replicas(tf.distribute.MirroredStrategy(_devices()))
    try:
        return Replicas(tf.distribute.MultiWorkerMirroredStrategy(), cluster)
    except (tf.errors.OpError, RuntimeError) as error:
        raise InputError(
            f"{cluster.name(cluster.index)} did not find the other workers, "
            f"{', '.join(cluster.workers)}: {error}. Start all within a few minutes, with ports "
            "that are free and reachable."
        ) from error


def _devices() -> list[str]:
    gpus = tf.config.list_logical_devices("GPU")
    return [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
