"""Export as a file for phones or another runtime, as the flags say."""

import json
import time
from pathlib import Path
from typing import Any

from keras_distill.errors import InputError
from keras_distill.serving.export.file_formats import FILE_FORMATS, PRECISIONS
from keras_distill.settings.command import FAILURE, SUCCESS, Command

OF_FILES = ("precision", "calibration", "calibration_images", "least_cosine", "seed")
_OF_SAVED_MODELS = ("version", "batching", "images", "recall", "data_licence")


def define_file_flags(command: Command) -> None:
    """Adds the flags that choose a format to a command."""
    command.choice(
        "Format",
        "format",
        "saved_model",
        ["saved_model", *FILE_FORMATS],
        "A SavedModel for TF-Serving, a LiteRT file for phones, or an ONNX file.",
    )
    command.strings(
        "Format",
        "precision",
        f"Of a LiteRT file: {', '.join(PRECISIONS)}; several times for several files; float32 if "
        "not given.",
    )
    command.string(
        "Format",
        "calibration",
        "",
        "Folder of images that calibrate int8, and that files are checked on; by default the "
        "training classes of the run. Take none that the model will be judged on.",
    )
    command.number(
        "Format",
        "least_cosine",
        None,
        "Of a LiteRT or ONNX file: the least cosine to the Keras model that all but a twentieth of "
        "the images must have, the worst being four times as far from 1 at most; else it is "
        "refused. 0.9999 for float32, 0.999 for float16, 0.9 for 8 bits if not given.",
    )
    command.integer("Format", "calibration_images", 200, "Images that calibrate int8.", 1)
    command.integer("Format", "seed", 0, "Seed of which images those are.", 0)


def check_file_flags(flags: Any) -> None:
    """Rejects what cannot work before anything slow is loaded.

    Args:
        flags: The parsed flags of `export`.

    Raises:
        InputError: If a flag is of no use.
    """
    precisions = _precisions(flags)
    for precision in precisions:
        if precision not in PRECISIONS:
            raise InputError(f"--precision={precision} is not one of {', '.join(PRECISIONS)}.")
    if flags.format != "litert" and flags.precision:
        raise InputError(
            f"--precision={precisions[0]} has no effect on --format={flags.format}; LiteRT files "
            "alone have a precision."
        )
    if flags.format == "saved_model":
        given = next(name for name in OF_FILES if flags[name].present)
        raise InputError(f"--{given} has no effect on --format=saved_model.")
    if flags.least_cosine is not None and not 0 < flags.least_cosine <= 1:
        raise InputError(
            f"--least_cosine={flags.least_cosine:g} must be above 0 and at most 1; 0.99 takes a "
            "file that is a little coarser than the default for float16."
        )
    for name in _OF_SAVED_MODELS:
        if flags[name].present:
            raise InputError(f"--{name} has no effect on --format={flags.format}; leave it out.")
    if flags.calibration and not Path(flags.calibration).is_dir():
        raise InputError(f"--calibration={flags.calibration} is not a folder.")
    is_run = (Path(flags.model) / "flags.txt").is_file()
    if "int8" in precisions and not (flags.calibration or is_run):
        raise InputError(
            "--precision=int8 needs images to calibrate with: give --calibration=FOLDER, or as "
            "--model a run directory."
        )


def export_files(flags: Any) -> int:
    """Writes one file for each precision.

    Args:
        flags: The parsed flags of `export`.

    Returns:
        The exit code.

    Raises:
        InputError: If the model, the images or the place are of no use, or a package is missing.
    """
    from keras_distill.models.loading import embedder_shape, load_model
    from keras_distill.serving.export.export_images import export_images
    from keras_distill.serving.export.model_file import check_packages, export_file

    check_packages(flags.format)
    begun = time.perf_counter()
    model = load_model(flags.model)
    size, _ = embedder_shape(model)
    if size is None:
        raise InputError("model takes images of any size; build it with a fixed image_size.")
    images, calibration, source = export_images(flags, size)
    code = SUCCESS
    for precision in _precisions(flags):
        try:
            file = export_file(
                model,
                flags.out,
                images,
                name=flags.name,
                format=flags.format,
                precision=precision,
                calibration=calibration if precision == "int8" else None,
                least_cosine=flags.least_cosine,
                said={"images": source, "seed": flags.seed},
            )
        except RuntimeError as error:
            print(f"export: {flags.format} {precision}: {error}")
            code = FAILURE
            continue
        card = json.loads(file.with_suffix(".json").read_text())
        print(
            json.dumps(
                {
                    "model": flags.model,
                    "file": str(file),
                    "megabytes": round(card["bytes"] / 1e6, 3),
                    "cosine": card["cosine"],
                    "seconds": round(time.perf_counter() - begun, 2),
                }
            )
        )
    return code


def _precisions(flags: Any) -> list[str]:
    return list(dict.fromkeys(flags.precision or ["float32"]))
