"""Pictures of an index: those that can be read and, by a quality model, are good enough."""

from typing import Any

from rich.console import Console

from keras_distill.data.image_set import ImageSet
from keras_distill.errors import renamed_arguments
from keras_distill.evaluation.poor_images import drop_poor_images
from keras_distill.settings.index import IndexPictureSettings, load_index_images
from keras_distill.settings.progress import work_progress


def index_pictures(settings: IndexPictureSettings) -> tuple[ImageSet, dict[str, Any]]:
    """Lists the pictures that the settings name, without those that are left out.

    Args:
        settings: The settings, checked.

    Returns:
        The pictures, and what was left out: `skipped_images`, paths, and with a quality model
        `poor_images`, scores by path.

    Raises:
        InputError: If none are left, or the quality model has no score.
    """
    images, skipped = load_index_images(settings)
    if settings.least_quality is None:
        return images, {"skipped_images": skipped}
    model = settings.quality_model
    with (
        renamed_arguments(least="least_quality", model=f"quality_model={model}"),
        work_progress(
            "scoring", len(images), "pictures", Console(stderr=True), transient=True
        ) as advance,
    ):
        images, poor = drop_poor_images(
            images, model, settings.least_quality, crops=settings.quality_crops, on_image=advance
        )
    return images, {"skipped_images": skipped, "poor_images": poor}
