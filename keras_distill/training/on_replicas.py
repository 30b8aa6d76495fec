"""Training on several devices and processes."""

import os
import sys
from collections.abc import Callable

from keras_distill.distribution.cluster import Cluster, wait_for_workers
from keras_distill.distribution.replicas import Replicas, open_replicas
from keras_distill.errors import as_flags
from keras_distill.settings.command import WORKER_LOST
from keras_distill.settings.settings import names_of
from keras_distill.settings.training import TrainSettings


def run_on_replicas(
    settings: TrainSettings, cluster: Cluster | None, train: Callable[[Replicas], int]
) -> int:
    """Trains on the devices and processes that the settings name.

    Args:
        settings: The settings.
        cluster: The processes, if there are several.
        train: Trains; returns the exit code.

    Returns:
        The exit code. If another process is gone, this one ends with `WORKER_LOST`.

    Raises:
        InputError: If the processes do not find each other.
    """
    if cluster is not None:
        print(f"{cluster.name(cluster.index)} of {len(cluster.workers)}", flush=True)
        wait_for_workers(cluster)
    replicas = open_replicas(settings.distribution, cluster)
    if settings.distribution == "mirrored" and replicas.count == 1:
        text = (
            f"`distribution=mirrored` has {replicas.devices} only; leave it out, or let "
            "python -m keras_distill.doctor find out why there is no other device."
        )
        print(f"train: {as_flags(text, names_of(settings))}", file=sys.stderr)
    try:
        code = train(replicas)
        replicas.largest(0)  # until worker 0 has written everything
        return code
    except Exception as error:
        if not (lost := replicas.lost(error)):
            raise
        print(
            f"train: {lost} was lost. Start the same commands again to resume the training from "
            "its last checkpoint.",
            file=sys.stderr,
        )
        # A normal exit would wait for operations with the other processes, or report their failure.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(WORKER_LOST)
