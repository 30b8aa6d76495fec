r"""Writes an embedder for TF-Serving, phones or ONNX, checked against the Keras model.

The folder OUT/NAME/VERSION appears by a rename when it is complete and gives the same embeddings.
Its signatures are serving_default (JPEG or PNG bytes), serve_uint8 and serve_float (pixels).
A file, OUT/NAME/litert/NAME_PRECISION.tflite or OUT/NAME/onnx/NAME_float32.onnx, is run by its own
runtime on images before it appears; a .json beside it says what it takes, and how close it is.

  python -m keras_distill.export --model=runs/relative --out=models --name=birds
  python -m keras_distill.export --model=runs/relative --out=models --name=birds \
      --format=litert --precision=float16 --precision=int8

Exit codes: 0 done, 1 the exported model differs, 2 unusable flags or input.
"""

import json
import time
from pathlib import Path
from typing import Any

from keras_distill.command_line import FAILURE, SUCCESS, Command
from keras_distill.errors import InputError
from keras_distill.serving.file_formats import FILE_FORMATS, PRECISIONS

COMMAND = Command("keras_distill.export", __doc__)
COMMAND.string("Model", "model", "", "A .keras file or a run directory. Required.")
COMMAND.string("Output", "out", "", "Folder for all models. Required.")
COMMAND.string("Output", "name", "embedder", "Name of the model, a folder in --out.")
COMMAND.integer("Output", "version", None, "Version; the next free one if not given.", 1)
COMMAND.choice(
    "Format",
    "format",
    "saved_model",
    ["saved_model", *FILE_FORMATS],
    "A SavedModel for TF-Serving, a LiteRT file for phones, or an ONNX file.",
)
COMMAND.strings(
    "Format",
    "precision",
    f"Of a LiteRT file: {', '.join(PRECISIONS)}; several times for several files; float32 if not "
    "given.",
)
COMMAND.string(
    "Format",
    "calibration",
    "",
    "Folder of images that calibrate int8, and that files are checked on; by default the training "
    "classes of the run. Take none that the model will be judged on.",
)
COMMAND.integer("Format", "calibration_images", 200, "Images that calibrate int8.", 1)
COMMAND.integer("Format", "seed", 0, "Seed of which images those are.", 0)


def main(flags: Any) -> int:
    """Exports as the flags say; returns the exit code."""
    for name in ("model", "out"):
        if not flags[name].value:
            raise InputError(f"--{name} is required.")
    if not Path(flags.model).exists():
        raise InputError(f"--model={flags.model} does not exist.")
    if Path(flags.out).is_file():
        raise InputError(f"--out={flags.out} is a file; give a folder.")
    if not flags.name or "/" in flags.name or flags.name.startswith("."):
        raise InputError(f"--name={flags.name} cannot be the name of a folder.")
    if flags.format != "saved_model" or flags.precision or flags.calibration:
        return _export_files(flags)

    from keras_distill.models.loading import load_model
    from keras_distill.serving.bundle import export_embedder

    begun = time.perf_counter()
    try:
        folder = export_embedder(
            load_model(flags.model), flags.out, name=flags.name, version=flags.version
        )
    except RuntimeError as error:
        print(f"export: {error}")
        return FAILURE
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(
        json.dumps(
            {
                "model": flags.model,
                "saved_model": str(folder),
                "megabytes": round(size / 1e6, 3),
                "seconds": round(time.perf_counter() - begun, 2),
            }
        )
    )
    return SUCCESS


def _export_files(flags: Any) -> int:
    precisions = list(dict.fromkeys(flags.precision or ["float32"]))
    for precision in precisions:
        if precision not in PRECISIONS:
            raise InputError(f"--precision={precision} is not one of {', '.join(PRECISIONS)}.")
    if flags.format != "litert" and flags.precision:
        raise InputError(
            f"--precision={precisions[0]} has no effect on --format={flags.format}; LiteRT files "
            "alone have a precision."
        )
    if flags.format == "saved_model":
        raise InputError("--calibration has no effect on --format=saved_model.")
    if flags.version is not None:
        raise InputError(f"--version has no effect on --format={flags.format}; leave it out.")
    if flags.calibration and not Path(flags.calibration).is_dir():
        raise InputError(f"--calibration={flags.calibration} is not a folder.")
    if "int8" in precisions and not (
        flags.calibration or (Path(flags.model) / "flags.txt").exists()
    ):
        raise InputError(
            "--precision=int8 needs images to calibrate with: give --calibration=FOLDER, or as "
            "--model a run directory."
        )

    from keras_distill.export_images import export_images
    from keras_distill.models.loading import embedder_shape, load_model
    from keras_distill.serving.model_file import check_packages, export_file

    check_packages(flags.format)
    begun = time.perf_counter()
    model = load_model(flags.model)
    size, _ = embedder_shape(model)
    if size is None:
        raise InputError("model takes images of any size; build it with a fixed image_size.")
    images, calibration, source = export_images(flags, size)
    for precision in precisions:
        try:
            file = export_file(
                model,
                flags.out,
                images,
                name=flags.name,
                format=flags.format,
                precision=precision,
                calibration=calibration if precision == "int8" else None,
                said={"images": source, "seed": flags.seed},
            )
        except RuntimeError as error:
            print(f"export: {flags.format} {precision}: {error}")
            return FAILURE
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
    return SUCCESS


if __name__ == "__main__":
    COMMAND.run(main)
