"""The SavedModel that TF-Serving loads, and all that lies beside it."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_distill.data.image_set import ImageSet
from keras_distill.errors import InputError
from keras_distill.models.exported_facts import FACTS_FILE
from keras_distill.models.float32 import as_float32
from keras_distill.models.keras_internals import all_layers
from keras_distill.models.layer_calls import replace_calls
from keras_distill.models.loading import embedder_shape
from keras_distill.models.product import ProductShape, product_shape
from keras_distill.serving.client.golden_pairs import write_golden
from keras_distill.serving.client.output_contract import EMBEDDING, output_contract
from keras_distill.serving.export.bundle_facts import bundle_facts
from keras_distill.serving.export.checksums import write_sums
from keras_distill.serving.export.comparison import (
    Comparison,
    compare,
    golden_pairs,
    keras_outputs,
)
from keras_distill.serving.export.graph_checks import graph_faults
from keras_distill.serving.export.model_card import CARD_FILE, model_card
from keras_distill.serving.export.sample_pictures import (
    choose_pictures,
    draw_pictures,
    write_thumbnails,
)
from keras_distill.serving.export.saved_model import BATCHINGS, Batching, write_saved_model
from keras_distill.serving.export.session_model import SessionModel
from keras_distill.serving.export.signature_defs import read_meta_graph
from keras_distill.serving.export.versions import published_version
from keras_distill.serving.export.warmup import warmup_faults, write_warmup


def export_embedder(
    model: keras.Model,
    out: str | Path,
    *,
    name: str = "embedder",
    version: int | None = None,
    batching: Batching = "graph",
    images: ImageSet | None = None,
    keep_images: bool = False,
    origin: Mapping[str, Any] | None = None,
) -> Path:
    """Writes an embedder as `out/name/version`, checked before it is published.

    Signatures, each returning `embedding`, float32 `(n, dim)`:

    - `serving_default`: `image_bytes`, strings `(n,)`, JPEG or PNG files of any size, of which the
      centre is embedded as in evaluation;
    - `serve_uint8`: `image`, uint8 `(n, size, size, 3)`;
    - `serve_float`: `image`, float32 `(n, size, size, 3)`, from 0 to 255.

    Beside the SavedModel lie `MODEL_CARD.md`, `SHA256SUMS`, and in `assets.extra/` the warm-up
    requests, `distill.json`, and golden requests with their answers.

    Args:
        model: An embedder with a fixed image size; rebuilt in float32 if it is not.
        out: Folder for all models.
        name: Name of the model.
        version: Number of the version; by default one more than the highest ever used.
        batching: `"graph"` lets concurrent requests share batches: a server under load answers half
            as many again, a lone request takes 2 to 4 ms longer. `"none"` does not.
        images: Images to compare the export with the model on, beside drawn ones; up to eight are
            chosen.
        keep_images: Whether the golden requests show small copies of `images`, for everyone who is
            given the export to see, rather than drawn pictures.
        origin: Where the model comes from, with keys of `bundle_facts.UNKNOWN_ORIGIN`.

    Returns:
        The folder of the version.

    Raises:
        InputError: If the model is not an embedder, the version was used, or the place cannot be
            written.
        RuntimeError: If the export fails a check; nothing is published then.

    Example:
        >>> export_embedder(student, "models", name="birds")  # doctest: +SKIP
        PosixPath('models/birds/1')
    """
    embedder_shape(model)
    return export_model(
        model,
        out,
        name=name,
        version=version,
        batching=batching,
        images=images,
        keep_images=keep_images,
        origin=origin,
    )


def export_model(
    model: keras.Model,
    out: str | Path,
    *,
    name: str,
    version: int | None = None,
    batching: Batching = "graph",
    images: ImageSet | None = None,
    keep_images: bool = False,
    origin: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a model of images with any named outputs as `out/name/version`, as `export_embedder`.

    Each signature returns all outputs of the model by name, float32, a row for each image. The
    output `embedding` must be vectors of length 1; other outputs may be any numbers.

    Args:
        model: A functional model with a fixed image size that returns a dict of outputs by name,
            such as `{"logits": …}`, or a single vector, which is its `embedding`.
        out: As `export_embedder`, like all other arguments.
        name: Name of the model.
        version: Number of the version.
        batching: `"graph"` or `"none"`.
        images: Images to compare the export with the model on.
        keep_images: Whether the golden requests show small copies of `images`.
        origin: Where the model comes from.

    Returns:
        The folder of the version.

    Raises:
        InputError: If the model has other inputs or outputs, the version was used, or the place
            cannot be written.
        RuntimeError: If the export fails a check; nothing is published then.

    Example:
        >>> export_model(crowd_counter, "models", name="crowd")  # doctest: +SKIP
        PosixPath('models/crowd/1')
    """
    product = product_shape(model)
    image_size, outputs = product.image_size, sorted(product.outputs)
    if image_size is None:
        raise InputError("model takes images of any size; build it with a fixed image_size.")
    if batching not in BATCHINGS:
        raise InputError(f"batching={batching!r} is unknown; give one of {', '.join(BATCHINGS)}.")
    exported = as_float32(model)
    replace_calls(exported)
    with tempfile.TemporaryDirectory() as scratch:
        shown, kept, golden = _pictures(Path(scratch), images, keep_images)
        with published_version(Path(out) / name, version) as (number, folder):
            # Before saved_model.pb, by which a server knows a version: one that cannot answer its
            # warm-up is not made available, even where a folder does not appear at once.
            write_warmup(folder, image_size, outputs)
            write_saved_model(exported, folder, image_size, batching=batching)
            _refuse(graph_faults(read_meta_graph(folder)))
            with SessionModel(folder) as served:
                compared = compare(exported, served, shown, image_size)
                _refuse([*compared.faults, *warmup_faults(served, folder)])
                files = [(kept.root / path).read_bytes() for path in kept.paths]
                write_golden(folder, golden_pairs(served, files, compared.pixels[:1], outputs))
            facts = bundle_facts(
                model,
                folder,
                name=name,
                version=number,
                batching=batching,
                checks={
                    "images": _described(shown, images),
                    **_least(compared, product),
                    **_as_trained(model, exported, compared.pixels),
                },
                golden=golden,
                origin=origin,
            )
            (folder / FACTS_FILE).write_text(json.dumps(facts, indent=2) + "\n")
            (folder / CARD_FILE).write_text(model_card(facts))
            write_sums(folder)
    return Path(out) / name / str(number)


def _pictures(
    scratch: Path, images: ImageSet | None, keep_images: bool
) -> tuple[ImageSet, ImageSet, str]:
    """The pictures to compare on, those of the golden requests, and what these are."""
    kept = shown = draw_pictures(scratch / "drawn")
    if images is None:
        return shown, kept, "drawn pictures"
    chosen = choose_pictures(images)
    shown = kept.with_unlabelled(chosen)
    if not keep_images:
        return shown, kept, "drawn pictures"
    kept = write_thumbnails(chosen, scratch / "thumbnails")
    return (
        kept.with_unlabelled(shown),
        kept,
        f"small copies of {len(kept)} images of {images.root}",
    )


def _refuse(faults: Sequence[str]) -> None:
    if faults:
        listed = "".join(f"\n- {fault}" for fault in faults)
        raise RuntimeError(f"The export is not fit to be served; nothing was published.{listed}")


def _described(shown: ImageSet, images: ImageSet | None) -> str:
    if images is None:
        return f"{len(shown)} drawn pictures"
    return f"{len(shown)} pictures, some drawn, some of {images.root}"


def _least(compared: Comparison, product: ProductShape) -> dict[str, Any]:
    if product.is_embedder:
        return {"least_cosine": dict(compared.closeness[EMBEDDING])}
    return {"closeness": {name: dict(least) for name, least in compared.closeness.items()}}


def _as_trained(model: keras.Model, exported: keras.Model, pixels: np.ndarray) -> dict[str, Any]:
    """How far the float32 copy of a model of mixed precision is from it, which is no fault."""
    is_embedder = product_shape(model).is_embedder
    key = "least_cosine_as_trained" if is_embedder else "closeness_as_trained"
    if exported is model:
        return {"trained_in": "float32", key: None}
    policies = {layer.dtype_policy.name for layer in all_layers(model, include_self=False)}
    given, expected = keras_outputs(model, pixels), keras_outputs(exported, pixels)
    least = {name: output_contract(name).least_of(given[name], expected[name]) for name in given}
    return {
        "trained_in": ", ".join(sorted(policies - {"float32"})),
        key: least[EMBEDDING] if is_embedder else least,
    }
