"""The images that calibrate an exported file, and those that it is checked on."""

import tempfile
from typing import Any

import numpy as np

from keras_distill.data.dataset import DEFAULT_DATA_DIR, load_dataset
from keras_distill.data.glyphs import write_glyphs
from keras_distill.data.image_set import ImageSet, read_folder, read_pictures
from keras_distill.data.pipeline import evaluation_batches
from keras_distill.data.readable_images import drop_unreadable
from keras_distill.errors import InputError
from keras_distill.runs.origin import is_at_hand
from keras_distill.runs.settings import written_settings

_COMPARED = 64
_SPARE = 2  # images that are looked at for one that is needed, as some may be unreadable


def export_images(flags: Any, image_size: int) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Draws images of the folder `--calibration`, or of the training classes of the run.

    Never of its test classes. Where there are neither, generated glyphs are compared on, and
    nothing calibrates.

    Args:
        flags: The parsed flags of `export`.
        image_size: Height and width that the model sees, in pixels.

    Returns:
        What is compared on, uint8 `(n, image_size, image_size, 3)`; what calibrates, of that shape
        and different images as far as there are enough; and where they are from.

    Raises:
        InputError: If the folder or the data set of the run has no readable image.
    """
    found = _images(flags)
    if found is None:
        with tempfile.TemporaryDirectory() as folder:
            glyphs = read_folder(write_glyphs(folder, classes=8, images_per_class=8))
            return _pixels(glyphs, image_size), None, "generated glyphs"
    images, source = found
    order = np.random.default_rng(flags.seed).permutation(len(images))
    wanted = flags.calibration_images + _COMPARED
    drawn = images.select(order[: _SPARE * wanted]).without_labels()
    readable, _ = drop_unreadable(drawn)
    if not len(readable):
        raise InputError(f"none of {len(drawn)} images in {source} is readable.")
    pixels = _pixels(readable.select(np.arange(min(wanted, len(readable)))), image_size)
    return pixels[-_COMPARED:], pixels[: flags.calibration_images], source


def _images(flags: Any) -> tuple[ImageSet, str] | None:
    if flags.calibration:
        return read_pictures(flags.calibration), f"--calibration={flags.calibration}"
    written = written_settings(flags.model)
    name, data_dir = written.get("dataset"), written.get("data_dir") or DEFAULT_DATA_DIR
    if not name or not is_at_hand(name, data_dir):
        if name and "int8" in (flags.precision or []):
            raise InputError(
                f"{name}, the data set of {flags.model}, whose training classes calibrate int8, is "
                f"not in {data_dir}; give --calibration=FOLDER."
            )
        return None
    try:
        dataset = load_dataset(
            name,
            data_dir=data_dir,
            train_classes=written.get("train_classes", ""),
            validation_classes=written.get("validation_classes", ""),
            test_classes=written.get("test_classes", ""),
        )
    except InputError as error:
        if "int8" in (flags.precision or []):
            raise InputError(
                f"{error} This is the data set of {flags.model}, whose training classes calibrate "
                "int8; give --calibration=FOLDER."
            ) from error
        return None
    return dataset.train, f"the training classes of {written['dataset']}"


def _pixels(images: ImageSet, size: int) -> np.ndarray:
    return np.concatenate([x["image"] for x, _ in evaluation_batches(images, image_size=size)])
