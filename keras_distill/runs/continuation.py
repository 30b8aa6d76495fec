"""Whether a run directory is begun, gone on with, or left as it is."""

import json
from collections.abc import Callable
from typing import Any, Literal

from keras_distill.errors import InputError
from keras_distill.runs.directory import RunDirectory
from keras_distill.settings.command import Command
from keras_distill.settings.monitoring import WATCHING

# What may differ, for nothing that is learnt depends on it.
_FREE = {
    "run_dir",
    "distribution",
    "overwrite",
    "checkpoint_every",
    "checkpoint_steps",
    "keep_checkpoints",
    "cache_dir",
    "cache_max_gb",
    "strict_images",
    *WATCHING,
}


def continuation(
    run: RunDirectory, flags: Any, define_flags: Callable[[Command], None]
) -> Literal["begin", "go on", "finished"]:
    """Compares what is asked for with what is in the run directory.

    The settings must be the same, except for those that change nothing in what is learnt, and for
    more epochs where the learning rate does not depend on their number.

    Args:
        run: The run directory.
        flags: The parsed flags of the training.
        define_flags: Defines the flags of a training, to read those in the folder by.

    Returns:
        What to do.

    Raises:
        InputError: If another training is there, or no folder, or none can be written there.
    """
    if run.path.exists() and not run.path.is_dir():
        raise InputError(f"--run_dir={run.path} is a file; give a folder.")
    if flags.overwrite or not run.flags.exists():
        run.check()  # now, not after the caches have been filled for hours
        return "begin"
    command = Command("keras_distill.train", "")
    define_flags(command)
    refusal = (
        f"--run_dir={run.path} holds a run already; give another folder, or --overwrite to replace "
        "it, or its settings to go on with it"
    )
    try:
        there = command.parse([f"--flagfile={run.flags}"])
    except InputError as error:
        raise InputError(f"{refusal}, which {run.flags} does not tell: {error}") from error
    asked = settings(flags)
    differing = {name for name, value in settings(there).items() if value != asked[name]}
    if "epochs" in differing and flags.epochs > there.epochs > 0 and flags.schedule != "cosine":
        differing.remove("epochs")
        stopped = run.summary.exists() and json.loads(run.summary.read_text()).get(
            "stopped_after_epoch"
        )
        if stopped:
            raise InputError(
                f"--epochs={flags.epochs}: the run in {run.path} stopped early after epoch "
                f"{stopped} and cannot be made longer; begin another, without --patience."
            )
    if differing:
        shown = ", ".join(
            f"--{name}={there[name].value} instead of {flags[name].value}"
            for name in sorted(differing)
        )
        raise InputError(f"{refusal}: {shown}.{_why_not_longer(differing, flags, there)}")
    if run.summary.exists() and flags.epochs == there.epochs:
        return "finished"
    return "go on"


def settings(flags: Any) -> dict[str, Any]:
    """Returns the flags that decide what is learnt, with their values, by name."""
    free = _FREE | {"flagfile", "help", "helpfull", "helpshort", "helpxml"}
    return {name: flags[name].value for name in flags if name not in free}


def _why_not_longer(differing: set[str], flags: Any, there: Any) -> str:
    if "epochs" not in differing or flags.epochs < there.epochs or not there.epochs:
        return ""
    return (
        f" --schedule={flags.schedule} spans a number of epochs that is known from the start; with "
        "--schedule=constant or step a run can be made longer."
    )
