"""The signatures of an exported model."""

from pathlib import Path
from typing import Any, Literal, get_args

import keras
import tensorflow as tf

from keras_distill.data.views import centre_view
from keras_distill.models.product import by_name, product_shape
from keras_distill.serving.export.complete_variables import CompleteVariables
from keras_distill.serving.export.graph_batching import batched
from keras_distill.serving.export.request_bounds import bounded_pixels, bounded_rows

Batching = Literal["graph", "none"]
BATCHINGS: tuple[Batching, ...] = get_args(Batching)


def write_saved_model(
    model: keras.Model, folder: Path, size: int, *, batching: Batching = "graph"
) -> None:
    """Writes a model as a SavedModel with the signatures that `export_model` describes.

    Decoding, cropping, resizing and scaling are part of the graph, and the same as in evaluation.

    Args:
        model: A float32 model of images, see `product_shape`.
        folder: Folder to write into.
        size: Height and width of the images that it takes, in pixels.
        batching: `"graph"` lets concurrent requests share batches; see `batched`.

    Raises:
        OSError: If the folder cannot be written.
    """
    pixels, rows = [None, size, size, 3], product_shape(model).outputs

    def network(images: tf.Tensor) -> Any:
        return by_name(model(tf.cast(images, tf.float32), training=False))

    # A queue for each type: bytes are a quarter of what they are as numbers.
    run = batched(network) if batching == "graph" else network

    # Each input is checked by the very first operations: TF-Serving does not compare a request
    # with the signature, and a wrong rank would abort the whole server.
    def answer(images: tf.Tensor) -> dict[str, tf.Tensor]:
        # A batch has no gradient; as somebody's teacher the model may be called below a tape.
        outputs = tf.nest.map_structure(tf.stop_gradient, run(images))
        return {
            name: tf.ensure_shape(outputs[name], [None, *shape]) for name, shape in rows.items()
        }

    def from_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        image_bytes = bounded_pixels(bounded_rows(tf.ensure_shape(image_bytes, [None])))
        images = tf.map_fn(
            lambda data: centre_view(data, size),
            image_bytes,
            fn_output_signature=tf.TensorSpec([size, size, 3], tf.uint8),
        )
        return answer(images)

    def from_pixels(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return answer(bounded_rows(tf.ensure_shape(image, pixels)))

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.track(CompleteVariables(variable.value for variable in model.variables))
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
