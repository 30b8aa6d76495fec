"""The settings that a report takes from the run that it is about."""

import re
from pathlib import Path
from typing import Any

from keras_distill.data_flags import check_data_flags
from keras_distill.errors import InputError
from keras_distill.teacher_flags import parse_teachers, per_teacher
from keras_distill.training.run_directory import RunDirectory

# Each with what describes it further, which is of no use beside another one.
_SETTINGS = {
    "dataset": ("data_dir", "train_classes", "validation_classes", "test_classes"),
    "teacher": (
        "teacher_output",
        "teacher_signature",
        "teacher_image_size",
        "teacher_preprocessing",
    ),
    "image_size": (),
}


def inherit_settings(flags: Any) -> dict[str, str]:
    """Sets those flags that the command line leaves open to what the run was made with.

    Args:
        flags: The parsed flags of `report`.

    Returns:
        The settings that were taken from the run, by flag, without empty ones.

    Raises:
        InputError: If there is no run, or a setting of it is of no use here.
    """
    if not flags.run:
        raise InputError("--run is required: the run directory of a student.")
    run = RunDirectory(flags.run)
    if not run.student.is_file():
        raise InputError(
            f"--run={flags.run} is no run directory with a student.keras; train writes one."
        )
    written = written_settings(flags.run)
    inherited = {}
    for name, details in _SETTINGS.items():
        given = flags[name].present
        for setting in () if given else (name, *details):
            if written.get(setting) and not flags[setting].present:
                inherited[setting] = written[setting]
    source = f"from {run.flags}; its relative paths start where it was trained"
    _take_the_only_teacher(inherited, source)
    for name, value in inherited.items():
        flags[name].parse(value)
    if "dataset" in inherited:
        try:
            check_data_flags(flags)
        except InputError as error:
            raise InputError(f"{error} This is {source}. Give --dataset=folder:PATH.") from error
    return inherited


def written_settings(run: str | Path) -> dict[str, str]:
    """Returns the settings that a run directory was made with, by flag; none if it is no run."""
    file = RunDirectory(run).flags
    return dict(re.findall(r"^--(\w+)=(.*)$", file.read_text() if file.is_file() else "", re.M))


def _take_the_only_teacher(inherited: dict[str, str], source: str) -> None:
    """Checks the teacher, and takes away the name that it may have beside others."""
    try:
        teachers = parse_teachers(inherited.get("teacher", ""))
    except InputError as error:
        raise InputError(
            f"{error} This is {source}. Give --teacher=PATH, or --teacher= to leave it out."
        ) from error
    if len(teachers) > 1:
        raise InputError(
            f"the run has several teachers, {', '.join(teachers)}; choose the one to begin with by "
            "--teacher=PATH, or leave all out by --teacher= ."
        )
    for name, path in teachers.items():
        for setting in _SETTINGS["teacher"]:
            if setting in inherited:
                inherited[setting] = per_teacher(setting, inherited[setting], [name])[name]
                if not inherited[setting]:
                    del inherited[setting]
        inherited["teacher"] = str(path)
