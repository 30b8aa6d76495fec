r"""Writes an embedder for TF-Serving, phones or ONNX, checked against the Keras model.

For TF-Serving the folder OUT/NAME/VERSION appears by a rename when it is complete, has passed all
checks, and gives the Keras model's embeddings. Its signatures are serving_default (JPEG or PNG
bytes), serve_uint8 and serve_float (pixels); beside them lie a model card, SHA-256 sums, warm-up
requests, and golden requests with their answers, which `client smoke --golden` asks a server again.
A number of a version is used once, even if its folder is deleted later; exports into one folder
wait for each other.

A file, OUT/NAME/litert/NAME_PRECISION.tflite or OUT/NAME/onnx/NAME_float32.onnx, is run by its own
runtime on images before it appears; a .json beside it says what it takes, and how close it is.

  python -m keras_distill.export --model=runs/relative --out=models --name=birds
  python -m keras_distill.export --model=runs/relative --out=models --name=birds \
      --images=photos --recall=recall.json --data_licence="CC BY 4.0"
  python -m keras_distill.export --check=models/birds/1
  python -m keras_distill.export --model=runs/relative --out=models --name=birds \
      --format=litert --precision=float16 --precision=int8

The last line printed is a JSON object.

Exit codes: 0 done, 1 a check failed (what failed was not published), 2 unusable flags or input.
"""

import json
import time
from pathlib import Path
from typing import Any

from keras_distill.errors import InputError
from keras_distill.serving.export.export_files import (
    OF_FILES,
    check_file_flags,
    define_file_flags,
    export_files,
)
from keras_distill.settings.command import FAILURE, SUCCESS, Command

COMMAND = Command("keras_distill.export", __doc__)
COMMAND.string("Model", "model", "", "A .keras file or a run directory. Required.")
COMMAND.string("Output", "out", "", "Folder for all models. Required.")
COMMAND.string("Output", "name", "embedder", "Name of the model, a folder in --out.")
COMMAND.integer("Output", "version", None, "Version; the next free one if not given.", 1)
COMMAND.choice(
    "Serving",
    "batching",
    "graph",
    ["graph", "none"],
    "graph: concurrent requests share batches, behind decoding and checks, so that a bad image "
    "fails its own request only. More images a second under load; a lone request takes 2 to 4 ms "
    "longer. none: each request runs by itself.",
)
COMMAND.string(
    "Checks",
    "images",
    "",
    "Folder of JPEG or PNG images, eight of which the export is compared with its model on. Small "
    "copies of them become the golden requests: whoever gets the export can see them. If not "
    "given, test images of the run are compared but not kept, and the golden requests show drawn "
    "pictures.",
)
COMMAND.string(
    "Checks", "check", "", "In place of an export: a folder OUT/NAME/VERSION to check again."
)
COMMAND.strings(
    "Model card", "recall", "A result of evaluate --json; those in the run directory are found."
)
COMMAND.string(
    "Model card", "data_licence", "", "Licence of the training data; 'not stated' if not given."
)
define_file_flags(COMMAND)


def main(flags: Any) -> int:
    """Exports as the flags say; returns the exit code."""
    if flags.check:
        return _check(flags)
    _check_flags(flags)
    if flags.format != "saved_model" or any(flags[name].present for name in OF_FILES):
        check_file_flags(flags)
        return export_files(flags)

    from keras_distill.data.image_set import read_pictures
    from keras_distill.models.loading import load_model
    from keras_distill.runs.origin import model_origin, run_test_images
    from keras_distill.serving.export.bundle import export_embedder
    from keras_distill.serving.export.bundle_facts import FACTS_FILE

    begun = time.perf_counter()
    origin = model_origin(flags.model, results=flags.recall or (), data_licence=flags.data_licence)
    images = read_pictures(flags.images) if flags.images else run_test_images(flags.model)
    try:
        folder = export_embedder(
            load_model(flags.model),
            flags.out,
            name=flags.name,
            version=flags.version,
            batching=flags.batching,
            images=images,
            keep_images=bool(flags.images),
            origin=origin,
        )
    except RuntimeError as error:
        print(f"export: {error}")
        return FAILURE
    facts = json.loads((folder / FACTS_FILE).read_text())
    checks = facts["checks"]
    least = min(checks["least_cosine"].values())
    print(f"Compared with the Keras model on {checks['images']}: least cosine {least:.6f}.")
    print(f"The golden requests show {facts['golden']}.")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(
        json.dumps(
            {
                "model": flags.model,
                "saved_model": str(folder),
                "version": facts["version"],
                "batching": flags.batching,
                "least_cosine": least,
                "megabytes": round(size / 1e6, 3),
                "seconds": round(time.perf_counter() - begun, 2),
            }
        )
    )
    return SUCCESS


def _check_flags(flags: Any) -> None:
    """Rejects what cannot work before anything slow is loaded."""
    for name in ("model", "out"):
        if not flags[name].value:
            raise InputError(f"--{name} is required.")
    if not Path(flags.model).exists():
        raise InputError(f"--model={flags.model} does not exist.")
    if Path(flags.out).is_file():
        raise InputError(f"--out={flags.out} is a file; give a folder.")
    if not flags.name or "/" in flags.name or flags.name.startswith("."):
        raise InputError(f"--name={flags.name} cannot be the name of a folder.")
    if ":" in flags.name or flags.name.isdecimal():
        raise InputError(
            f"--name={flags.name} could not be asked for: in an address of REST ':' ends a name, "
            "and a number is taken for a version."
        )
    if flags.images and not Path(flags.images).is_dir():
        raise InputError(f"--images={flags.images} is not a folder.")
    for file in flags.recall or ():
        if not Path(file).is_file():
            raise InputError(f"--recall={file} is not a file; evaluate --json writes one.")


def _check(flags: Any) -> int:
    given = [name for name in flags if flags[name].present and name not in ("check", "flagfile")]
    if given:
        raise InputError(f"--{given[0]} has no effect with --check; leave it out.")
    folder = Path(flags.check)
    if not (folder / "saved_model.pb").is_file():
        raise InputError(
            f"--check={folder} holds no saved_model.pb; give a version, such as models/birds/1."
        )

    from keras_distill.serving.export.bundle_check import check_bundle

    faults = check_bundle(folder)
    for fault in faults:
        print(f"export: {fault}")
    print(json.dumps({"saved_model": str(folder), "faults": faults}))
    return FAILURE if faults else SUCCESS


if __name__ == "__main__":
    COMMAND.run(main)
