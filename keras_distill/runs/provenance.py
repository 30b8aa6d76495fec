"""What a run is made of that its settings name, but do not tell: images and models."""

from collections.abc import Mapping
from typing import Any

import keras

from keras_distill.data.file_stamps import stamps_digest
from keras_distill.data.fingerprint import images_fingerprint_once
from keras_distill.data.image_set import ImageSet
from keras_distill.distribution.replicas import Replicas
from keras_distill.runs.checkpoints import Checkpoint
from keras_distill.settings.teachers import parse_cache, parse_teachers
from keras_distill.settings.training import TrainSettings
from keras_distill.teachers.fingerprint import model_fingerprint
from keras_distill.teachers.teacher import Teacher


def check_ingredients(
    settings: TrainSettings,
    images: ImageSet,
    validation: ImageSet | None,
    student: keras.Model,
    teachers: Mapping[str, Teacher],
    replicas: Replicas,
    newest: Checkpoint | None,
) -> dict[str, Any]:
    """Refuses to train with others than the other processes have, or the checkpoint was made with.

    Args:
        settings: The settings.
        images: The training images.
        validation: The validation images, if there are some.
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
    for name, path in parse_teachers(settings.teacher).items():
        argument = f"--teacher={name}={path}" if name else f"--teacher={path}"
        found[argument] = teachers[name].fingerprint
    if settings.trunk_weights != "none":
        weights = model_fingerprint(student.get_layer("trunk"))
        found[f"--trunk_weights={settings.trunk_weights}"] = weights
    if validation is not None:
        found["the validation images"] = validation.digest
    replicas.check_agreement(found)
    if replicas.is_chief:  # copies on other machines have times of their own
        found |= _contents(settings, images, validation)
    if newest is not None:
        newest.check_made_of(found)
    return found


def _contents(
    settings: TrainSettings, images: ImageSet, validation: ImageSet | None
) -> dict[str, str]:
    """What images hold: their bytes where a cache hashes them, sizes and times of change else."""
    caches = [parse_cache("image_cache", settings.image_cache)]
    if settings.teacher:
        caches.append(parse_cache("teacher_cache", settings.teacher_cache))
    if any(cache != "off" for cache in caches):
        content = f"hash {images_fingerprint_once(images)}"
    else:
        content = f"sizes and times {stamps_digest(images)}"
    found = {"the content of the training images": content}
    if validation is not None:
        stamps = f"sizes and times {stamps_digest(validation)}"
        found["the content of the validation images"] = stamps
    return found
