"""A model in one file, checked by the runtime that will run it, with a card beside it."""

import hashlib
import importlib.metadata
import importlib.util
import json
import platform
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_distill.errors import InputError
from keras_distill.models.file_formats import FILE_FORMATS, LEAST_CLOSENESS, LEAST_COSINE
from keras_distill.models.mirror_average import is_mirror_averaged
from keras_distill.models.product import EMBEDDING, ProductShape, product_shape
from keras_distill.publishing import published_file
from keras_distill.serving.client.output_contract import output_contract
from keras_distill.serving.export.bundle_facts import label_facts
from keras_distill.serving.export.comparison import keras_outputs
from keras_distill.serving.export.file_fidelity import FileFidelity
from keras_distill.serving.export.file_runtime import load_file
from keras_distill.serving.export.litert_format import write_litert
from keras_distill.serving.export.onnx_format import write_onnx

_DISTRIBUTIONS = ("keras", "tensorflow", "ai-edge-litert", "onnx", "onnxruntime", "tf2onnx")
_BATCH = 32


class _Least(NamedTuple):
    """The least cosine of embeddings, and the least closeness of other outputs."""

    cosine: float
    closeness: float


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
    least_closeness: float | None = None,
    said: dict[str, Any] | None = None,
) -> Path:
    """Writes `out/name/format/name_precision.tflite`, or `.onnx`, and a card, `.json`, beside it.

    The file is loaded by its own runtime and compared with the model before it is published. TF-
    Serving passes over the folder `format`, whose name is no number.

    Args:
        model: A model of images, see `product_shape`, with a fixed image size.
        out: Folder for all models.
        images: What file and model are compared on, uint8 `(n, size, size, 3)`.
        name: Name of the model.
        format: A key of `FILE_FORMATS`.
        precision: Of a LiteRT file, see `write_litert`; ONNX files are of `float32`.
        calibration: What calibrates `int8`, uint8 `(m, size, size, 3)`.
        least_cosine: The least cosine of embeddings to the model's that all but a twentieth of the
            images must have; the worst may be four times as far from 1. By default 0.9999 for
            `float32`, 0.999 for `float16`, and 0.9 for 8 bits.
        least_closeness: As `least_cosine`, for other outputs: 1 minus the largest difference of an
            image, relative to the largest value. By default 0.999 for `float32`, 0.98 for
            `float16`, and 0.75 for 8 bits.
        said: What the card shall say besides, such as where the images are from.

    Returns:
        The file.

    Raises:
        InputError: If a package is missing, the model has other inputs or outputs, a least
            value is not in (0, 1], or the place cannot be written.
        RuntimeError: If it cannot be converted, or the file does not give the model's outputs.
    """
    check_packages(format)
    least = _Least(
        LEAST_COSINE[precision] if least_cosine is None else least_cosine,
        LEAST_CLOSENESS[precision] if least_closeness is None else least_closeness,
    )
    for measure, value in (("cosine", least.cosine), ("closeness", least.closeness)):
        if not 0 < value <= 1:
            raise InputError(f"least_{measure}={value} must be above 0 and at most 1.")
    product = product_shape(model)
    folder = Path(out) / name / format
    target = folder / f"{name}_{precision}{FILE_FORMATS[format].suffix}"
    with published_file(target) as file:
        if format == "onnx":
            write_onnx(model, file)
        else:
            write_litert(model, file, precision=precision, images=calibration)
        comparison = _compare(model, file, images, least, precision)
        card = {
            "file": target.name,
            "format": format,
            "precision": precision,
            "mirror": is_mirror_averaged(model),
            **_contents(file, model, product, precision),
            **comparison,
            "calibration_images": 0 if calibration is None else len(calibration),
            **(said or {}),
            "versions": _versions(),
        }
        with published_file(target.with_suffix(".json")) as described:
            described.write_text(json.dumps(card, indent=1) + "\n")
    return target


def _contents(
    file: Path, model: keras.Model, product: ProductShape, precision: str
) -> dict[str, Any]:
    """What the card says of the file itself, and of its input and outputs."""
    content, size = file.read_bytes(), product.image_size
    return {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "input": {
            "name": "image",
            "dtype": "uint8" if precision == "int8" else "float32",
            "shape": [None, size, size, 3],
            "preprocessing": "RGB from 0 to 255, the centre; scaling is part of the model",
        },
        **_outputs(model, product),
    }


def _outputs(model: keras.Model, product: ProductShape) -> dict[str, Any]:
    """The `output` of an embedder, or the `outputs` of another model."""
    outputs = [
        {
            "name": name,
            "dtype": "float32",
            "shape": [None, *shape],
            **label_facts(model, name),
        }
        for name, shape in product.outputs.items()
    ]
    return {"output": outputs[0]} if product.is_embedder else {"outputs": outputs}


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
    model: keras.Model, file: Path, images: np.ndarray, least: _Least, precision: str
) -> dict[str, Any]:
    """Runs the file by its own runtime, and compares its outputs with the Keras model's."""
    run, batches = load_file(file), range(0, len(images), _BATCH)
    given = _joined([run(images[begin : begin + _BATCH]) for begin in batches])
    expected = _joined(
        [keras_outputs(model, images[begin : begin + _BATCH].astype("f4")) for begin in batches]
    )
    shapes = {name: rows.shape for name, rows in given.items()}
    wanted = {name: rows.shape for name, rows in expected.items()}
    if shapes != wanted:
        raise RuntimeError(
            f"The exported file returns {shapes}, where the Keras model returns {wanted}. It was "
            "not published. The file is broken."
        )
    fidelities = {}
    for name, rows in expected.items():
        contract = output_contract(name)
        fidelity = FileFidelity(
            contract.compare(given[name], rows), getattr(least, contract.measure), contract.measure
        )
        if fault := fidelity.fault():
            which = "" if name == EMBEDDING else f"output {name!r}: "
            raise RuntimeError(
                f"The exported file differs from the Keras model: {which}{fault}. It was not "
                f"published. {_advice(fidelity, precision)}"
            )
        fidelities[name] = fidelity.summary()
    return {**_measured(fidelities, given), "compared_images": len(images)}


def _joined(answers: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


def _measured(fidelities: dict[str, Any], given: dict[str, np.ndarray]) -> dict[str, Any]:
    """What the card says of the outputs; of an embedder, `cosine` and `lengths`."""
    lengths = {}
    if EMBEDDING in given:
        norms = np.linalg.norm(given[EMBEDDING].astype(np.float64), axis=1)
        lengths = {"lengths": [float(norms.min()), float(norms.max())]}
    if set(fidelities) == {EMBEDDING}:
        return {"cosine": fidelities[EMBEDDING], **lengths}
    return {"closeness": fidelities, **lengths}


def _advice(fidelity: FileFidelity, precision: str) -> str:
    passing = fidelity.passing()
    if passing is None:
        return "That is no rounding: the file is broken."
    finer = {
        "float32": "",
        "int8": "A larger `calibration`, of images like those that it will see, or a finer "
        "`precision` brings it closer. ",
    }.get(precision, "A finer `precision` is closer. ")
    if fidelity.measure != "cosine":
        return f"{finer}If it may be close enough, `least_closeness={passing:g}` takes it."
    return (
        f"{finer}If it may be close enough, `least_cosine={passing:g}` takes it, and "
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
