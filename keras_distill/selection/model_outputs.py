"""Outputs of a model for pictures, some of which may be unreadable."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from keras_distill.data.image_set import ImageSet
from keras_distill.data.pipeline import evaluation_batches
from keras_distill.errors import InputError
from keras_distill.models.loading import load_model
from keras_distill.models.product import by_name, product_shape
from keras_distill.teachers.output_teacher import OutputTeacher


@dataclass(frozen=True)
class OutputModel:
    """A model, one output of which is read.

    Attributes:
        model: The Keras model.
        output: Name of the output.
        image_size: Height and width of its images, in pixels.
    """

    model: Any
    output: str
    image_size: int

    def rows(
        self,
        images: ImageSet,
        *,
        degrade: str = "",
        batch_size: int = 64,
        on_rows: Callable[[int], object] = lambda rows: None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Reads the output for the centre of images.

        Args:
            images: The images.
            degrade: Degradation of the images, see `parse_degradations`.
            batch_size: Images in a batch.
            on_rows: Called with the number of images that are done, for progress.

        Returns:
            The output of the images that could be read, float32 `(m, ...)`, and their places, int64
            `(m,)`.

        Raises:
            InputError: If no image could be read, or a value is not finite.
        """
        numbered = replace(images, labels=np.arange(len(images)))  # in place of the labels
        run, found, places = OutputTeacher.of(self.model), [], []
        batches = evaluation_batches(
            numbered,
            image_size=self.image_size,
            batch_size=batch_size,
            degrade=degrade,
            skip_unreadable=True,
        )
        for x, numbers in batches:
            found.append(run(x["image"], [self.output])[self.output].numpy())
            places.append(numbers.numpy())
            on_rows(len(places[-1]))
        if not found:
            raise InputError("`images`: none of the images could be read.")
        values = np.concatenate(found)
        if not np.isfinite(values).all():
            raise InputError(
                f"`model` returned {self.output} that are not finite; it diverged in training, or "
                "its weights are damaged."
            )
        return values, np.concatenate(places)


def load_output_model(path: str, output: str, image_size: int | None = None) -> OutputModel:
    """Loads a model with a named output.

    Args:
        path: A `.keras` file or a run directory.
        output: Name of the output.
        image_size: Height and width of its images, for a model that takes any size.

    Returns:
        The model.

    Raises:
        InputError: If it cannot be loaded, has no such output, or its size is not known.
    """
    model = load_model(path)
    named = by_name(model.output) or {}
    if output not in named:
        raise InputError(
            f"`model={path}` has no output {output!r}, but {', '.join(sorted(named)) or 'none'}; "
            "give a model that has it, or choose otherwise."
        )
    size = product_shape(model).image_size
    if size is not None and image_size not in (None, size):
        raise InputError(f"`image_size={image_size}`: `model={path}` takes {size} pixels.")
    if (size := size or image_size) is None:
        raise InputError(f"`model={path}` takes images of any size; give `image_size`.")
    return OutputModel(model, output, size)
