"""Teacher: a frozen map from raw images to embeddings."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from keras_distill.data.image_set import ImageSet
from keras_distill.errors import InputError, renamed_arguments
from keras_distill.models.layer_calls import replace_calls, tap_features
from keras_distill.models.loading import EMBEDDING, embedder_shape
from keras_distill.models.mirror_average import is_mirror_averaged
from keras_distill.teachers.image_size import agreed_image_size
from keras_distill.teachers.model_fingerprint import fingerprint_of, model_fingerprint
from keras_distill.teachers.preprocessing import check_preprocessing, preprocess


class Teacher:
    """Anything that yields teacher embeddings, frozen and in inference mode.

    It is a plain object on purpose: a `keras.Model` that holds it does not track, train, save or
    count the teacher's weights.

    Args:
        function: Maps images `(batch, height, width, 3)`, RGB from 0 to 255 if they are not
            preprocessed, to embeddings `(batch, dim)`.
        embedding_dim: Width of the embeddings; `None` if unknown.
        image_size: Height and width that `function` needs, in pixels; `None` if it takes any.
        owner: An object that must stay alive as long as `function` does, such as a loaded
            SavedModel.
        preprocessing: Scaling of the pixels before `function`; see `preprocess`.
        fingerprint: A string that identifies `function`, or a function that computes it; `None` if
            it cannot be known. It must differ as soon as `function` would give different
            embeddings.
        runtime: Loads the model for a number of threads into a runtime other than TensorFlow;
            returns a function from an array of images, float32 and preprocessed, to vectors.
            `None` if there is no other.
        versions: Versions of the libraries that compute `function`, apart from TensorFlow, by
            name: another release may round differently, so each has caches of its own.

    Raises:
        InputError: If there is no such preprocessing.

    Example:
        >>> teacher = Teacher(lambda images: tf.reduce_mean(images, [1, 2]), preprocessing="0_1")
        >>> teacher(tf.fill([2, 8, 8, 3], 255)).numpy().tolist()
        [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """

    #: Whether it needs the ids of the images, as a table of vectors does.
    needs_ids: ClassVar[bool] = False
    #: Whether its embeddings are means over an image and its mirror image, as far as is known.
    mirror_averaged: bool = False

    def __init__(
        self,
        function: Callable[[Any], Any],
        *,
        embedding_dim: int | None = None,
        image_size: int | None = None,
        owner: Any = None,
        preprocessing: str = "0_255",
        fingerprint: Callable[[], str | None] | str | None = None,
        runtime: Callable[[int], Callable[[np.ndarray], np.ndarray]] | None = None,
        versions: Mapping[str, str] = MappingProxyType({}),
    ):
        check_preprocessing(preprocessing)
        self.embedding_dim = embedding_dim
        self.image_size = image_size
        self.preprocessing = preprocessing
        # Traced once, however often and from wherever it is called.
        self._function = tf.function(
            lambda images: function(preprocess(images, preprocessing)),
            autograph=False,
            reduce_retracing=True,
        )
        self.owner = owner
        self.runtime = runtime
        self.versions = dict(versions)
        self._fingerprint = fingerprint
        self._tapped: list[str] = []

    def tap(self, layers: Sequence[str]) -> dict[str, Any]:
        """Prepares `features` to return the feature maps of inner layers.

        Several callers may tap a teacher: layers that were tapped before stay tapped.

        Args:
            layers: Names of layers with a feature map, or their paths; see `find_path`.

        Returns:
            The shapes of the maps, `(None, h, w, channels)`, by layer.

        Raises:
            InputError: If the teacher is no Keras model, or has no such layers.
        """
        if not isinstance(self.owner, keras.Model):
            raise InputError(
                f"`layers={', '.join(layers)}`: only a teacher that is a Keras model has inner "
                "layers to compare; give a .keras file, or leave hint and attention out."
            )
        tapped = list(dict.fromkeys([*self._tapped, *layers]))
        with renamed_arguments(model="teacher"):
            tap = tap_features(self.owner, tapped)
        self._tapped = tapped
        self._features_function = tf.function(
            lambda images: tap(preprocess(images, self.preprocessing)),
            autograph=False,
            reduce_retracing=True,
        )
        return {layer: tap.shapes[layer] for layer in layers}

    def features(self, images: Any) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Embeds a batch and returns the feature maps that `tap` named, from the same pass.

        Args:
            images: Tensor `(batch, height, width, 3)`, RGB from 0 to 255, uint8 or float.

        Returns:
            The embeddings as of a call, and float32 maps `(batch, h, w, channels)` by layer.
        """
        embedding, maps = self._features_function(images)
        maps = {name: tf.stop_gradient(tf.cast(m, tf.float32)) for name, m in maps.items()}
        return tf.stop_gradient(tf.cast(_embedding_of(embedding), tf.float32)), maps

    @property
    def fingerprint(self) -> str | None:
        """A hash of everything that decides the embeddings; `None` for a plain function.

        Computed again at each access, from all weights: about a second for each gigabyte.
        """
        own = self._fingerprint() if callable(self._fingerprint) else self._fingerprint
        if own is None:
            return None
        return fingerprint_of("teacher", own, self.preprocessing, self.image_size)

    def __call__(self, images: Any, ids: Any = None) -> tf.Tensor:
        """Embeds a batch of raw images.

        Args:
            images: Tensor `(batch, height, width, 3)`, RGB from 0 to 255, uint8 or float.
            ids: Ids of the images, int64 `(batch,)`; ignored unless `needs_ids`.

        Returns:
            float32 tensor `(batch, dim)` without gradient.

        Raises:
            ValueError: If it needs ids and there are none.
        """
        return tf.stop_gradient(tf.cast(self._function(images), tf.float32))

    def check_covers(self, images: ImageSet) -> None:
        """Checks that it has an embedding of every image of a set; only a table may lack some.

        Args:
            images: The images.

        Raises:
            InputError: If it cannot.
        """


def as_teacher(
    model: "Teacher | keras.Model | Callable[[Any], Any]",
    *,
    image_size: int | None = None,
    preprocessing: str = "0_255",
) -> Teacher:
    """Wraps a Keras model or a function from images to embeddings as a `Teacher`.

    Args:
        model: A `Teacher` (returned as it is), a Keras model with one image input and one output
            `(batch, dim)`, maybe in a dict as `embedding`, or a callable on raw images.
        image_size: Height and width of the images, in pixels, for a model that takes any size.
        preprocessing: Scaling of the pixels before the model; see `preprocess`.

    Returns:
        The teacher.

    Raises:
        InputError: If a Keras model has another kind of input or output, or an option does not fit.

    Example:
        >>> resnet = keras.applications.ResNet50(include_top=False, pooling="avg")  # doctest: +SKIP
        >>> teacher = as_teacher(
        ...     resnet, image_size=224, preprocessing="imagenet_caffe"
        ... )  # doctest: +SKIP
    """
    if isinstance(model, Teacher):
        if image_size is not None or preprocessing != "0_255":
            raise InputError(
                "`model` is a Teacher already; give `image_size` and `preprocessing` where it is "
                "made."
            )
        return model
    if not isinstance(model, keras.Model):
        if not callable(model):
            is_path = isinstance(model, str) or hasattr(model, "__fspath__")
            raise InputError(
                f"`model={model!r}` is neither a Keras model nor callable on a batch of images"
                + ("; load it first, with load_teacher." if is_path else ".")
            )
        return Teacher(model, image_size=image_size, preprocessing=preprocessing)
    fixed, embedding_dim = embedder_shape(model)
    replace_calls(model)
    teacher = Teacher(
        lambda images: _embedding_of(model(images, training=False)),
        embedding_dim=embedding_dim,
        image_size=agreed_image_size(fixed, image_size),
        owner=model,
        preprocessing=preprocessing,
        fingerprint=lambda: model_fingerprint(model),
        versions={"keras": keras.__version__},
    )
    teacher.mirror_averaged = is_mirror_averaged(model)
    return teacher


def _embedding_of(answer: Any) -> Any:
    """The embeddings in the answer of a model, which may name them."""
    return answer[EMBEDDING] if isinstance(answer, Mapping) else answer
