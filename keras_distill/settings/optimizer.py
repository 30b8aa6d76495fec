"""The flags of the learning rate, and of what is averaged, frozen, clipped and stopped."""

from typing import Any

from keras_distill.errors import InputError
from keras_distill.settings.command import Command

_GROUP = "Schedule and averages"


def define_schedule_flags(command: Command) -> None:
    """Adds the flags of the optimiser and of the course of a training."""
    command.number(_GROUP, "learning_rate", 3e-4, "Highest learning rate of Adam.")
    command.choice(
        _GROUP,
        "schedule",
        "cosine",
        ["cosine", "step", "constant"],
        "Course of the learning rate: cosine falls smoothly to 0 at the last step, step falls at "
        "--schedule_steps.",
    )
    command.string(
        _GROUP,
        "schedule_steps",
        "",
        "When the rate falls: steps, or epochs with an e, such as 10e,15e.",
    )
    command.number(_GROUP, "schedule_factor", 0.1, "What the rate is multiplied by each time.")
    command.string(
        _GROUP,
        "warmup_steps",
        "0",
        "Steps in which the rate rises from 0, or epochs with an e, such as 2e.",
    )
    command.number(
        _GROUP,
        "trunk_rate",
        1.0,
        "The trunk's updates, weight decay included, are multiplied by this: 0.1 keeps more of a "
        "pretrained one.",
    )
    command.integer(
        _GROUP,
        "freeze_epochs",
        0,
        "First epochs in which only the head is trained: a new one would spoil a pretrained trunk. "
        "The trunk's batch normalisations keep their statistics meanwhile.",
        0,
    )
    command.number(_GROUP, "weight_decay", 0.0, "Decoupled weight decay, as in AdamW.")
    command.number(_GROUP, "l2", 0.0, "L2 penalty on all weights; the paper's code has 2e-4.")
    command.number(
        _GROUP,
        "clip_norm",
        0.0,
        "Shorten a step's gradient to this norm, over all weights, if it is longer; 0 for never. "
        "metrics.jsonl tells the usual length.",
    )
    command.number(
        _GROUP,
        "ema",
        0.0,
        "Validate and save averaged weights, the last 1 / (1 - X) steps or so: 0.99 for short "
        "trainings, 0.999 for more than some thousand steps; 0 for none.",
    )
    command.integer(
        _GROUP,
        "ema_batches",
        10,
        "Training batches on which batch normalisation statistics of the averaged weights are "
        "estimated.",
        1,
    )
    command.integer(
        _GROUP,
        "patience",
        0,
        "Stop after this many validations in a row without a better Recall@1; 0 for never. The "
        "best epoch is what is kept in any case.",
        0,
    )
    command.number(_GROUP, "min_delta", 0.0, "By how much a better Recall@1 must be better.")


def check_schedule_flags(flags: Any) -> None:
    """Rejects what cannot work.

    Raises:
        InputError: If a flag is of no use.
    """
    steps_of("warmup_steps", flags.warmup_steps, 1)
    if (flags.schedule == "step") != bool(flags.schedule_steps):
        raise InputError(
            f"--schedule={flags.schedule} and --schedule_steps={flags.schedule_steps!r} do not go "
            "together; give --schedule=step with steps at which the rate falls, such as 10e,15e."
        )
    drops_of(flags, 1)
    if flags.trunk_rate == 0:
        raise InputError("--trunk_rate=0 must be above 0; --freeze_epochs freezes the trunk.")
    if flags.freeze_epochs and not flags.embedding_dim:
        raise InputError(
            f"--freeze_epochs={flags.freeze_epochs} with --embedding_dim=0 leaves no weights to "
            "train; give the student a head."
        )
    if flags.ema >= 1:
        raise InputError(f"--ema={flags.ema} must be below 1, such as 0.999.")
    if flags.patience and not flags.validation_classes:
        raise InputError(f"--patience={flags.patience} needs --validation_classes.")
    if flags.min_delta and not flags.patience:
        raise InputError(f"--min_delta={flags.min_delta} has no effect without --patience.")


def drops_of(flags: Any, steps_per_epoch: int) -> list[int]:
    """Reads `--schedule_steps`.

    Args:
        flags: The parsed flags.
        steps_per_epoch: Steps in an epoch.

    Returns:
        The steps from which on the rate has fallen once more.

    Raises:
        InputError: If they are of no use.
    """
    value = flags.schedule_steps
    return [steps_of("schedule_steps", part, steps_per_epoch) for part in value.split(",") if value]


def steps_of(flag: str, text: str, steps_per_epoch: int) -> int:
    """Reads a number of steps, or of epochs.

    Args:
        flag: Name of the flag that it is from.
        text: Such as `500`, or `2e` or `0.5e` for epochs.
        steps_per_epoch: Steps in an epoch.

    Returns:
        The steps.

    Raises:
        InputError: If it is neither.

    Example:
        >>> steps_of("warmup_steps", "500", 40), steps_of("warmup_steps", "1.5e", 40)
        (500, 60)
    """
    try:
        steps = float(text[:-1]) * steps_per_epoch if text.endswith("e") else int(text)
        if 0 <= steps < 2**53:
            return round(steps)
    except ValueError:
        pass
    raise InputError(
        f"--{flag}: {text!r} is neither a number of steps, such as 500, nor of epochs, such as 2e."
    )
