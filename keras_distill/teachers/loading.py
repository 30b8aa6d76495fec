"""Loading a teacher from disk."""

from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.models.loading import load_model
from keras_distill.teachers.teacher import Teacher, as_teacher

# In the order of preference; the first two are ours (see serving/bundle.py).
_SIGNATURES = ("serve_float", "serve_uint8", "serving_default", "serve")


def load_teacher(path: str | Path, *, argument: str = "teacher") -> Teacher:
    """Loads a teacher from a `.keras` file or a SavedModel folder.

    Args:
        path: A `.keras` file with one image input and one output `(batch, dim)`, fed with RGB
            pixels from 0 to 255; or a SavedModel folder with a signature from such images
            (`serve_float`, `serve_uint8`, `serving_default` or `serve`, the first that fits).
        argument: Name of the argument that an error message should name.

    Returns:
        The teacher.

    Raises:
        InputError: If nothing can be loaded there, or if it does not map images to vectors.

    Example:
        >>> teacher = load_teacher("runs/teacher/student.keras")  # doctest: +SKIP
        >>> teacher(images).shape  # doctest: +SKIP
        TensorShape([8, 512])
    """
    path = Path(path)
    if (path / "saved_model.pb").is_file():
        return _load_saved_model(path, argument)
    return as_teacher(load_model(path, argument=argument))


def _load_saved_model(path: Path, argument: str) -> Teacher:
    try:
        loaded = tf.saved_model.load(str(path))
    except (OSError, ValueError, IndexError, tf.errors.OpError) as error:
        raise InputError(f"{argument}={str(path)!r} could not be loaded: {error}") from error
    for name in _SIGNATURES:
        if name not in loaded.signatures:
            continue
        signature = loaded.signatures[name]
        inputs = signature.structured_input_signature[1]
        outputs = signature.structured_outputs
        if len(inputs) != 1 or len(outputs) != 1:
            continue
        ((image, spec),) = inputs.items()
        ((vector, output),) = outputs.items()
        if spec.shape.rank == 4 and output.shape.rank == 2:
            return Teacher(
                _call_signature(signature, image, spec, vector),
                embedding_dim=output.shape[1],
                image_size=spec.shape[1],
                owner=loaded,
            )
    raise InputError(
        f"{argument}={str(path)!r} has no signature from one image batch to one batch of vectors; "
        f"it has {', '.join(loaded.signatures) or 'none'}, of which {', '.join(_SIGNATURES)} are "
        "considered."
    )


def _call_signature(signature: Any, image: str, spec: tf.TensorSpec, vector: str) -> Any:
    def call(images: Any) -> tf.Tensor:
        if not spec.dtype.is_floating:
            images = tf.round(images) if tf.as_dtype(images.dtype).is_floating else images
        return signature(**{image: tf.cast(images, spec.dtype)})[vector]

    return call
