"""Settings of a run, and their use by other commands."""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from keras_distill.errors import InputError
from keras_distill.runs.directory import RunDirectory
from keras_distill.settings.command import Command
from keras_distill.settings.data import DataSettings
from keras_distill.settings.label_data import LabelFileSettings
from keras_distill.settings.recipes import train_command
from keras_distill.settings.regression_data import RegressionFileSettings
from keras_distill.settings.split_data import ImageSplitSettings
from keras_distill.settings.teachers import parse_teachers, per_teacher
from keras_distill.settings.training import TrainSettings

_D = TypeVar("_D", bound=DataSettings)

# Each with its details, which do not apply to another value of it.
_DETAILS = {
    "dataset": (
        "data_dir",
        "train_classes",
        "validation_classes",
        "test_classes",
        *(
            field.name
            for group in (LabelFileSettings, ImageSplitSettings, RegressionFileSettings)
            for field in dataclasses.fields(group)
            if field.metadata
        ),
    ),
    "word_vectors": (),
    "teacher": (
        "teacher_output",
        "teacher_signature",
        "teacher_image_size",
        "teacher_preprocessing",
    ),
    "image_size": (),
    "degrade": (),
}
_SPLIT = (
    *("train_classes", "validation_classes", "test_classes"),
    *("validation_share", "test_share", "split_seed", "least_images"),
)
# What names a file of a data set, `labels:train=A.csv,test=B.csv`.
_SPLIT_FILE = re.compile(r"(?:^|,)(train|validation|test)=")


def run_of(model: str | Path) -> RunDirectory | None:
    """Finds the run that a model was trained in.

    Args:
        model: A run directory or the `student.keras` in it.

    Returns:
        The run; `None` if the model belongs to none, or the run tells no settings.
    """
    path = Path(model)
    run = RunDirectory(path if path.is_dir() else path.parent)
    is_student = path.is_dir() or path.name == run.product.name
    return run if is_student and run.flags.is_file() else None


def read_settings(run: RunDirectory, kind: type[TrainSettings] | None = None) -> Any:
    """Reads the settings that a run directory was made with.

    Args:
        run: The run directory.
        kind: Class of the settings, which has to know all flags; by default the class of the
            recipe, and unknown flags of former versions are ignored.

    Returns:
        The settings, not checked; all of `flags.txt` are `given`.

    Raises:
        InputError: If there are none, or they are not of a training.
    """
    if not run.flags.is_file():
        raise InputError(f"{str(run.path)!r} is not a run directory: it has no {run.flags.name}.")
    arguments = [f"--flagfile={run.flags}"]
    if kind is None:
        return train_command(arguments).parse(arguments, known_only=True)
    return Command("keras_distill.train", "", kind).parse(arguments)


def inherit_settings(
    settings: _D, run: RunDirectory, names: Iterable[str]
) -> tuple[_D, dict[str, Any], str]:
    """Takes settings from a run that the command line leaves open.

    The details of a setting are taken together with it, and not for another value: the classes of
    the run belong to its data set, also if the command line names the same one again.

    Args:
        settings: The settings of a command.
        run: The run directory; nothing is taken from one without `flags.txt`.
        names: Some of `dataset`, `teacher`, `image_size`, `degrade`, `word_vectors`.

    Returns:
        The settings; the values that were taken from the run, by name, without empty ones; and
        lines for people, which also say that the run's classes do not apply to other data, empty
        if there is nothing to say.

    Raises:
        InputError: If a setting of the run cannot be used here.
    """
    if not run.flags.is_file():
        return settings, {}, ""
    written = read_settings(run)
    inherited = {}
    for name in names:
        again = name == "dataset" and settings.dataset and _same_data(settings.dataset, written)
        if not getattr(written, name, None) or (name in settings.given and not again):
            continue
        for each in (name, *_DETAILS[name]):
            if (
                each in written.given
                and hasattr(settings, each)
                and getattr(written, each, None) not in (None, "")  # a share of 0 is a value
                and each not in settings.given
            ):
                inherited[each] = getattr(written, each)
    source = f"from {run.flags}; its relative paths start where it was trained"
    _take_the_only_teacher(inherited, source)
    numbers = {f.name for f in dataclasses.fields(settings) if f.metadata.get("least") is not None}
    settings = settings.replace(
        given=settings.given | inherited.keys(),
        **{name: int(value) if name in numbers else value for name, value in inherited.items()},
    )
    if "dataset" in inherited:
        try:
            settings.check_data()
        except InputError as error:
            remedy = _remedy(str(error), inherited)
            raise InputError(f"{error} This is {source}. Give {remedy}.") from error
    return settings, inherited, _said(settings, written, inherited, run)


def _said(
    settings: DataSettings, written: Any, inherited: dict[str, Any], run: RunDirectory
) -> str:
    lines = []
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    # A run's flags.txt has all flags, most of them as they are by default.
    told = {name: value for name, value in inherited.items() if value != defaults[name]}
    if told:
        text = ", ".join(f"--{name}={value}" for name, value in told.items())
        lines.append(f"From {run.flags}: {text}")
    usual = {field.name: field.default for field in dataclasses.fields(written)}
    split = [
        f"--{name}={value}"
        for name in _SPLIT
        if (value := getattr(written, name, None)) != usual.get(name)
    ]
    # Nothing is read of a data set beside pairs.
    other = settings.dataset and written.dataset and not _same_data(settings.dataset, written)
    if split and other:
        lines.append(
            f"{settings.dataset} is not the data set of the run, {written.dataset}: its split "
            f"({', '.join(split)}) is not taken over."
        )
    return "\n".join(lines)


def _same_data(dataset: str, written: Any) -> bool:
    """Whether a data set is the one that a run was trained on, however its path is written."""
    return _resolved(dataset) == _resolved(getattr(written, "dataset", ""))


def _resolved(dataset: str) -> tuple[str, ...]:
    """The kind of a data set, and its absolute path or those of its splits."""
    kind, colon, text = dataset.partition(":")
    if not colon:
        return (kind,)
    first, *more = _SPLIT_FILE.split(text)
    files = (Path(text).expanduser().resolve() if text else "" for text in (first, *more[1::2]))
    return (kind, *map(str, files), *more[::2])


def _remedy(error: str, inherited: Mapping[str, Any]) -> str:
    """What to give in place of the inherited setting that an error is about."""
    named = re.match(r"(?:--|`)(\w+)=", error)
    name = named[1] if named and named[1] in inherited else "dataset"
    if name != "dataset":
        return f"`{name}`"
    kind = inherited["dataset"].partition(":")[0]
    # Another error is about a kind that this command does not take.
    return f"`dataset={kind if 'there is no' in error else 'folder'}:PATH`"


def _take_the_only_teacher(inherited: dict[str, Any], source: str) -> None:
    """Checks the teacher, and removes the name that it may have."""
    try:
        teachers = parse_teachers(inherited.get("teacher", ""))
    except InputError as error:
        raise InputError(
            f"{error} This is {source}. Give `teacher=PATH`, or `teacher=` to leave it out."
        ) from error
    if len(teachers) > 1:
        raise InputError(
            f"the run has several teachers, {', '.join(teachers)}; choose the one to begin with by "
            "`teacher=PATH`, or leave all out by `teacher=`."
        )
    for name, path in teachers.items():
        for setting in _DETAILS["teacher"]:
            if setting in inherited:
                inherited[setting] = per_teacher(setting, inherited[setting], [name])[name]
                if not inherited[setting]:
                    del inherited[setting]
        inherited["teacher"] = str(path)
