"""Classes of an evaluation that the model has seen in training."""

from collections.abc import Sequence
from typing import Any

from keras_distill.runs.origin import run_dataset


def classes_seen_in_training(model: str, images: Any) -> list[str]:
    """Finds the classes with an image that a model was trained on, with its label or without.

    Args:
        model: A `.keras` file or a run directory.
        images: The `ImageSet` that it is evaluated on.

    Returns:
        Names of these classes; empty as well if the data set of its run is not on this machine.
    """
    dataset = run_dataset(model)
    if dataset is None:
        return []
    trained = set(dataset.train.files())
    if dataset.unlabelled is not None:
        trained.update(dataset.unlabelled.files())
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
