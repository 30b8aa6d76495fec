"""Scores of whole albums, each photograph of which is looked at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from keras_distill.data.albums import Albums
from keras_distill.data.pipeline import evaluation_batches
from keras_distill.errors import InputError
from keras_distill.models.album_model import album_parts
from keras_distill.models.layer_calls import replace_calls
from keras_distill.models.loading import EMBEDDING
from keras_distill.models.product import product_shape
from keras_distill.teachers.output_teacher import OutputTeacher


@dataclass(frozen=True, eq=False)
class AlbumScores:
    """What an album classifier returns for albums.

    Attributes:
        logits: For each output with labels its logits, float32 `(n, labels)`.
        attention: For each album how much it attends to each of its photographs, float32.
    """

    logits: dict[str, np.ndarray]
    attention: tuple[np.ndarray, ...]


class AlbumScorer:
    """Scores albums with all of their photographs, in inference mode; traced once.

    Args:
        model: A model of `build_album_classifier` or `build_album_model`; its weights may change.
        batch_size: Albums scored at once, padded to the largest of them.

    Attributes:
        parts: The parts of the model.

    Raises:
        InputError: If it is something else.
    """

    def __init__(self, model: keras.Model, *, batch_size: int = 16):
        parts = album_parts(model)
        if parts is None:
            raise InputError(
                f"`model` {model.name!r} is no classifier of albums; give one that was trained on "
                "albums, or data of single images."
            )
        replace_calls(model)
        self.parts = parts
        self._batch_size = batch_size
        self._embedder = None if parts.photographs is None else OutputTeacher.of(parts.photographs)
        self._outputs = tf.function(
            lambda vectors, mask: parts.classifier(
                {"vectors": vectors, "mask": mask}, training=False
            ),
            input_signature=[
                tf.TensorSpec([None, None, parts.dim], tf.float32),
                tf.TensorSpec([None, None], tf.bool),
            ],
            autograph=False,
        )

    def vectors(
        self,
        albums: Albums,
        *,
        batch_size: int = 64,
        degrade: str = "",
        on_batch: Callable[[int], object] | None = None,
    ) -> np.ndarray:
        """Returns the vectors of the photographs: those that are given, or the model's own.

        Args:
            albums: The albums; with vectors if the model takes those.
            batch_size: Photographs looked at at once.
            degrade: Degradation of the photographs; see `parse_degradations`.
            on_batch: Called with the number of photographs after each batch, to show progress.

        Returns:
            float32 `(photographs, dim)`.

        Raises:
            InputError: If vectors are missing, or there are some for a model of images.
        """
        parts = self.parts
        if (albums.vectors is None) != (parts.photographs is not None):
            raise InputError(
                "`album_vectors` is needed: the model takes vectors of photographs; give the "
                "folder of vectors that `python -m keras_distill.embed` made of them, with the "
                "model that made the vectors of its training."
                if albums.vectors is None
                else "`album_vectors` has no effect on a model that was trained on photographs; "
                "leave it out."
            )
        if albums.vectors is not None:
            if albums.vectors.shape[1] != parts.dim:
                raise InputError(
                    f"`album_vectors` are {albums.vectors.shape[1]} wide, and the model takes "
                    f"{parts.dim}; give vectors of the model that made those of its training."
                )
            return albums.vectors
        assert parts.photographs is not None
        assert self._embedder is not None
        size = product_shape(parts.photographs).image_size
        assert size is not None
        batches = evaluation_batches(
            albums.photographs, image_size=size, batch_size=batch_size, degrade=degrade
        )
        found = []
        for x, _ in batches:
            found.append(self._embedder(x["image"], [EMBEDDING])[EMBEDDING].numpy())
            if on_batch is not None:
                on_batch(len(found[-1]))
        return np.concatenate(found)

    def scores(self, albums: Albums, vectors: np.ndarray) -> AlbumScores:
        """Scores albums.

        Args:
            albums: The albums.
            vectors: Vectors of their photographs, `(photographs, dim)`.

        Returns:
            The scores.

        Raises:
            InputError: If a score is not finite.
        """
        logits: dict[str, list[np.ndarray]] = {}
        attention: list[np.ndarray] = []
        for start in range(0, len(albums), self._batch_size):
            members = albums.members[start : start + self._batch_size]
            outputs = dict(self._outputs(*_padded(members, vectors)))
            shares = outputs.pop("attention").numpy()
            attention += [row[: len(own)] for row, own in zip(shares, members, strict=True)]
            for name, values in outputs.items():
                logits.setdefault(name, []).append(values.numpy())
        joined = {name: np.concatenate(values) for name, values in logits.items()}
        if not all(np.isfinite(values).all() for values in joined.values()):
            raise InputError(
                "`model` returned scores that are not finite; it diverged in training, or its "
                "weights are damaged."
            )
        return AlbumScores(joined, tuple(attention))


def _padded(members: Sequence[np.ndarray], vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The vectors of albums with a mask, padded to the largest."""
    width = max(map(len, members))
    mask = np.zeros((len(members), width), bool)
    padded = np.zeros((len(members), width, vectors.shape[1]), np.float32)
    for row, own in enumerate(members):
        mask[row, : len(own)] = True
        padded[row, : len(own)] = vectors[own]
    return padded, mask
