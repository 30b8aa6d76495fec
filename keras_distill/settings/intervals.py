"""The flag that chooses what intervals are computed over."""

from typing import Any

from keras_distill.settings.command import Command


def define_interval_flag(command: Command) -> None:
    """Adds `--intervals` to a command."""
    command.choice(
        "Evaluation",
        "intervals",
        "auto",
        ["auto", "classes", "queries"],
        "What is resampled for the 95 % intervals on show; the JSON has both. queries: how far "
        "figures depend on which images of these classes are the queries. classes: how far on "
        "which classes these are, each resampled with all of its queries. auto is classes where "
        "the model was not trained on any of them, and there are several.",
    )


def shown_intervals(flags: Any, *, seen: bool, classes: int) -> str:
    """Chooses the intervals to show.

    Args:
        flags: The parsed flags.
        seen: Whether the model is known to have been trained on one of the classes.
        classes: How many there are.

    Returns:
        `queries` or `classes`.
    """
    if flags.intervals != "auto":
        return str(flags.intervals)
    return "queries" if seen or flags.split == "train" or classes < 2 else "classes"
