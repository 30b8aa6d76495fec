"""Data of a training on labels: forgotten annotations, warnings and the class prior."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_distill.data.class_prior_file import read_class_prior
from keras_distill.data.partial_annotations import drop_annotations, keep_annotations_per_class
from keras_distill.runs.stage import StageContext
from keras_distill.settings.multilabel import ESTIMATE, MultiLabelSettings, parse_annotations

#: File of the estimated class prior in the folder of its stage.
PRIOR_FILE = "class_prior.csv"


def simulated_annotations(settings: MultiLabelSettings, targets: np.ndarray) -> np.ndarray:
    """Forgets labels of the training data as `annotations` says.

    Args:
        settings: The settings, checked.
        targets: Targets `(n, labels)`.

    Returns:
        The targets that are left; the same where nothing is forgotten.
    """
    simulated = parse_annotations(settings.annotations)
    if simulated is None:
        return targets
    kind, number = simulated
    if kind == "per_class":
        return keep_annotations_per_class(targets, int(number), settings.seed)
    return drop_annotations(targets, 1.0 - number, settings.seed)


def label_warnings(train: Any, validation: Any, noun: str = "image") -> list[str]:
    """Warns of data from which little can be learned.

    Args:
        train: `MultiLabelImages` or `Albums`.
        validation: The same to validate on, or `None`.
        noun: What they are.

    Returns:
        Sentences about labels without training data, and missing validation data.
    """
    counts: Sequence[int] = train.positives.tolist()
    empty = [name for name, count in zip(train.class_names, counts, strict=True) if not count]
    warnings = []
    if empty:
        named = ", ".join(empty[:3]) + (", …" if len(empty) > 3 else "")
        warnings.append(
            f"{len(empty)} of {len(train.class_names)} labels have no training {noun} "
            f"({named}); they cannot be learned."
        )
    if validation is None:
        warnings.append(
            f"there are no validation {noun}s: no epoch is chosen, and labels have the threshold "
            "0.5."
        )
    return warnings


def label_prior(
    settings: MultiLabelSettings, context: StageContext, class_names: Sequence[str]
) -> np.ndarray | None:
    """Reads how frequent each label is, from a file or from an earlier stage.

    Args:
        settings: The settings.
        context: The context of the stage.
        class_names: Names of the labels.

    Returns:
        The prior `(labels,)`; `None` if the loss takes none.
    """
    if not settings.prior:
        return None
    file = Path(settings.prior)
    if settings.prior == ESTIMATE:
        file = context.products["prior"].parent / PRIOR_FILE
    return read_class_prior(file, class_names)
