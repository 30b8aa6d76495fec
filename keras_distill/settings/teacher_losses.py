"""Losses against the teachers, as named by the settings."""

import math
from collections.abc import Sequence

from keras_distill.errors import InputError
from keras_distill.losses.registry import (
    ANCHOR_LOSSES,
    FEATURE_LOSSES,
    HEAD_LOSSES,
    TEACHER_LOSSES,
    published_weight,
)
from keras_distill.settings.teachers import TeacherSettings, parse_teachers


def parse_teacher_losses(
    value: str, dataset: str, names: list[str], also: Sequence[str] = ()
) -> dict[str, dict[str, float]]:
    """Reads `--teacher_losses`.

    Args:
        value: Such as `"absolute:1,relative"`, or `"a.absolute:1,b.relative"`.
        dataset: Name of the data set, for the weights left out.
        names: Names of the teachers.
        also: Further losses of each teacher, if the text does not name them.

    Returns:
        For each teacher the weights of its losses by name.

    Raises:
        InputError: If a name or a weight cannot be used, or a teacher has no loss.
    """
    weights: dict[str, dict[str, float]] = {name: {} for name in names}
    for part in filter(None, value.split(",")):
        key, _, text = part.partition(":")
        teacher, dot, loss = key.rpartition(".")
        chosen = [teacher] if dot else names
        if not set(chosen) <= set(names) or (dot and names == [""]):
            raise InputError(
                f"--teacher_losses={value}: there is no teacher {teacher!r}; "
                + ("--teacher names none." if names == [""] else f"there are {', '.join(names)}.")
            )
        if loss not in TEACHER_LOSSES or any(loss in weights[name] for name in chosen):
            raise InputError(
                f"--teacher_losses={value}: {key!r} is "
                f"{'there twice' if loss in TEACHER_LOSSES else 'unknown'}; give some of "
                f"{', '.join(TEACHER_LOSSES)}, each once."
            )
        try:
            weight = float(text) if text else published_weight(dataset, loss)
        except ValueError:
            weight = math.nan
        if not 0 <= weight < math.inf:
            raise InputError(
                f"--teacher_losses={value}: {text!r} is not a weight; give a number, 0 or more."
            )
        for name in chosen:
            weights[name][loss] = weight
    for own in weights.values():
        for loss in also:
            own.setdefault(loss, published_weight(dataset, loss))
    if idle := [name for name in names if name and not weights[name]]:
        raise InputError(
            f"--teacher_losses={value} gives the teacher {idle[0]!r} nothing to teach; add "
            f"{idle[0]}.relative, or drop it from --teacher."
        )
    return weights


def named_losses(settings: TeacherSettings) -> str:
    """Returns `--teacher_losses`; its default is used only if no loss is named otherwise."""
    named = "teacher_losses" in settings.given or not any(
        getattr(settings, loss) for loss in FEATURE_LOSSES
    )
    return settings.teacher_losses if named else ""


def teacher_loss_weights(settings: TeacherSettings, dataset: str) -> dict[str, dict[str, float]]:
    """Reads the losses against the teachers.

    Args:
        settings: The settings.
        dataset: Name of the data set, for the published weights.

    Returns:
        As `parse_teacher_losses`, with `--hint` and `--attention`; empty without a teacher.

    Raises:
        InputError: As `parse_teacher_losses`, or if a flag would have no effect.
    """
    names = list(parse_teachers(settings.teacher))
    if not names:
        return {}
    shortcuts = [loss for loss in sorted(FEATURE_LOSSES) if getattr(settings, loss)]
    weights = parse_teacher_losses(named_losses(settings), dataset, names, shortcuts)
    for loss in sorted(FEATURE_LOSSES):
        layers = f"{loss}_layers"
        if (value := getattr(settings, layers)) and not any(
            loss in own for own in weights.values()
        ):
            raise InputError(f"--{layers}={value} has no effect without the loss; add --{loss}.")
    if settings.anchors != "all" and not any(
        ANCHOR_LOSSES & own.keys() for own in weights.values()
    ):
        raise InputError(
            f"--anchors={settings.anchors} has no effect without the loss; add "
            f"{' or '.join(sorted(ANCHOR_LOSSES))} to --teacher_losses."
        )
    if settings.teacher_head != "auto" and not any(
        HEAD_LOSSES & own.keys() for own in weights.values()
    ):
        raise InputError(
            f"--teacher_head={settings.teacher_head} has no effect without the loss; add "
            "teacher_head to --teacher_losses."
        )
    return weights
