"""Teacher that looks its embeddings up: a table of vectors by image."""

from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from keras_distill.data.image_set import ImageSet, image_id
from keras_distill.errors import InputError
from keras_distill.teachers.model_fingerprint import fingerprint_of
from keras_distill.teachers.teacher import Teacher

_MOST_NAMES = 5  # in an error message
_NORM_TOLERANCE = 1e-3


class VectorTable(Teacher):
    """Vectors made elsewhere, one for each image, whatever the view of it.

    It works inside graphs, `tf.data` and XLA. Vectors are divided by their L2 norm unless all of
    them have length 1 (to 1e-3) already: retrieval and the losses compare unit vectors. float16
    stays float16 in memory.

    Args:
        ids: Paths of the images relative to the folder of the data set, with forward slashes, or
            their ids as of `ImageSet.ids`, `(n,)`.
        vectors: Their vectors, `(n, dim)`.

    Attributes:
        source: Where the vectors come from, for messages.

    Raises:
        InputError: If shapes or types do not fit, a vector is zero or not finite, or two vectors
            have the same id.

    Example:
        >>> from keras_distill.data.image_set import image_id
        >>> table = VectorTable(["cat/1.jpg", "dog/1.jpg"], [[0.0, 4.0], [3.0, 3.0]])
        >>> ids = [image_id("dog/1.jpg"), image_id("cat/1.jpg")]
        >>> print(table(None, ids).numpy().round(3))
        [[0.707 0.707]
         [0.    1.   ]]
    """

    needs_ids: ClassVar[bool] = True

    def __init__(self, ids: Any, vectors: Any):
        names, vectors = np.asarray(ids), np.asarray(vectors)
        _check_arrays(names, vectors)
        numbers = _numbers(names)
        if vectors.dtype != np.float16:
            with np.errstate(over="ignore"):  # what becomes infinite is refused below
                vectors = vectors.astype(np.float32)
        _refuse(~np.isfinite(vectors).all(1), names, "`vectors` are not finite", "Mend")
        norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
        _refuse(norms == 0, names, "`vectors` are zero, which has no direction,", "Drop")
        sorted_ids, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
        differs = (vectors != vectors[first[inverse]]).any(1)
        _refuse(differs, names, "`ids` have several different vectors", "Keep one")
        if np.abs(norms - 1).max() > _NORM_TOLERANCE:
            vectors = (vectors / norms[:, None]).astype(vectors.dtype)
        vectors = vectors[first]
        super().__init__(
            self._look_up,
            embedding_dim=vectors.shape[1],
            fingerprint=lambda: fingerprint_of("table", sorted_ids, vectors),
        )
        self.source = "table of vectors"
        self.ids = sorted_ids
        self.vectors = vectors
        self._sorted_ids = sorted_ids
        self._ids_tensor = tf.constant(sorted_ids)
        self._vectors = tf.constant(vectors)

    def __len__(self) -> int:
        return len(self._sorted_ids)

    def __call__(self, images: Any, ids: Any = None) -> tf.Tensor:
        """Looks up the vectors of a batch of images.

        Args:
            images: Not looked at.
            ids: Ids of the images, int64 `(batch,)`, as batches hold them.

        Returns:
            float32 tensor `(batch, dim)`. The row of an image that the table lacks is never
            another's: it is NaN where XLA compiles, and elsewhere an error.

        Raises:
            ValueError: If there are no ids.
            tf.errors.InvalidArgumentError: If the table lacks an image; `check_covers` tells
                before.
        """
        if ids is None:
            raise ValueError(
                f"the {self.source} needs the ids of the images: call teacher(images, ids), and "
                "give batches as dicts with 'image' and 'id'."
            )
        return super().__call__(tf.cast(ids, tf.int64))

    def check_covers(self, images: ImageSet) -> None:
        """Checks that the table has a vector for every image of a set.

        Args:
            images: The images.

        Raises:
            InputError: If it lacks some.
        """
        missing = ~np.isin(images.ids, self._sorted_ids)
        if missing.any():
            raise InputError(
                f"the {self.source} lacks {missing.sum()} of {len(images)} images, such as "
                f"{_names(images.paths[missing])}; add their vectors, by their paths relative to "
                f"{str(images.root)!r}."
            )

    def _look_up(self, ids: tf.Tensor) -> tf.Tensor:
        places = tf.searchsorted(self._ids_tensor, ids)
        places = tf.minimum(places, len(self) - 1)
        found = tf.gather(self._ids_tensor, places) == ids
        tf.debugging.Assert(
            tf.reduce_all(found),
            [f"the {self.source} lacks an image; check_covers names it. Ids:", ids],
        )
        vectors = tf.cast(tf.gather(self._vectors, places), tf.float32)
        return tf.where(found[:, None], vectors, np.nan)  # for XLA, which drops assertions


def _check_arrays(names: np.ndarray, vectors: np.ndarray) -> None:
    if names.dtype.kind not in "UTSiu" or vectors.dtype.kind not in "fiu":
        raise InputError(
            f"`ids` are of type {names.dtype} and `vectors` of type {vectors.dtype}; ids must be "
            "strings or integers, and vectors numbers."
        )
    if names.ndim != 1 or vectors.ndim != 2 or len(names) != len(vectors) or not vectors.size:
        raise InputError(
            f"`ids` have the shape {names.shape} and `vectors` {vectors.shape}; they must be (n,) "
            "and (n, dim), with at least one row."
        )


def _numbers(names: np.ndarray) -> np.ndarray:
    if names.dtype.kind in "iu":
        return names.astype(np.int64)
    if names.dtype.kind == "S":
        names = np.char.decode(names, "utf-8", "replace")
    return np.array([image_id(name.removeprefix("./")) for name in names.tolist()], np.int64)


def _refuse(wrong: np.ndarray, names: np.ndarray, what: str, remedy: str) -> None:
    if wrong.any():
        raise InputError(
            f"{what}: {wrong.sum()} of {len(names)}, such as {_names(names[wrong])}. {remedy}."
        )


def _names(names: np.ndarray) -> str:
    return ", ".join(repr(name) for name in names[:_MOST_NAMES].tolist())
