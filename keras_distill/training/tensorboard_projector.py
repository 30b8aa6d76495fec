"""Embeddings for TensorBoard's projector."""

import math
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from keras_distill.data.image_set import ImageSet
from keras_distill.data.pipeline import evaluation_batches
from keras_distill.publishing import published_file

_PIXELS = 48  # a side; the sprite of 10,000 has 4800 then, and browsers show up to 8192
_CONFIG = f"""\
embeddings {{
  tensor_name: "student"
  tensor_path: "projector/embeddings.tsv"
  metadata_path: "projector/images.tsv"
  sprite {{
    image_path: "projector/thumbnails.png"
    single_image_dim: {_PIXELS}
    single_image_dim: {_PIXELS}
  }}
}}
"""


def write_projector(
    folder: Path, student: keras.Model, images: ImageSet, count: int, *, degrade: str = ""
) -> None:
    """Writes embeddings, names and thumbnails of some images for the embedding projector.

    Args:
        folder: TensorBoard's folder. It receives `projector_config.pbtxt` and `projector/`.
        student: The embedder.
        images: The images.
        count: Largest number of images, evenly spread over the classes.
        degrade: Degradation of the images; see `parse_degradations`.

    Raises:
        InputError: If a file cannot be written.
    """
    chosen = images.select(np.unique(np.linspace(0, len(images) - 1, count).astype(int)))
    size = student.input_shape[1]
    embeddings, thumbnails = [], []
    for x, _ in evaluation_batches(chosen, image_size=size, degrade=degrade):
        embeddings.append(student.predict_on_batch(x["image"]))
        small = tf.image.resize(x["image"], (_PIXELS, _PIXELS), antialias=True)
        thumbnails.append(tf.saturate_cast(tf.round(small), tf.uint8).numpy())
    data = folder / "projector"
    with published_file(data / "embeddings.tsv") as temporary:
        np.savetxt(temporary, np.concatenate(embeddings), fmt="%.6g", delimiter="\t")
    names = ["class\timage"]
    for label, path in zip(chosen.labels, chosen.paths, strict=True):
        columns = (chosen.class_names[label] if label >= 0 else "", path)
        names.append("\t".join(" ".join(column.split()) for column in columns))
    with published_file(data / "images.tsv") as temporary:
        temporary.write_text("\n".join(names) + "\n")
    with published_file(data / "thumbnails.png") as temporary:
        Image.fromarray(_sprite(np.concatenate(thumbnails))).save(temporary)
    with published_file(folder / "projector_config.pbtxt") as temporary:
        temporary.write_text(_CONFIG)


def _sprite(thumbnails: np.ndarray) -> np.ndarray:
    """Arranges thumbnails in a square grid, row by row, as the projector expects."""
    side = math.ceil(math.sqrt(len(thumbnails)))
    grid = np.zeros((side * side, _PIXELS, _PIXELS, 3), np.uint8)
    grid[: len(thumbnails)] = thumbnails
    rows = grid.reshape(side, side, _PIXELS, _PIXELS, 3).swapaxes(1, 2)
    return rows.reshape(side * _PIXELS, side * _PIXELS, 3)
