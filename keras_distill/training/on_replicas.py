"""A training on the devices and processes that the settings name."""

import os
import sys
from collections.abc import Callable

from keras_distill.data.image_set import ImageSet
from keras_distill.distribution.cluster import Cluster, wait_for_workers
from keras_distill.distribution.replicas import Replicas, open_replicas
from keras_distill.settings.command import WORKER_LOST
from keras_distill.settings.settings import fixed_values
from keras_distill.settings.training import TrainSettings
from keras_distill.version import __version__


def run_on_replicas(
    settings: TrainSettings,
    cluster: Cluster | None,
    train: Callable[[Replicas], int | Callable[[], int]],
) -> int:
    """Trains in the scope of the strategy that the settings name.

    Args:
        settings: The settings.
        cluster: The processes, if there are several.
        train: Trains; returns the exit code, or what is to be done outside of the scope, where
            making variables concerns no other process.

    Returns:
        The exit code. If another process is gone, this one ends with `WORKER_LOST`.

    Raises:
        InputError: If the processes do not find together.
    """
    if cluster is not None:
        print(f"{cluster.name(cluster.index)} of {len(cluster.workers)}", flush=True)
        wait_for_workers(cluster)
    replicas = open_replicas(settings.distribution, cluster)
    if settings.distribution == "mirrored" and replicas.count == 1:
        print(
            f"train: --distribution=mirrored has {replicas.devices} only; leave it out, or ask "
            "python -m keras_distill.doctor why no other device is found.",
            file=sys.stderr,
        )
    try:
        with replicas.strategy.scope():
            left = train(replicas)
        code = left if isinstance(left, int) else left()
        replicas.largest(0)  # until worker 0 has written everything
        return code
    except Exception as error:
        if not (lost := replicas.lost(error)):
            raise
        print(
            f"train: {lost} was lost. Start the same commands again, and the training goes on from "
            "its last checkpoint.",
            file=sys.stderr,
        )
        # An orderly end would wait for, or complain of, what TensorFlow still does with the others.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(WORKER_LOST)


def check_replicas(
    replicas: Replicas,
    settings: TrainSettings,
    images: ImageSet,
    unlabelled_per_batch: int,
    first_step: int,
) -> None:
    """Refuses a batch that cannot be dealt to the replicas, and processes that do not agree.

    Args:
        replicas: The replicas.
        settings: The settings.
        images: The training images.
        unlabelled_per_batch: Unlabelled rows of a batch.
        first_step: The step to go on from.

    Raises:
        InputError: If there is something to refuse.
    """
    names = "--classes_per_batch x --images_per_class"
    replicas.check_batch(
        settings.classes_per_batch * settings.images_per_class + unlabelled_per_batch,
        f"{names} + --unlabelled_per_batch" if unlabelled_per_batch else names,
    )
    replicas.check_agreement(
        {
            "the step to go on from": first_step,
            "the training images": images.digest,
            "the version": __version__,
            **{f"--{name}": value for name, value in fixed_values(settings).items()},
        }
    )
