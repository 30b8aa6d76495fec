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
from keras_distill.export_files import check_file_flags, define_file_flags, export_files

COMMAND = Command("keras_distill.export", __doc__)
COMMAND.string("Model", "model", "", "A .keras file or a run directory. Required.")
COMMAND.string("Output", "out", "", "Folder for all models. Required.")
COMMAND.string("Output", "name", "embedder", "Name of the model, a folder in --out.")
COMMAND.integer("Output", "version", None, "Version; the next free one if not given.", 1)
define_file_flags(COMMAND)


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
        check_file_flags(flags)
        return export_files(flags)

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


if __name__ == "__main__":
    COMMAND.run(main)
