"""SavedModel that takes the bytes of image files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_distill.data.image_set import ImageSet
from keras_distill.data.views import centre_view
from keras_distill.embedding.chain_model import ChainModel
from keras_distill.errors import InputError
from keras_distill.models.exported_facts import exported_facts
from keras_distill.teachers.mirror_averaged_teacher import mirror_average

#: The default signature of a SavedModel in TF-Serving.
SIGNATURE = "serving_default"


class JpegModel(ChainModel):
    """SavedModel that takes the bytes of image files, as TF-Serving receives them.

    Args:
        name: See `ChainModel`.
        path: See there.
        loaded: The loaded SavedModel.
        mirror: Whether to average the vectors of each image and its mirror image; files are then
            decoded here, for the signature `serve_uint8`.

    Raises:
        InputError: If `mirror` is set, and the SavedModel has no such signature.
    """

    def __init__(self, name: str, path: Path, loaded: Any, *, mirror: bool = False):
        self.name = name
        self.path = path
        self._loaded = loaded  # owns the weights of the signatures
        self.mirror_averaged = mirror or exported_facts(path).get("mirror") is True
        self.timed_in = "SavedModel"
        self.route = f"the bytes of each file, through its signature {SIGNATURE}"
        signature = loaded.signatures[SIGNATURE]
        (takes,) = signature.structured_input_signature[1]
        (gives,) = signature.structured_outputs
        self.parameters = sum(int(np.prod(variable.shape)) for variable in signature.variables)
        self.from_jpeg = lambda data: signature(**{takes: data})[gives]
        if "serve_uint8" in loaded.signatures:
            pixels = loaded.signatures["serve_uint8"]
            ((argument, spec),) = pixels.structured_input_signature[1].items()
            (output,) = pixels.structured_outputs
            self.image_size = spec.shape[1]
            self.from_pixels = lambda images: pixels(**{argument: images})[output]
        if mirror:
            self._average_mirror_images()

    def _average_mirror_images(self) -> None:
        embed, size = self.from_pixels, self.image_size
        if embed is None or size is None:
            raise InputError(
                f"`mirror=True`: {self.path} has no signature serve_uint8, to which mirror images "
                "could be given; export the model with `mirror=True` instead."
            )
        spec = tf.TensorSpec([size, size, 3], tf.uint8)
        self.route = "the centre of each file and its mirror image, through serve_uint8"
        self.from_pixels = lambda images: mirror_average(embed, images)
        self.from_jpeg = tf.function(
            lambda data: mirror_average(
                embed, tf.map_fn(lambda one: centre_view(one, size), data, fn_output_signature=spec)
            ),
            input_signature=[tf.TensorSpec([None], tf.string)],
            autograph=False,
        )

    def embed(
        self, images: ImageSet, *, batch_size: int, on_batch: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """See the base class."""
        files = [str(images.root / path) for path in images.paths]
        vectors = []
        data = tf.data.Dataset.from_tensor_slices(files).map(
            tf.io.read_file, num_parallel_calls=tf.data.AUTOTUNE
        )
        for batch in data.batch(batch_size).prefetch(1):
            assert self.from_jpeg is not None
            vectors.append(tf.cast(self.from_jpeg(batch), tf.float32).numpy())
            if on_batch is not None:
                on_batch(len(vectors[-1]))
        return np.concatenate(vectors)


def takes_files(loaded: Any) -> bool:
    """Tells whether a loaded SavedModel takes the bytes of image files and gives one output."""
    signature = loaded.signatures.get(SIGNATURE) if hasattr(loaded, "signatures") else None
    if signature is None:
        return False
    inputs = list(signature.structured_input_signature[1].values())
    outputs = list(signature.structured_outputs.values())
    return (
        len(inputs) == len(outputs) == 1
        and inputs[0].dtype == tf.string
        and inputs[0].shape.rank == 1
        and outputs[0].shape.rank == 2
        and outputs[0].dtype.is_floating
    )
