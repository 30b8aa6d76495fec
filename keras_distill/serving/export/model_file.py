"""An embedder in one file, checked by the runtime that will run it, with a card beside it."""

import hashlib
import importlib.metadata
import importlib.util
import json
import platform
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_distill.errors import InputError, renamed_arguments
from keras_distill.models.file_formats import FILE_FORMATS, LEAST_COSINE
from keras_distill.models.loading import embedder_shape
from keras_distill.publishing import published_file
from keras_distill.serving.export.file_fidelity import FileFidelity
from keras_distill.serving.export.litert_format import write_litert
from keras_distill.serving.export.onnx_format import write_onnx
from keras_distill.teachers.loading import load_teacher

_DISTRIBUTIONS = ("keras", "tensorflow", "ai-edge-litert", "onnx", "onnxruntime", "tf2onnx")
_BATCH = 32


def export_file(
    model: keras.Model,
    out: str | Path,
    images: np.ndarray,
    *,
    name: str = "embedder",
    format: str = "litert",
    precision: str = "float32",
    calibration: np.ndarray | None = None,
    least_cosine: float | None = None,
    said: dict[str, Any] | None = None,
) -> Path:
    """Writes `out/name/format/name_precision.tflite`, or `.onnx`, and a card, `.json`, beside it.

    The file is loaded by its own runtime and compared with the model before it is published. TF-
    Serving passes over the folder `format`, whose name is no number.

    Args:
        model: An embedder with a fixed image size.
        out: Folder for all models.
        images: What file and model are compared on, uint8 `(n, size, size, 3)`.
        name: Name of the model.
        format: A key of `FILE_FORMATS`.
        precision: Of a LiteRT file, see `write_litert`; ONNX files are of `float32`.
        calibration: What calibrates `int8`, uint8 `(m, size, size, 3)`.
        least_cosine: The least cosine to the model that all but a twentieth of the images must
            have; the worst may be four times as far from 1. By default 0.9999 for `float32`, 0.999
            for `float16`, and 0.9 for 8 bits.
        said: What the card shall say besides, such as where the images are from.

    Returns:
        The file.

    Raises:
        InputError: If a package is missing, the model is not an embedder, `least_cosine` is no
            cosine, or the place cannot be written.
        RuntimeError: If it cannot be converted, or the file does not give the model's embeddings.
    """
    check_packages(format)
    least = LEAST_COSINE[precision] if least_cosine is None else least_cosine
    if not 0 < least <= 1:
        raise InputError(f"least_cosine={least} must be above 0 and at most 1.")
    image_size, dim = embedder_shape(model)
    folder = Path(out) / name / format
    target = folder / f"{name}_{precision}{FILE_FORMATS[format].suffix}"
    with published_file(target) as file:
        if format == "onnx":
            write_onnx(model, file)
        else:
            write_litert(model, file, precision=precision, images=calibration)
        comparison = _compare(model, file, images, least, precision)
        content = file.read_bytes()
        card = {
            "file": target.name,
            "format": format,
            "precision": precision,
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "input": {
                "name": "image",
                "dtype": "uint8" if precision == "int8" else "float32",
                "shape": [None, image_size, image_size, 3],
                "preprocessing": "RGB from 0 to 255, the centre; scaling is part of the model",
            },
            "output": {"name": "embedding", "dtype": "float32", "shape": [None, dim]},
            **comparison,
            "calibration_images": 0 if calibration is None else len(calibration),
            **(said or {}),
            "versions": _versions(),
        }
        with published_file(target.with_suffix(".json")) as described:
            described.write_text(json.dumps(card, indent=1) + "\n")
    return target


def check_packages(format: str) -> None:
    """Checks that what writes and runs a format is installed.

    Args:
        format: A key of `FILE_FORMATS`.

    Raises:
        InputError: If a package is missing.
    """
    needs = FILE_FORMATS[format]
    missing = [name for name in needs.packages if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"format={format!r} needs {', '.join(missing)}; install by "
            f"pip install 'keras_distill[{needs.extra}]'."
        )


def _compare(
    model: keras.Model, file: Path, images: np.ndarray, least: float, precision: str
) -> dict[str, Any]:
    """Embeds images by the file's own runtime and by the Keras model."""
    with renamed_arguments(path="file"):
        loaded = load_teacher(file)
    batches = [images[begin : begin + _BATCH] for begin in range(0, len(images), _BATCH)]
    given = np.concatenate([loaded(batch).numpy() for batch in batches])
    answers = [model(batch.astype(np.float32), training=False) for batch in batches]
    expected = np.concatenate([np.asarray(answer) for answer in answers])
    given, expected = given.astype(np.float64), expected.astype(np.float64)
    lengths = np.linalg.norm(given, axis=1)
    products = lengths * np.linalg.norm(expected, axis=1)
    cosines = np.einsum("nd,nd->n", given, expected) / np.maximum(products, 1e-12)
    fidelity = FileFidelity(cosines, least)
    if fault := fidelity.fault():
        raise RuntimeError(
            f"The exported file differs from the Keras model: {fault}. It was not published. "
            + _advice(fidelity.passing(), precision)
        )
    return {
        "cosine": fidelity.summary(),
        "lengths": [float(lengths.min()), float(lengths.max())],
        "compared_images": len(images),
    }


def _advice(passing: float | None, precision: str) -> str:
    if passing is None:
        return "That is no rounding: the file is broken."
    finer = {
        "float32": "",
        "int8": "More --calibration_images, like those that it will see, or a finer --precision "
        "bring it closer. ",
    }.get(precision, "A finer --precision is closer. ")
    return (
        f"{finer}If it may be close enough, --least_cosine={passing:g} takes it, and "
        "`report --format=FILE` measures what its recall loses."
    )


def _versions() -> dict[str, str]:
    installed = {"python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed
