"""Cluster of the processes that train together, as named by `TF_CONFIG`."""

import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

from keras_distill.errors import InputError

_EXAMPLE = (
    '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
)


@dataclass(frozen=True)
class Cluster:
    """The processes that train together.

    Attributes:
        workers: Address of each, `host:port`.
        index: Number of this process.
    """

    workers: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        """Whether this process alone writes the run directory."""
        return self.index == 0

    def name(self, index: int) -> str:
        """Name of a worker in messages."""
        return f"worker {index} ({self.workers[index]})"


def read_cluster(environment: Mapping[str, str] = os.environ) -> Cluster:
    """Reads `TF_CONFIG`.

    Args:
        environment: The environment.

    Returns:
        The cluster.

    Raises:
        InputError: If it is missing, or not what `tf.distribute.MultiWorkerMirroredStrategy` needs.

    Example:
        >>> read_cluster(
        ...     {
        ...         "TF_CONFIG": '''
        ...     {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}
        ... '''
        ...     }
        ... ).name(0)
        'worker 0 (a:1)'
    """
    text = environment.get("TF_CONFIG", "")
    if not text:
        raise _unusable("is not set")
    try:
        config = json.loads(text)
        jobs, task = config["cluster"], config["task"]
        workers, index = jobs["worker"], int(task["index"])
        job = task["type"]
    except (ValueError, KeyError, TypeError) as error:
        raise _unusable(
            f"lacks something or is not JSON ({type(error).__name__}: {error})"
        ) from error
    if set(jobs) != {"worker"} or job != "worker":
        raise _unusable(f"has jobs {sorted(jobs)} and a task of type {job!r}; all must be 'worker'")
    if not isinstance(workers, list) or not workers:
        raise _unusable("names no workers")
    for address in workers:
        host, _, port = str(address).rpartition(":")
        if not host or not port.isdigit():
            raise _unusable(f"has the address {address!r}, which is not host:port")
    if len(set(workers)) != len(workers):
        raise _unusable("names an address twice")
    if not 0 <= index < len(workers):
        raise _unusable(f"has index {index}, but there are {len(workers)} workers, from 0")
    return Cluster(tuple(workers), index)


def wait_for_workers(cluster: Cluster, limit: float = 600.0) -> None:
    """Waits until all workers listen at their ports; TensorFlow itself would wait without end.

    Each listens at its own port meanwhile, and TensorFlow does so afterwards.

    Args:
        cluster: The processes.
        limit: Seconds to wait for the last one.

    Raises:
        InputError: If this process' port is in use, or a worker does not appear in time.
    """
    end = time.monotonic() + limit
    port = cluster.workers[cluster.index].rpartition(":")[2]
    missing = set(range(len(cluster.workers))) - {cluster.index}
    try:
        listening = socket.create_server(("", int(port)))
    except OSError as error:
        raise InputError(
            f"{cluster.name(cluster.index)} cannot listen at its port ({error.strerror}); end what "
            "uses it, or choose another one in every TF_CONFIG."
        ) from error
    with listening:
        while missing:
            for worker in sorted(missing):
                host, _, port = cluster.workers[worker].rpartition(":")
                try:
                    socket.create_connection((host, int(port)), timeout=5).close()
                    missing.discard(worker)
                except OSError as error:
                    if time.monotonic() > end:
                        raise InputError(
                            f"{cluster.name(worker)} was not there after {limit:g} seconds "
                            f"({error}); start all within this time, and see that hosts and ports "
                            "can be reached."
                        ) from error
            time.sleep(0.2)


def _unusable(why: str) -> InputError:
    return InputError(
        f"the environment variable TF_CONFIG {why}. Each process needs one like {_EXAMPLE}, with "
        "the same addresses and an index of its own."
    )
