"""Export as files for phones or another runtime, one for each precision."""

import json
import time

from keras_distill.errors import InputError, as_flags, renamed, renamed_arguments
from keras_distill.models.loading import load_model
from keras_distill.models.mirror_average import mirror_averaged
from keras_distill.models.product import product_shape
from keras_distill.serving.export.export_images import export_images
from keras_distill.serving.export.model_file import check_packages, export_file
from keras_distill.settings.export import ExportSettings
from keras_distill.settings.settings import names_of


def export_files(settings: ExportSettings) -> bool:
    """Writes one file for each precision, and prints a line of JSON for each.

    Args:
        settings: The settings.

    Returns:
        Whether all files are as close to the model as they have to be.

    Raises:
        InputError: If the model, the images or the place cannot be used, or a package is missing.
    """
    check_packages(settings.format)
    begun = time.perf_counter()
    with renamed_arguments(path="model"):
        model = load_model(settings.model)
    if settings.mirror:
        model = mirror_averaged(model)
    size = product_shape(model).image_size
    if size is None:
        raise InputError("model takes images of any size; build it with a fixed image_size.")
    images, calibration, source = export_images(settings.model, settings, size)
    all_close = True
    for precision in settings.precisions:
        try:
            file = export_file(
                model,
                settings.out,
                images,
                name=settings.name,
                format=settings.format,
                precision=precision,
                calibration=calibration if precision == "int8" else None,
                least_cosine=settings.least_cosine,
                least_closeness=settings.least_closeness,
                said={"images": source, "seed": settings.seed},
            )
        except RuntimeError as error:
            said = renamed(str(error), {"calibration": "calibration_images"})
            said = as_flags(said, names_of(settings))
            print(f"export: {settings.format} {precision}: {said}")
            all_close = False
            continue
        card = json.loads(file.with_suffix(".json").read_text())
        written = {
            "model": settings.model,
            "file": str(file),
            "megabytes": round(card["bytes"] / 1e6, 3),
            **{key: card[key] for key in ("cosine", "closeness") if key in card},
            "seconds": round(time.perf_counter() - begun, 2),
        }
        print(json.dumps(written))
    return all_close
