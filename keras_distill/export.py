r"""Writes a model for TF-Serving, phones or ONNX, checked against the Keras model.

For TF-Serving, the folder OUT/NAME/VERSION appears by a rename once it is complete, has passed all
checks, and returns the outputs of the Keras model: embeddings, or any others by name. Its
signatures are serving_default (JPEG or PNG bytes), serve_uint8 and serve_float (pixels); it also
holds a model card, SHA-256 sums, warm-up requests, and golden requests with their answers, which
`client smoke --golden` sends to a server again. A version number is used only once, even if its
folder is deleted later; exports into the same folder wait for each other.

A file, OUT/NAME/litert/NAME_PRECISION.tflite or OUT/NAME/onnx/NAME_float32.onnx, is run on images
by its own runtime before it appears; a .json next to it describes its input, and how close it is to
the Keras model.

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

from keras_distill.errors import renamed_arguments
from keras_distill.settings.command import FAILURE, SUCCESS, Command
from keras_distill.settings.export import ExportSettings, SavedModelSettings

COMMAND = Command("keras_distill.export", __doc__, ExportSettings)


def main(settings: ExportSettings) -> int:
    """Exports as the settings say; returns the exit code."""
    settings.check_all()
    if settings.check:
        return _check(settings.check)
    if settings.format == "saved_model":
        return _export_saved_model(settings)

    from keras_distill.serving.export.export_files import export_files

    return SUCCESS if export_files(settings) else FAILURE


def _export_saved_model(settings: SavedModelSettings) -> int:
    from keras_distill.data.image_set import read_pictures
    from keras_distill.models.exported_facts import FACTS_FILE
    from keras_distill.models.loading import load_model
    from keras_distill.models.mirror_average import is_mirror_averaged, mirror_averaged
    from keras_distill.runs.origin import model_origin, run_test_images
    from keras_distill.serving.export.bundle import export_model

    begun, model = time.perf_counter(), settings.model
    with renamed_arguments(path="model"):
        loaded = load_model(model)
    if settings.mirror:
        loaded = mirror_averaged(loaded)
    mirror, licence = is_mirror_averaged(loaded), settings.data_licence
    with renamed_arguments(results="recall"):
        origin = model_origin(model, results=settings.recall, data_licence=licence, mirror=mirror)
    try:
        folder = export_model(
            loaded,
            settings.out,
            name=settings.name,
            version=settings.version,
            batching=settings.batching,
            images=read_pictures(settings.images) if settings.images else run_test_images(model),
            keep_images=bool(settings.images),
            origin=origin,
        )
    except RuntimeError as error:
        print(f"export: {error}")
        return FAILURE
    facts = json.loads((folder / FACTS_FILE).read_text())
    checks = facts["checks"]
    if "least_cosine" in checks:
        measure, least = "cosine", min(checks["least_cosine"].values())
    else:
        by_output = checks["closeness"].values()
        measure, least = "closeness", min(min(values.values()) for values in by_output)
    print(f"Compared with the Keras model on {checks['images']}: least {measure} {least:.6f}.")
    print(f"The golden requests show {facts['golden']}.")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    written = {
        "model": model,
        "saved_model": str(folder),
        "version": facts["version"],
        "batching": settings.batching,
        f"least_{measure}": least,
        "megabytes": round(size / 1e6, 3),
        "seconds": round(time.perf_counter() - begun, 2),
    }
    print(json.dumps(written))
    return SUCCESS


def _check(folder: str) -> int:
    from keras_distill.serving.export.bundle_check import check_bundle

    faults = check_bundle(Path(folder))
    for fault in faults:
        print(f"export: {fault}")
    print(json.dumps({"saved_model": str(Path(folder)), "faults": faults}))
    return FAILURE if faults else SUCCESS


if __name__ == "__main__":
    COMMAND.run(main)
