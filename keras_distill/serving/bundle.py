"""The SavedModel that TF-Serving loads."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_distill.data.views import centre_view
from keras_distill.errors import InputError
from keras_distill.models.float32 import as_float32
from keras_distill.models.fused_batch_norm import fuse_batch_norm
from keras_distill.models.loading import embedder_shape
from keras_distill.publishing import published_folder

_LEAST_COSINE = 0.9999


def export_embedder(
    model: keras.Model, out: str | Path, *, name: str = "embedder", version: int | None = None
) -> Path:
    """Writes an embedder as `out/name/version`, compared with the model before it is published.

    Signatures, each returning `embedding`, float32 `(n, dim)`:

    - `serving_default`: `image_bytes`, strings `(n,)`, JPEG or PNG files of any size, of which the
      centre is embedded as in evaluation;
    - `serve_uint8`: `image`, uint8 `(n, size, size, 3)`;
    - `serve_float`: `image`, float32 `(n, size, size, 3)`, from 0 to 255.

    Args:
        model: An embedder with a fixed image size; rebuilt in float32 if it is not.
        out: Folder for all models.
        name: Name of the model.
        version: Number of the version; by default the next free one.

    Returns:
        The folder of the version.

    Raises:
        InputError: If the model is not an embedder, the version exists, or the place cannot be
            written.
        RuntimeError: If the exported model does not give the embeddings of `model`.
    """
    image_size, _ = embedder_shape(model)
    if image_size is None:
        raise InputError("model takes images of any size; build it with a fixed image_size.")
    base = Path(out) / name
    if version is None:
        version = 1 + max(_versions(base), default=0)
    target = base / str(version)
    if version < 1 or version in _versions(base):
        raise InputError(
            f"version={version} of {str(base)!r} {'exists' if version > 0 else 'is not positive'}; "
            "leave it out to take the next free one. TF-Serving never reloads a number."
        )
    model = as_float32(model)
    fuse_batch_norm(model)
    with published_folder(target, keep_existing=False) as folder:
        _write(model, folder, image_size)
        _compare(model, folder, image_size)
    return target


def _versions(base: Path) -> set[int]:
    if not base.is_dir():
        return set()
    return {int(path.name) for path in base.iterdir() if path.name.isdecimal()}


def _write(model: keras.Model, folder: Path, size: int) -> None:
    # Each input is checked by the very first operation: TF-Serving does not compare a request
    # with the signature, and a wrong rank would abort the whole server.
    def embed(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"embedding": model(tf.cast(images, tf.float32), training=False)}

    def from_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        image_bytes = tf.ensure_shape(image_bytes, [None])
        images = tf.map_fn(
            lambda data: centre_view(data, size),
            image_bytes,
            fn_output_signature=tf.TensorSpec([size, size, 3], tf.uint8),
        )
        return embed(images)

    def from_pixels(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return embed(tf.ensure_shape(image, [None, size, size, 3]))

    pixels = [None, size, size, 3]
    archive = keras.export.ExportArchive()
    archive.track(model)
    for signature, function, spec in (
        ("serving_default", from_bytes, tf.TensorSpec([None], tf.string, "image_bytes")),
        ("serve_uint8", from_pixels, tf.TensorSpec(pixels, tf.uint8, "image")),
        ("serve_float", from_pixels, tf.TensorSpec(pixels, tf.float32, "image")),
    ):
        archive.add_endpoint(signature, function, input_signature=[spec])
    try:
        archive.write_out(str(folder), verbose=False)
    except tf.errors.OpError as error:
        raise OSError(error.message) from error


def _compare(model: keras.Model, folder: Path, size: int) -> None:
    """Runs each signature of the written model beside the Keras model."""
    signatures = tf.saved_model.load(str(folder)).signatures
    noise = np.random.default_rng(0)
    # Blocks of 8 pixels: noise of single pixels would not survive JPEG.
    blocks = noise.integers(0, 256, (4, 32, 48, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    encoded = tf.stack(
        [tf.io.encode_jpeg(blocks[i]) for i in range(3)] + [tf.io.encode_png(blocks[3])]
    )
    images = tf.stack([centre_view(data, size) for data in encoded])
    expected = model(images, training=False)
    for signature, argument in (
        ("serving_default", {"image_bytes": encoded}),
        ("serve_uint8", {"image": images}),
        ("serve_float", {"image": tf.cast(images, tf.float32)}),
    ):
        embedding = signatures[signature](**argument)["embedding"]
        cosine = float(tf.reduce_min(tf.reduce_sum(embedding * expected, axis=1)))
        if not cosine >= _LEAST_COSINE:
            raise RuntimeError(
                f"The exported signature {signature} differs from the Keras model: cosine "
                f"{cosine:.6f} < {_LEAST_COSINE}. Nothing was published."
            )
