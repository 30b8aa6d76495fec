"""Album model: the photographs of albums in, a logit for each label out."""

from dataclasses import dataclass

import keras

from keras_distill.errors import InputError
from keras_distill.models.each_photograph import EachPhotograph
from keras_distill.models.loading import EMBEDDING
from keras_distill.models.product import by_name, product_shape

_PHOTOGRAPHS, _ALBUM = "photographs", "album"


def build_album_model(
    photographs: keras.Model, classifier: keras.Model, *, name: str = "album_model"
) -> keras.Model:
    """Puts a model of images before an album classifier, to train both end to end.

    Args:
        photographs: Model from images `(rows, size, size, 3)` to vectors `(rows, dim)`; its weights
            are shared.
        classifier: A model of `build_album_classifier` for vectors of this width, whose weights
            are shared.
        name: Name of the model.

    Returns:
        A functional model from a dict of `image`, `(batch, n, size, size, 3)`, and `mask`,
        `(batch, n)`, to the outputs of the classifier.

    Raises:
        InputError: If the models do not fit each other.

    Example:
        >>> import keras
        >>> from keras_distill import AlbumEncoder, build_album_classifier
        >>> image = keras.Input((8, 8, 3), name="image")
        >>> pooled = keras.layers.GlobalAveragePooling2D()(image)
        >>> classifier = build_album_classifier(["a", "b"], 3, AlbumEncoder(1, 1, 8))
        >>> album_model = build_album_model(keras.Model(image, pooled), classifier)
        >>> album_model.input["image"].shape, album_model.output["logits"].shape
        ((None, None, 8, 8, 3), (None, 2))
    """
    shape = product_shape(photographs)
    if not shape.is_embedder:
        raise InputError(
            f"`photographs` {photographs.name!r} returns {', '.join(shape.outputs)}; give a model "
            "of one vector (batch, dim)."
        )
    (dim,) = shape.outputs[EMBEDDING]
    takes = classifier.input["vectors"].shape[-1] if isinstance(classifier.input, dict) else None
    if takes != dim:
        raise InputError(
            f"`classifier` {classifier.name!r} takes vectors of width {takes}, and `photographs` "
            f"{photographs.name!r} returns {dim}; give models that fit each other."
        )
    if isinstance(photographs.output, dict | list):
        vector = (by_name(photographs.output) or {})[EMBEDDING]
        photographs = keras.Model(photographs.inputs[0], vector, name=photographs.name)
    inputs = {
        "image": keras.Input((None, *photographs.input_shape[1:]), name="image"),
        "mask": keras.Input((None,), name="mask"),
    }
    vectors = EachPhotograph(photographs, name=_PHOTOGRAPHS)(inputs["image"])
    inner = keras.Model(classifier.input, classifier.output, name=_ALBUM)
    outputs = inner({"vectors": vectors, "mask": inputs["mask"]})
    return keras.Model(inputs, outputs, name=name)


@dataclass(frozen=True)
class AlbumParts:
    """The parts of an album classifier.

    Attributes:
        photographs: From images to vectors; `None` if it takes vectors.
        classifier: From `vectors` and `mask` to the outputs.
    """

    photographs: keras.Model | None
    classifier: keras.Model

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(self.classifier.input["vectors"].shape[-1])


def album_parts(model: keras.Model) -> AlbumParts | None:
    """Takes an album classifier apart, so that each photograph is looked at once.

    Args:
        model: A model of `build_album_model` or `build_album_classifier`; it may have been saved
            and loaded.

    Returns:
        Its parts, which share its weights; `None` if it is something else.
    """
    names = set(model.input) if isinstance(getattr(model, "input", None), dict) else set()
    if names == {"vectors", "mask"}:
        return AlbumParts(None, model)
    if names == {"image", "mask"}:
        return AlbumParts(model.get_layer(_PHOTOGRAPHS).model, model.get_layer(_ALBUM))
    return None
