"""The settings of a run, and what other commands take from them."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from keras_distill.errors import InputError
from keras_distill.runs.directory import RunDirectory
from keras_distill.settings.data import check_data_flags
from keras_distill.settings.teachers import parse_teachers, per_teacher

# Each with what describes it further, which means nothing next to another one.
_DETAILS = {
    "dataset": ("data_dir", "train_classes", "validation_classes", "test_classes"),
    "teacher": (
        "teacher_output",
        "teacher_signature",
        "teacher_image_size",
        "teacher_preprocessing",
    ),
    "image_size": (),
    "degrade": (),
}
_SPLIT = ("train_classes", "validation_classes", "test_classes")


def run_of(model: str | Path) -> RunDirectory | None:
    """Finds the run that a model was trained in.

    Args:
        model: A run directory or the `student.keras` in it.

    Returns:
        The run; `None` if the model belongs to none, or the run tells no settings.
    """
    path = Path(model)
    run = RunDirectory(path if path.is_dir() else path.parent)
    is_student = path.is_dir() or path.name == run.student.name
    return run if is_student and run.flags.is_file() else None


def written_settings(run: str | Path) -> dict[str, str]:
    """Returns the settings that a run directory was made with, by flag; none if it is no run."""
    file = RunDirectory(run).flags
    return dict(re.findall(r"^--(\w+)=(.*)$", file.read_text() if file.is_file() else "", re.M))


def inherit_settings(flags: Any, run: RunDirectory, names: Iterable[str]) -> dict[str, str]:
    """Sets those flags that the command line leaves open to what the run was made with.

    What describes a setting further is taken with it, and not next to another value: the classes of
    the run belong to its data set, also where the command line names the same one again.

    Args:
        flags: The parsed flags of a command.
        run: The run directory.
        names: Some of `dataset`, `teacher`, `image_size`, `degrade`.

    Returns:
        The settings that were taken from the run, by flag, without empty ones.

    Raises:
        InputError: If a setting of the run cannot be used here.
    """
    written = written_settings(run.path)
    inherited = {}
    for name in names:
        again = name == "dataset" and flags.dataset and _same_data(flags.dataset, written)
        if not written.get(name) or (flags[name].present and not again):
            continue
        for setting in (name, *_DETAILS[name]):
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


def said_of_settings(flags: Any, run: RunDirectory, inherited: dict[str, str]) -> str:
    """Says which settings come from a run, and that its classes are not those of other data.

    Args:
        flags: The flags, after `inherit_settings`.
        run: The run directory.
        inherited: What that returned.

    Returns:
        Lines; empty if there is nothing to say.
    """
    written, lines = written_settings(run.path), []
    if inherited:
        text = ", ".join(f"--{name}={value}" for name, value in inherited.items())
        lines.append(f"From {run.flags}: {text}")
    split = [f"--{name}={written[name]}" for name in _SPLIT if written.get(name)]
    if split and written.get("dataset") and not _same_data(flags.dataset, written):
        lines.append(
            f"--dataset={flags.dataset} is not the data set of the run, {written['dataset']}: its "
            f"classes ({', '.join(split)}) are not taken over."
        )
    return "\n".join(lines)


def _same_data(dataset: str, written: dict[str, str]) -> bool:
    """Whether a data set is the one that a run was trained on."""
    names = (dataset, written.get("dataset", ""))
    paths = [
        Path(name.removeprefix("folder:")).expanduser().resolve()
        for name in names
        if name.startswith("folder:")
    ]
    return paths[0] == paths[1] if len(paths) == len(names) else names[0] == names[1]


def _take_the_only_teacher(inherited: dict[str, str], source: str) -> None:
    """Checks the teacher, and takes away the name that it may have among others."""
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
        for setting in _DETAILS["teacher"]:
            if setting in inherited:
                inherited[setting] = per_teacher(setting, inherited[setting], [name])[name]
                if not inherited[setting]:
                    del inherited[setting]
        inherited["teacher"] = str(path)
