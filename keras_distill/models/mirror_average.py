"""Mirror averaging: one vector from an image and its mirror image."""

import keras
from keras import ops

from keras_distill.errors import InputError
from keras_distill.models.keras_internals import all_layers
from keras_distill.models.product import EMBEDDING, by_name, product_shape
from keras_distill.models.unit_norm import unit_norm

# Name of the inner model by which a mirror-averaged model is known, also when it is loaded.
_MEAN = "mirror_mean"


def mirror_averaged(model: keras.Model) -> keras.Model:
    """Averages the embeddings of each image and its mirror image.

    `f(x) = (e(x) + e(m(x))) / |e(x) + e(m(x))|`, where `e` is the embedder and `m` turns left and
    right around. An image and its mirror image so have the same vector. It needs no training, and
    twice the time: the embedder runs on both views, one batch after the other, with the same
    weights. The sum is in float32; where the two vectors are opposite, the result is zero.

    Args:
        model: An embedder, which the result shares its weights with.

    Returns:
        A functional model of the same input, from `image` to float32 vectors of length 1, whatever
        the length of the embedder's own. It adds Keras' own operations alone, so it is saved,
        loaded and exported as the embedder is.

    Raises:
        InputError: If the model has other outputs, or averages mirror images already.

    Example:
        >>> student = build_embedder(
        ...     "mobilenet", alpha=0.25, image_size=32, embedding_dim=8, backbone_weights="none"
        ... )
        >>> mirror_averaged(student).output_shape
        (None, 8)
    """
    if is_mirror_averaged(model):
        raise InputError(
            f"`model` {model.name!r} averages mirror images already; use it as it is, "
            "without `mirror`."
        )
    product = product_shape(model)
    if not product.is_embedder:
        raise InputError(
            f"`model` {model.name!r} returns {', '.join(product.outputs)}; only a model of one "
            "embedding can be averaged over mirror images."
        )
    dtype = model.inputs[0].dtype
    image = keras.Input(batch_shape=model.inputs[0].shape, dtype=dtype, name="image")
    # Two calls: on CPUs they take the time of one with both views in a batch, or less.
    views = (image, ops.flip(image, axis=2))
    vectors = [(by_name(model(view)) or {})[EMBEDDING] for view in views]
    mean = _mirror_mean(product.outputs[EMBEDDING][0])(vectors)
    return keras.Model(image, mean, name=model.name)


def is_mirror_averaged(model: keras.Model) -> bool:
    """Tells whether a model, or one within it, was made by `mirror_averaged`.

    Args:
        model: The model; it may have been saved and loaded.
    """
    return any(layer.name == _MEAN for layer in all_layers(model, include_self=False))


def _mirror_mean(dim: int) -> keras.Model:
    """The normalised mean of two vectors, which is their normalised sum."""
    vectors = [keras.Input((dim,), name=name) for name in ("vector", "mirrored")]
    total = ops.add(*(ops.cast(vector, "float32") for vector in vectors))
    return keras.Model(vectors, unit_norm(dim)(total), name=_MEAN)
