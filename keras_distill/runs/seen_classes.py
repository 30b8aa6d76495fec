"""Classes of an evaluation that the model has seen in training."""

from collections.abc import Sequence
from typing import Any

from keras_distill.runs.origin import run_training_images


def classes_seen_in_training(model: str, images: Any) -> list[str]:
    """Finds the classes with an image that a model was trained on, with its label or without.

    Args:
        model: A run directory, or a `.keras` file, also the `embedder.keras` of a classifier.
        images: The `ImageSet` that it is evaluated on.

    Returns:
        Names of these classes; empty as well if the data set of its run is not on this machine.
    """
    trained = {file for each in run_training_images(model) for file in each.files()}
    seen = {
        label
        for label, file in zip(images.labels.tolist(), images.files(), strict=True)
        if file in trained
    }
    return [images.class_names[label] for label in sorted(seen)]


def seen_warning(seen: Sequence[str], classes: int) -> str:
    """Warns that a model was trained on classes that it is evaluated on.

    Args:
        seen: Their names, at least one.
        classes: Number of classes that it is evaluated on.

    Returns:
        A sentence.
    """
    named = ", ".join(seen[:3]) + (", …" if len(seen) > 3 else "")
    return (
        f"Warning: the model was trained on {len(seen)} of these {classes} classes ({named}); the "
        "figures do not show how well it retrieves classes that it has not seen."
    )
