"""Labels of a data set that a model can score, and those that it lacks."""

from collections.abc import Sequence
from typing import Any

from keras_distill.errors import InputError
from keras_distill.settings.evaluation import EvaluateSettings

_NAMED = 5


def known_labels(
    settings: EvaluateSettings, labels: Sequence[str] | None, data: Any
) -> tuple[Any, list[str]]:
    """Keeps the labels of a data set that a model can score.

    Args:
        settings: The settings, whose `classes` a user may have named.
        labels: Names of the labels that the model has logits of; `None` if it scores any.
        data: `MultiLabelImages`, or anything else with `class_names` and `of_classes`.

    Returns:
        The data with these labels, in their order there; and the names of those that are left out.

    Raises:
        InputError: If the model has none of the labels, or lacks one that `classes` names.
    """
    if labels is None:
        return data, []
    known = [name for name in data.class_names if name in labels]
    lacking = [name for name in data.class_names if name not in labels]
    if not known:
        raise InputError(
            f"`dataset={settings.dataset}` and `model={settings.model}` have no label in common: "
            f"{named(data.class_names)} against {named(labels)}; give data of the model's labels."
        )
    if settings.classes and lacking:
        raise InputError(
            f"`classes={settings.classes}`: the model has no logit for {lacking[0]!r}; leave it "
            "out."
        )
    return data.of_classes(known), lacking


def left_out_warnings(lacking: Sequence[str], total: int) -> list[str]:
    """Warns of labels that are left out.

    Args:
        lacking: Their names.
        total: The number of labels of the data.

    Returns:
        One sentence or none.

    Example:
        >>> left_out_warnings(["cat", "cow"], 5)
        ['The model has no logits of 2 of the 5 labels of the data, which are left out: cat, cow.']
    """
    if not lacking:
        return []
    return [
        f"The model has no logits of {len(lacking)} of the {total} labels of the data, which are "
        f"left out: {named(lacking)}."
    ]


def named(names: Sequence[str]) -> str:
    """Returns the first few of some names, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
