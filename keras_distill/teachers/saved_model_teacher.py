"""Teachers that are SavedModel folders."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_distill.errors import InputError, renamed_arguments
from keras_distill.teachers.image_size import agreed_image_size, takes_square_images
from keras_distill.teachers.model_fingerprint import fingerprint_of, folder_fingerprint
from keras_distill.teachers.teacher import Teacher

# In the order of preference; the first two are ours (see serving/bundle.py).
_SIGNATURES = ("serve_float", "serve_uint8", "serving_default", "serve")


def load_saved_model(
    path: Path,
    *,
    signature: str = "",
    output: str = "",
    image_size: int | None = None,
    preprocessing: str = "0_255",
) -> Teacher:
    """Loads a SavedModel as a teacher.

    Args:
        path: The folder.
        signature: Name of the signature; if empty, the first that fits of `serve_float`,
            `serve_uint8`, `serving_default` and `serve`.
        output: Name of the output; may be empty if only one is a batch of vectors.
        image_size: Height and width of the images, in pixels, for a model that takes any size.
        preprocessing: Scaling of the pixels before the model; see `preprocess`.

    Returns:
        The teacher.

    Raises:
        InputError: If the folder is damaged, or nothing in it fits the arguments.
    """
    source = f"`path={str(path)!r}`"
    try:
        loaded = tf.saved_model.load(str(path))
    except (OSError, ValueError, IndexError, tf.errors.OpError) as error:
        raise InputError(f"{source} could not be loaded: {error}") from error
    for name in [signature] if signature else _SIGNATURES:
        if name not in loaded.signatures:
            continue
        function = loaded.signatures[name]
        images, vectors = _images(function), _vectors(function)
        chosen = output or (vectors[0] if len(vectors) == 1 else "")
        if len(images) != 1 or chosen not in vectors:
            continue
        ((argument_name, spec),) = images.items()
        if spec.dtype.is_integer and preprocessing != "0_255":
            raise InputError(
                f"`preprocessing={preprocessing!r}`: signature {name!r} of {source} takes "
                f"{spec.dtype.name} pixels, which run from 0 to 255; leave it out."
            )
        with renamed_arguments(model=f"path={str(path)!r}"):
            size = agreed_image_size(spec.shape[1], image_size)
        return Teacher(
            _call(function, argument_name, spec, chosen),
            embedding_dim=function.structured_outputs[chosen].shape[1],
            image_size=size,
            owner=loaded,
            preprocessing=preprocessing,
            fingerprint=partial(_fingerprint, path, name, chosen),
        )
    asked = f" {signature!r}" if signature else ""
    raise InputError(
        f"{source} has no signature{asked} from one batch of square RGB images to "
        + (f"the vectors `output={output!r}`" if output else "one batch of vectors")
        + f"; {_description(loaded)} Choose by `signature` and `output`"
        + ("." if signature else f"; without a signature, {', '.join(_SIGNATURES)} are considered.")
    )


def _images(function: Any) -> dict[str, tf.TensorSpec]:
    """The inputs of a signature, if there is one and it takes images."""
    inputs = function.structured_input_signature[1]
    fits = all(
        spec.shape.rank == 4 and takes_square_images(spec.shape.as_list())
        for spec in inputs.values()
    )
    return inputs if fits else {}


def _vectors(function: Any) -> list[str]:
    """The outputs of a signature that are batches of vectors."""
    return [
        name
        for name, spec in function.structured_outputs.items()
        if spec.shape.rank == 2 and spec.dtype.is_floating
    ]


def _call(function: Any, argument: str, spec: tf.TensorSpec, output: str) -> Callable[[Any], Any]:
    def call(images: Any) -> tf.Tensor:
        if not spec.dtype.is_floating:
            images = tf.round(images) if tf.as_dtype(images.dtype).is_floating else images
        return function(**{argument: tf.cast(images, spec.dtype)})[output]

    return call


def _fingerprint(path: Path, signature: str, output: str) -> str:
    return fingerprint_of(folder_fingerprint(path), signature, output)


def _description(loaded: Any) -> str:
    """Inputs and outputs of each signature, in words."""
    if not loaded.signatures:
        return "it has none."
    lines = []
    for name, function in loaded.signatures.items():
        takes = _shapes(function.structured_input_signature[1])
        lines.append(f"{name}: {takes} -> {_shapes(function.structured_outputs)}")
    return f"it has {'; '.join(lines)}."


def _shapes(specs: dict[str, tf.TensorSpec]) -> str:
    return ", ".join(f"{name} {spec.dtype.name} {spec.shape}" for name, spec in specs.items())
