"""What a run is made of that its flags name, but do not tell: images and models."""

from collections.abc import Mapping
from typing import Any

import keras

from keras_distill.data.image_set import ImageSet
from keras_distill.teacher_flags import parse_teachers
from keras_distill.teachers.fingerprint import model_fingerprint
from keras_distill.teachers.teacher import Teacher
from keras_distill.training.checkpoint_folder import Checkpoint
from keras_distill.training.replicas import Replicas


def check_ingredients(
    flags: Any,
    images: ImageSet,
    student: keras.Model,
    teachers: Mapping[str, Teacher],
    replicas: Replicas,
    newest: Checkpoint | None,
) -> dict[str, Any]:
    """Refuses to train with others than the other processes have, or the checkpoint was made with.

    Args:
        flags: The parsed flags, the same in all processes.
        images: The training images.
        student: The student before its first step.
        teachers: The teachers by name, before a projection.
        replicas: The replicas, all of whose processes call this at the same point.
        newest: The checkpoint to go on from, if there is one.

    Returns:
        What to give `ResumableCallbacks` as `made_of`.

    Raises:
        InputError: If something differs.
    """
    found: dict[str, Any] = {"the training images": images.digest}
    for name, path in parse_teachers(flags.teacher).items():
        argument = f"--teacher={name}={path}" if name else f"--teacher={path}"
        found[argument] = teachers[name].fingerprint
    if flags.trunk_weights != "none":
        weights = model_fingerprint(student.get_layer("trunk"))
        found[f"--trunk_weights={flags.trunk_weights}"] = weights
    replicas.check_agreement(found)
    if newest is not None:
        newest.check_made_of(found)
    return found
