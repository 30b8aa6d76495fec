"""Images whose score is too low to be used."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from keras_distill.data.image_set import ImageSet
from keras_distill.errors import InputError, renamed_arguments
from keras_distill.evaluation.image_scores import ImageScorer
from keras_distill.models.loading import load_model
from keras_distill.models.score_scale import find_score_scale


def drop_poor_images(
    images: ImageSet,
    model: str | Path,
    least: float,
    *,
    crops: int = 5,
    on_image: Callable[[int], object] | None = None,
) -> tuple[ImageSet, dict[str, float]]:
    """Drops images that a quality model scores too low.

    Args:
        images: The images.
        model: A `.keras` file or a run directory with the output `score`.
        least: Least score of an image that is kept; for a model of differential scores, of which
            lower ones are better, the greatest.
        crops: See `ImageScorer`.
        on_image: Called with 1 after each image, to show progress.

    Returns:
        The images that are kept, and the scores of the others by path, the worst first.

    Raises:
        InputError: If the model has no score, or no image is kept.
    """
    with renamed_arguments(path="model"):
        loaded = load_model(model)
    scores = ImageScorer(loaded, crops=crops)(images, on_image)
    scale = find_score_scale(loaded)
    sign = 1.0 if scale is None or scale.higher_is_better else -1.0
    poor = sign * scores < sign * least
    if poor.all():
        raise InputError(
            f"`least={least}` leaves none of {len(images)} images, whose scores are from "
            f"{scores.min():.3g} to {scores.max():.3g}; give another."
        )
    order = np.flatnonzero(poor)[np.argsort(sign * scores[poor], kind="stable")]
    dropped = {str(images.paths[row]): round(float(scores[row]), 4) for row in order}
    return images.select(~poor), dropped
