"""The images that calibrate an exported file, and those that it is checked on."""

import tempfile

import numpy as np

from keras_distill.data.dataset import load_dataset
from keras_distill.data.glyphs import write_glyphs
from keras_distill.data.image_set import ImageSet, read_folder, read_pictures
from keras_distill.data.pipeline import evaluation_batches
from keras_distill.data.readable_images import drop_unreadable
from keras_distill.errors import InputError
from keras_distill.runs.directory import RunDirectory
from keras_distill.runs.origin import is_at_hand
from keras_distill.runs.settings import read_settings
from keras_distill.settings.distill import DistillSettings
from keras_distill.settings.export import FileSettings
from keras_distill.settings.head_sharing import HeadSharingSettings
from keras_distill.settings.regression_data import RegressionFileSettings, load_regression_images
from keras_distill.settings.split_data import load_class_splits

_COMPARED = 64
_SPARE = 2  # images that are looked at for one that is needed, as some may be unreadable


def export_images(
    model: str, settings: FileSettings, image_size: int
) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Draws images of the folder `calibration`, or of the training split of the run.

    Never of its test split. Where there are neither, generated glyphs are compared on, and
    nothing calibrates.

    Args:
        model: A `.keras` file or a run directory.
        settings: The folder, the seed, and how many images calibrate.
        image_size: Height and width that the model sees, in pixels.

    Returns:
        What is compared on, uint8 `(n, image_size, image_size, 3)`; what calibrates, of that shape
        and different images as far as there are enough; and where they are from.

    Raises:
        InputError: If the folder or the data set of the run has no readable image.
    """
    found = _images(model, settings)
    if found is None:
        with tempfile.TemporaryDirectory() as folder:
            glyphs = read_folder(write_glyphs(folder, classes=8, images_per_class=8))
            return _pixels(glyphs, image_size), None, "generated glyphs"
    images, source = found
    order = np.random.default_rng(settings.seed).permutation(len(images))
    wanted = settings.calibration_images + _COMPARED
    drawn = images.select(order[: _SPARE * wanted]).without_labels()
    readable, _ = drop_unreadable(drawn)
    if not len(readable):
        raise InputError(
            f"none of {len(drawn)} images in {source} is readable; give others by `calibration`."
        )
    pixels = _pixels(readable.select(np.arange(min(wanted, len(readable)))), image_size)
    return pixels[-_COMPARED:], pixels[: settings.calibration_images], source


def _images(model: str, settings: FileSettings) -> tuple[ImageSet, str] | None:
    if settings.calibration:
        return read_pictures(settings.calibration), str(settings.calibration)
    run = RunDirectory(model)
    if not run.flags.is_file():
        return None
    try:
        written = read_settings(run)
        name = written.dataset
        if not name:
            return None
        if isinstance(written, RegressionFileSettings):
            (train,), _ = load_regression_images(written, "train")
            return train.unlabelled, f"the training images of {name}"
        if not isinstance(written, DistillSettings | HeadSharingSettings):
            raise InputError(f"{name} has no classes.")
        if not is_at_hand(name, written.data_dir):
            raise InputError(f"{name} is not in {written.data_dir}.")
        if isinstance(written, HeadSharingSettings):
            return load_class_splits(written).train, f"the training images of {name}"
        dataset = load_dataset(
            name,
            data_dir=written.data_dir,
            train_classes=written.train_classes,
            validation_classes=written.validation_classes,
            test_classes=written.test_classes,
        )
    except InputError as error:
        if "int8" in settings.precisions:
            raise InputError(
                f"{error} This is the data set of {model}, whose training classes calibrate int8; "
                "give `calibration=FOLDER`."
            ) from error
        return None
    return dataset.train, f"the training classes of {name}"


def _pixels(images: ImageSet, size: int) -> np.ndarray:
    return np.concatenate([x["image"] for x, _ in evaluation_batches(images, image_size=size)])
