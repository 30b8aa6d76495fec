"""Provenance of a run: the images and models that its settings name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from keras_distill.data.file_stamps import stamps_digest
from keras_distill.data.image_fingerprint import images_fingerprint_once
from keras_distill.data.image_set import ImageSet
from keras_distill.errors import renamed_arguments
from keras_distill.recipes.class_vectors import head_fingerprint
from keras_distill.runs.stage import StageContext
from keras_distill.settings.distill import DistillSettings
from keras_distill.settings.teachers import parse_cache, parse_teachers
from keras_distill.teachers.model_fingerprint import model_fingerprint
from keras_distill.teachers.teacher import Teacher


def check_provenance(
    settings: DistillSettings,
    images: ImageSet,
    validation: ImageSet | None,
    student: keras.Model,
    teachers: Mapping[str, Teacher],
    context: StageContext,
) -> dict[str, Any]:
    """Rejects other images and models than those of the other processes, or of the checkpoint.

    Args:
        settings: The settings.
        images: The training images.
        validation: The validation images, if there are some.
        student: The student before its first step.
        teachers: The teachers by name, before a projection.
        context: The context of the stage; all processes call this at the same point.

    Returns:
        The provenance, by stable keys.

    Raises:
        InputError: If something differs.
    """
    found: dict[str, Any] = {"train_images": images.digest}
    losses = {
        part.partition(":")[0].rpartition(".")[2] for part in settings.teacher_losses.split(",")
    }
    called = {}  # in messages
    for name, path in parse_teachers(settings.teacher).items():
        key = f"teacher/{name}" if name else "teacher"
        found[key] = teachers[name].fingerprint
        called[key] = f"teacher={name}={path}" if name else f"teacher={path}"
        if (head := head_fingerprint(settings, Path(path), losses)) is not None:
            found[f"{key}_head"] = head
            called[f"{key}_head"] = f"teacher_head={settings.teacher_head}"
    if settings.backbone_weights != "none":
        called["backbone_weights"] = f"backbone_weights={settings.backbone_weights}"
        found["backbone_weights"] = model_fingerprint(student.get_layer("trunk"))
    if validation is not None:
        found["validation_images"] = validation.digest
    with renamed_arguments(**called):
        context.check_agreement(found)
        if context.replicas.is_chief:  # copies on other machines have times of their own
            found |= _contents(settings, images, validation)
        context.check_provenance(found)
    return found


def _contents(
    settings: DistillSettings, images: ImageSet, validation: ImageSet | None
) -> dict[str, str]:
    """Content of images: a hash of their bytes if a cache has it, else sizes and times."""
    caches = [parse_cache("image_cache", settings.image_cache)]
    if settings.teacher:
        caches.append(parse_cache("teacher_cache", settings.teacher_cache))
    if any(cache != "off" for cache in caches):
        content = f"hash {images_fingerprint_once(images)}"
    else:
        content = f"sizes and times {stamps_digest(images)}"
    found = {"train_content": content}
    if validation is not None:
        stamps = f"sizes and times {stamps_digest(validation)}"
        found["validation_content"] = stamps
    return found
