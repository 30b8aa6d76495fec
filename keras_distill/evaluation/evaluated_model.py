"""Evaluated model, and its embeddings of queries and gallery."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from rich.console import Console
from rich.progress import Progress

from keras_distill.data.degradation_syntax import parse_degradations
from keras_distill.data.image_set import ImageSet
from keras_distill.data.pipeline import evaluation_batches
from keras_distill.embedding.batches import embed_batches
from keras_distill.embedding.named_teacher import load_named_teacher
from keras_distill.errors import InputError, renamed_arguments
from keras_distill.settings.evaluation import EvaluateSettings
from keras_distill.teachers.image_size import needed_image_size
from keras_distill.teachers.loading import load_teacher
from keras_distill.teachers.mirror_averaged_teacher import mirror_averaged_teacher
from keras_distill.teachers.teacher import Teacher


@dataclass(frozen=True)
class EvaluatedModel:
    """A model that can embed the images.

    Attributes:
        setting: Name of the setting that holds its path.
        path: File or folder that it was loaded from.
        model: The model.
        image_size: Height and width of the images that it sees, in pixels.
    """

    setting: str
    path: str
    model: Teacher
    image_size: int

    def embed_sides(
        self, settings: EvaluateSettings, images: ImageSet, console: Console
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Embeds the images as queries and as gallery, each degraded as the settings say.

        Args:
            settings: The settings.
            images: The images.
            console: Where progress is shown.

        Returns:
            The queries and the gallery, float32 `(n, dim)`, a single array where they are the
            same; and the labels, int64 `(n,)`.

        Raises:
            InputError: If an embedding is not finite.
        """

        def embedded(degrade: str) -> tuple[np.ndarray, np.ndarray]:
            batches = evaluation_batches(
                images, image_size=self.image_size, batch_size=settings.batch_size, degrade=degrade
            )
            with Progress(
                console=console, transient=True, disable=not console.is_terminal
            ) as progress:
                task = progress.add_task(f"embedding with {self.path}", total=len(images))
                try:
                    return embed_batches(
                        self.model, batches, on_batch=lambda rows: progress.advance(task, rows)
                    )
                except InputError as error:
                    raise error.renamed(model=f"{self.setting}={self.path}") from error

        side, degrade = settings.degrade_side, settings.degrade
        queries, labels = embedded("" if side == "gallery" else degrade)
        if side == "both":
            return queries, queries, labels
        gallery, _ = embedded("" if side == "queries" else degrade)
        return queries, gallery, labels


def load_student(settings: EvaluateSettings, images: ImageSet) -> EvaluatedModel:
    """Loads the model that is evaluated.

    Args:
        settings: The settings.
        images: The images that it has to embed.

    Returns:
        The model.

    Raises:
        InputError: If it cannot embed them.
    """
    with renamed_arguments(path="model"):
        student = load_teacher(settings.model)
    return _checked(settings, "model", "image_size", student, images)


def load_gallery_model(settings: EvaluateSettings, images: ImageSet) -> EvaluatedModel | None:
    """Loads the model that embeds the gallery, if there is one; arguments as in `load_student`."""
    if not settings.gallery_model:
        return None
    teacher = load_named_teacher(
        "gallery_model",
        settings.gallery_model,
        details="gallery",
        output=settings.gallery_output,
        signature=settings.gallery_signature,
        image_size=settings.gallery_image_size,
        preprocessing=settings.gallery_preprocessing,
    )
    return _checked(settings, "gallery_model", "gallery_image_size", teacher, images)


def average_mirror_images(models: Sequence[EvaluatedModel]) -> list[EvaluatedModel]:
    """Averages the vectors of each image and its mirror image, see `mirror_averaged_teacher`.

    Args:
        models: The models.

    Returns:
        The models in their order: tables of vectors, and models that do so already, as they are.

    Raises:
        InputError: If all of them are.
    """
    kept = [each.model.needs_ids or each.model.mirror_averaged for each in models]
    if all(kept):
        told = [
            f"{each.path} {'is a table of vectors' if each.model.needs_ids else 'does so already'}"
            for each in models
        ]
        raise InputError(
            f"`mirror=True` would average vectors of mirror images, but {' and '.join(told)}; "
            "leave it out."
        )
    return [
        each if as_is else replace(each, model=mirror_averaged_teacher(each.model))
        for each, as_is in zip(models, kept, strict=True)
    ]


def _checked(
    settings: EvaluateSettings, name: str, size_name: str, model: Teacher, images: ImageSet
) -> EvaluatedModel:
    path, asked = getattr(settings, name), getattr(settings, size_name)
    model.check_covers(images)
    with renamed_arguments(model=f"{name}={path}", image_size=size_name):
        image_size = needed_image_size(
            model.image_size,
            asked,
            1 if model.needs_ids else None,  # a table reads no pixels
        )
    if model.needs_ids and settings.degrade:
        raise InputError(
            f"`degrade={settings.degrade}`: {path} is a table of vectors, which reads no pixels; "
            "give a model."
        )
    parse_degradations(settings.degrade, image_size=image_size)
    return EvaluatedModel(name, path, model, image_size)
