"""Class vectors that are the head of a teacher of embeddings."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from keras_distill.data.image_set import ImageSet
from keras_distill.errors import InputError, renamed_arguments
from keras_distill.losses.registry import HEAD_LOSSES
from keras_distill.models.class_head import CLASS_HEAD, ClassHead, load_class_head
from keras_distill.recipes.class_means import class_means
from keras_distill.settings.distill import DistillSettings
from keras_distill.teachers.model_fingerprint import fingerprint_of


def class_vectors(
    settings: DistillSettings,
    teacher: Path,
    width: int | None,
    images: ImageSet,
    embeddings: Callable[[], np.ndarray],
) -> ClassHead:
    """Finds or makes the class vectors that the settings name.

    Args:
        settings: The settings.
        teacher: The teacher's file or run directory.
        width: Width of its embeddings; `None` if it is not known.
        images: The training images.
        embeddings: Returns its embeddings of the labelled ones, `(n, width)`; called for their
            means.

    Returns:
        The head. Its classes need not be those of the data set: what it finds in the student's
        embedding is compared with what it finds in the teacher's.

    Raises:
        InputError: If there are none, or they are of another width.
    """
    if settings.teacher_head == "means":
        labels = images.labels[images.labels >= 0]
        return class_means(embeddings(), labels, images.class_names)
    file = head_file(settings, teacher)
    if not file.is_file():
        raise InputError(
            f"`teacher_head={settings.teacher_head}`: there is no {str(file)!r}, which a run with "
            "class vectors (task_loss arc_face, proxy_anchor or normalized_softmax) keeps; give "
            "another, or `teacher_head=means`."
        )
    with renamed_arguments(path="teacher_head"):
        head = load_class_head(file)
    if head.scale is None:
        raise InputError(
            f"`teacher_head={file}` is a linear head, which needs features that are not divided by "
            "their length; give class vectors, or train by the recipe head_sharing."
        )
    if width not in (None, head.width):
        raise InputError(
            f"`teacher_head={file}` has vectors of width {head.width}, but the teacher's "
            f"embeddings have {width}; give `teacher_head=means`."
        )
    return head


def head_file(settings: DistillSettings, teacher: Path) -> Path:
    """Returns the file of the class vectors that the settings name, which need not exist.

    Args:
        settings: The settings, whose `teacher_head` is not `means`.
        teacher: The teacher's file or run directory.
    """
    given = settings.teacher_head != "auto"
    file = Path(settings.teacher_head) if given else teacher
    if file.is_dir() or not given:
        file = (file if file.is_dir() else file.parent) / CLASS_HEAD
    return file


def head_fingerprint(settings: DistillSettings, teacher: Path, losses: Iterable[str]) -> str | None:
    """Hashes the file of a teacher's class vectors.

    Args:
        settings: The settings.
        teacher: The teacher's file or run directory.
        losses: Names of the losses against it.

    Returns:
        The hash; `None` if no loss takes them, or they are not read from a file.
    """
    if settings.teacher_head == "means" or not HEAD_LOSSES.intersection(losses):
        return None
    file = head_file(settings, teacher)
    return fingerprint_of("head", file.read_bytes()) if file.is_file() else None
