"""Machine-readable facts about an exported model."""

import datetime
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from keras_distill import __version__
from keras_distill.models.label_names import find_labels
from keras_distill.models.mirror_average import is_mirror_averaged
from keras_distill.models.product import EMBEDDING, ProductShape, product_shape
from keras_distill.models.score_scale import SCORE, find_score_scale
from keras_distill.serving.export.checksums import file_sums
from keras_distill.serving.export.graph_batching import SETTINGS
from keras_distill.serving.export.signature_defs import predict_signatures, read_meta_graph
from keras_distill.serving.export.warmup import BATCH_SIZES
from keras_distill.teachers.embedder_fingerprint import embedder_fingerprint
from keras_distill.teachers.teacher import as_teacher

#: What is known of where a model comes from, if nothing is.
UNKNOWN_ORIGIN: Mapping[str, Any] = {
    "model": None,
    "training": None,
    "training_classes": None,
    "data": None,
    "data_licence": None,
    "recall": [],
    "verification": None,
}
_PREPROCESSING = (
    "RGB, 0 to 255. Of a file, the central square with 7/8 of the short side, resized bilinearly "
    "with antialiasing; EXIF orientation is not applied. Scaling for the network is in the graph."
)


def bundle_facts(
    model: keras.Model,
    folder: Path,
    *,
    name: str,
    version: int,
    batching: str,
    checks: Mapping[str, Any],
    golden: str,
    origin: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Gathers what is known of an exported model, as plain values.

    Args:
        model: The model that was exported.
        folder: Folder of the SavedModel, complete up to this.
        name: Name of the model.
        version: Number of its version.
        batching: `"graph"` or `"none"`.
        checks: What was measured before it was published.
        golden: What the golden requests show.
        origin: Where it comes from, with keys of `UNKNOWN_ORIGIN`; what is left out is unknown.

    Returns:
        What `distill.json` holds.
    """
    product = product_shape(model)
    image_size = product.image_size
    sums = file_sums(folder)
    return {
        "name": name,
        "version": version,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **_outputs(model, product),
        "image": {"size": image_size, "preprocessing": _PREPROCESSING},
        "mirror": is_mirror_averaged(model),
        "parameters": model.count_params(),
        "bytes": sum((folder / file).stat().st_size for file in sums),
        "embedder": _fingerprint(model, image_size) if product.is_embedder else None,
        "signatures": _signatures(folder),
        "batching": {"where": "graph", **SETTINGS} if batching == "graph" else {"where": "none"},
        "warmup_batch_sizes": list(BATCH_SIZES),
        "golden": golden,
        "checks": dict(checks),
        **UNKNOWN_ORIGIN,
        **(origin or {}),
        "libraries": {
            "keras_distill": __version__,
            "keras": keras.version(),
            "tensorflow": importlib.metadata.version("tensorflow"),
        },
        "sha256": sums,
    }


def _outputs(model: keras.Model, product: ProductShape) -> dict[str, Any]:
    """The `embedding` of an embedder, or the `outputs` of another model."""
    embedding = {"dtype": "float32", "length": 1, "metric": "euclidean"}
    if product.is_embedder:
        return {"embedding": {"dim": product.outputs[EMBEDDING][0], **embedding}}
    numbers = {"dtype": "float32"}
    return {
        "outputs": {
            name: {
                "shape": [None, *shape],
                **(embedding if name == EMBEDDING else numbers),
                **label_facts(model, name),
            }
            for name, shape in product.outputs.items()
        }
    }


def label_facts(model: keras.Model, output: str) -> dict[str, Any]:
    """States the labels of an output, or the scale of a score.

    Args:
        model: The model.
        output: Name of the output.

    Returns:
        `labels`, their `thresholds`, `None` for 0.5, and the `activation` that turns logits into
        probabilities; of a score `higher_is_better`, and the `mean` and the `deviation` of the
        scores that it learned; nothing if the model does not know them.
    """
    scale = find_score_scale(model) if output == SCORE else None
    if scale is not None:
        names = ("higher_is_better", "mean", "deviation")
        return {name: getattr(scale, name) for name in names}
    labels = find_labels(model, output)
    if labels is None:
        return {}
    return {
        "labels": list(labels.names),
        "thresholds": None if labels.thresholds is None else list(labels.thresholds),
        "activation": labels.activation,
    }


def _fingerprint(model: keras.Model, image_size: int | None) -> str | None:
    """That of an index which the model has built; a layer of one's own may hide what it is."""
    if isinstance(model.output, dict):  # which builds no index
        return None
    teacher = as_teacher(model)
    if image_size is None or not teacher.fingerprint:
        return None
    return embedder_fingerprint(teacher, image_size)


def _signatures(folder: Path) -> dict[str, Any]:
    import tensorflow as tf

    def tensors(infos: Any) -> dict[str, Any]:
        return {
            key: {
                "dtype": tf.as_dtype(info.dtype).name,
                "shape": tf.TensorShape(info.tensor_shape).as_list(),
            }
            for key, info in sorted(infos.items())
        }

    return {
        name: {"inputs": tensors(signature.inputs), "outputs": tensors(signature.outputs)}
        for name, signature in predict_signatures(read_meta_graph(folder)).items()
    }
