"""A model that the flags of `evaluate` name, and what it makes of the images."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from keras_distill.data.degradations import parse_degradations
from keras_distill.data.image_set import ImageSet
from keras_distill.data.pipeline import evaluation_batches
from keras_distill.embedding.batches import embed_batches
from keras_distill.errors import InputError
from keras_distill.teachers.image_size import needed_image_size
from keras_distill.teachers.loading import load_teacher
from keras_distill.teachers.teacher import Teacher


@dataclass(frozen=True)
class FlaggedEmbedder:
    """A model that can embed the images.

    Attributes:
        flag: The flag that names it.
        path: Where it lies.
        model: The model.
        image_size: Height and width of the images that it sees, in pixels.
    """

    flag: str
    path: str
    model: Teacher
    image_size: int

    def embed_sides(
        self, flags: Any, images: ImageSet, console: Console
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Embeds the images as queries and as gallery, each degraded as the flags say.

        Args:
            flags: The parsed flags of `evaluate`.
            images: The images.
            console: Where progress is shown.

        Returns:
            The queries and the gallery, float32 `(n, dim)`, one array where they do not differ;
            and the labels, int64 `(n,)`.

        Raises:
            InputError: If an embedding is not finite.
        """

        def embedded(degrade: str) -> tuple[np.ndarray, np.ndarray]:
            batches = evaluation_batches(
                images, image_size=self.image_size, batch_size=flags.batch_size, degrade=degrade
            )
            with Progress(
                console=console, transient=True, disable=not console.is_terminal
            ) as progress:
                task = progress.add_task(f"embedding by {self.path}", total=len(images))
                return embed_batches(
                    self.model,
                    batches,
                    source=f"--{self.flag}={self.path}",
                    on_batch=lambda rows: progress.advance(task, rows),
                )

        queries, labels = embedded("" if flags.degrade_side == "gallery" else flags.degrade)
        if flags.degrade_side == "both":
            return queries, queries, labels
        gallery, _ = embedded("" if flags.degrade_side == "queries" else flags.degrade)
        return queries, gallery, labels


def load_student(flags: Any, images: ImageSet) -> FlaggedEmbedder:
    """Loads `--model`.

    Args:
        flags: The parsed flags of `evaluate`.
        images: The images that it has to embed.

    Returns:
        The model.

    Raises:
        InputError: If it is of no use for them.
    """
    student = load_teacher(flags.model, argument="model")
    return _checked(flags, "model", "image_size", student, images)


def load_gallery_model(flags: Any, images: ImageSet) -> FlaggedEmbedder | None:
    """Loads `--gallery_model`, if there is one; arguments as of `load_student`."""
    if not flags.gallery_model:
        return None
    teacher = load_teacher(
        flags.gallery_model,
        argument="gallery_model",
        output=flags.gallery_output,
        signature=flags.gallery_signature,
        image_size=flags.gallery_image_size,
        preprocessing=flags.gallery_preprocessing,
    )
    return _checked(flags, "gallery_model", "gallery_image_size", teacher, images)


def _checked(
    flags: Any, flag: str, size_flag: str, model: Teacher, images: ImageSet
) -> FlaggedEmbedder:
    path, asked = flags[flag].value, flags[size_flag].value
    model.check_covers(images)
    image_size = needed_image_size(
        model.image_size,
        asked,
        1 if model.needs_ids else None,  # a table looks at no pixels
        source=f"--{flag}={path}",
        flag=f"--{size_flag}",
    )
    if model.needs_ids and flags.degrade:
        raise InputError(
            f"--degrade={flags.degrade}: {path} is a table of vectors, which looks at no pixels; "
            "give a model."
        )
    parse_degradations(flags.degrade, argument="--degrade", image_size=image_size)
    return FlaggedEmbedder(flag, path, model, image_size)
