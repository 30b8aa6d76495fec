"""The flags by which a training is watched."""

import re
from typing import Any

from keras_distill.errors import InputError
from keras_distill.settings.command import Command

_GROUP = "Watching"
#: What may differ where a run is gone on with; the gradient's norm lies in the checkpoints.
WATCHING = (
    "tensorboard",
    "tensorboard_steps",
    "tensorboard_images",
    "histogram_epochs",
    "projector",
    "profile",
)


def define_watch_flags(command: Command) -> None:
    """Adds the flags of TensorBoard, of the gradient's norm, and of the profiler."""
    command.boolean(
        _GROUP,
        "gradient_norm",
        True,
        "Measure the norm of the gradients before clipping: mean and maximum of each epoch are in "
        "metrics.jsonl. --nogradient_norm saves the little that it costs.",
    )
    command.boolean(
        _GROUP,
        "tensorboard",
        True,
        "Write RUN/tensorboard: losses, recall, learning rate, gradient norm, images/s and what "
        "follows here; see them by tensorboard --logdir=runs. --notensorboard leaves it out.",
    )
    command.integer(
        _GROUP,
        "tensorboard_steps",
        0,
        "Steps between two points of the losses within an epoch; 0 for one point an epoch.",
        0,
    )
    command.integer(
        _GROUP,
        "tensorboard_images",
        8,
        "Images of the first batch to show as the student and each teacher see them.",
        0,
    )
    command.integer(
        _GROUP,
        "histogram_epochs",
        0,
        "Epochs between two histograms of all weights; 0 for none.",
        0,
    )
    command.integer(
        _GROUP,
        "projector",
        500,
        "Images, of --validation_classes if there are any, whose embeddings and thumbnails go to "
        "the embedding projector at the end; 0 for none.",
        0,
        10_000,
    )
    command.string(
        _GROUP,
        "profile",
        "",
        "Steps START:STOP to profile, such as 20:30, counted from 1, STOP included; not the first "
        "ones, in which the step is compiled. TensorBoard shows them once "
        "tensorboard-plugin-profile is installed.",
    )


def check_watch_flags(flags: Any) -> None:
    """Rejects what cannot work.

    Raises:
        InputError: If a flag is of no use.
    """
    if flags.profile and not flags.tensorboard:
        raise InputError(f"--profile={flags.profile} has no effect with --notensorboard.")
    profile_of(flags)


def profile_of(flags: Any) -> range:
    """Reads `--profile`.

    Args:
        flags: The parsed flags.

    Returns:
        The steps, counted from 1.

    Raises:
        InputError: If they are of no use.
    """
    match = re.fullmatch(r"(\d+):(\d+)", flags.profile or "0:0")
    if match is None or (flags.profile and not 1 <= int(match[1]) <= int(match[2])):
        raise InputError(
            f"--profile={flags.profile} is not START:STOP, two steps from 1 on, the first not "
            "after the second, such as 20:30."
        )
    return range(int(match[1]), int(match[2]) + 1) if flags.profile else range(0)
