"""The processes that train together, as `TF_CONFIG` names them."""

import json
import os
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
        index: Which of them this process is.
    """

    workers: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        """Whether this process alone writes the run directory."""
        return self.index == 0

    def name(self, index: int) -> str:
        """What messages call a worker."""
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
            f"lacks something or is no JSON ({type(error).__name__}: {error})"
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


def _unusable(why: str) -> InputError:
    return InputError(
        f"--distribution=multiworker: the environment variable TF_CONFIG {why}. Each process needs "
        f"one like {_EXAMPLE}, with the same addresses and an index of its own."
    )
