"""Continuation of a run: begun, resumed, or finished."""

import json
from typing import Literal

from keras_distill.errors import InputError
from keras_distill.runs.directory import RunDirectory
from keras_distill.runs.settings import read_settings
from keras_distill.settings.settings import fixed_values
from keras_distill.settings.training import TrainSettings


def continuation(
    run: RunDirectory, settings: TrainSettings
) -> Literal["begin", "resume", "finished"]:
    """Compares settings with the ones in the run directory.

    They must be the same, except for settings that do not affect what is learned, and for more
    epochs if the learning rate does not depend on their number. A finished stage of several is not
    made longer: later ones start from its product, so that they would have to begin again.

    Args:
        run: The run directory.
        settings: The settings of the training.

    Returns:
        What to do with the run.

    Raises:
        InputError: If another training is there, or the folder cannot be written.
    """
    if run.path.exists() and not run.path.is_dir():
        raise InputError(f"`run_dir={run.path}` is a file; give a folder.")
    if settings.overwrite or not run.flags.exists():
        run.check()  # now, not after the caches have been filled for hours
        return "begin"
    refusal = (
        f"`run_dir={run.path}` holds a run already; give another folder, or `overwrite` to replace "
        "it, or its settings to resume it"
    )
    try:
        there = read_settings(run, type(settings))
    except InputError as error:
        raise InputError(f"{refusal}, which cannot be read from {run.flags}: {error}") from error
    wanted = fixed_values(settings)
    differing = {name for name, value in fixed_values(there).items() if value != wanted[name]}
    if (
        "epochs" in differing
        and settings.epochs > there.epochs > 0
        and settings.schedule not in ("cosine", "one_cycle")
    ):
        differing.remove("epochs")
        stopped = run.summary.exists() and json.loads(run.summary.read_text()).get(
            "stopped_after_epoch"
        )
        if stopped:
            raise InputError(
                f"`epochs={settings.epochs}`: the run in {run.path} stopped early after epoch "
                f"{stopped} and cannot be made longer; begin another, without `patience`."
            )
        if finished := run.finished_stages():
            raise InputError(
                f"`epochs={settings.epochs}`: the run in {run.path} has several stages, and "
                f"{', '.join(finished)} {'are' if len(finished) > 1 else 'is'} finished with "
                f"`epochs={there.epochs}` and cannot be made longer, since later stages start from "
                f"earlier ones; give `epochs={there.epochs}`, another `run_dir`, or `overwrite` to "
                "train all of them again."
            )
    if differing:
        shown = ", ".join(
            f"`{name}={getattr(there, name)}` instead of {getattr(settings, name)}"
            for name in sorted(differing)
        )
        raise InputError(f"{refusal}: {shown}.{_why_not_longer(differing, settings, there)}")
    if run.summary.exists() and settings.epochs == there.epochs:
        return "finished"
    return "resume"


def _why_not_longer(differing: set[str], settings: TrainSettings, there: TrainSettings) -> str:
    if "epochs" not in differing or settings.epochs < there.epochs or not there.epochs:
        return ""
    return (
        f" `schedule={settings.schedule}` spans a number of epochs that is known from the start; "
        "with `schedule=constant` or step a run can be made longer."
    )
