"""Mirror averaging: one answer from an image and its mirror image."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from keras_distill.errors import InputError
from keras_distill.models.keras_internals import all_layers
from keras_distill.models.label_names import LOGITS, LabelNames, find_labels
from keras_distill.models.product import EMBEDDING, by_name, product_shape
from keras_distill.models.unit_norm import unit_norm
from keras_distill.models.word_space import WORDS

# Name of the inner model by which a mirror-averaged model is known, also when it is loaded.
_MEAN = "mirror_mean"
# Outputs that do not change when an image is mirrored; those of a map would have to be mirrored.
_AVERAGED = (EMBEDDING, LOGITS, WORDS)
_VIEWS = ("_of_image", "_of_mirror_image")


def mirror_averaged(model: keras.Model) -> keras.Model:
    """Averages what a model returns for each image and its mirror image.

    Logits and words are averaged as they are, embeddings with length 1 again:
    `f(x) = (e(x) + e(m(x))) / |e(x) + e(m(x))|`, where `e` is the embedder and `m` turns left and
    right around. An image and its mirror image so have the same vector. It needs no training, and
    twice the time: the embedder runs on both views, one batch after the other, with the same
    weights. The sum is in float32; where the two vectors are opposite, the result is zero.

    Args:
        model: An embedder, or a model of `logits` or `words`, which the result shares its weights
            with.

    Returns:
        A functional model of the same input, from `image` to float32 vectors of length 1, whatever
        the length of the embedder's own; or, where the outputs have names, to these, with the names
        of the labels and their thresholds. To an embedder it adds Keras' own operations alone, so
        it is saved, loaded and exported as the embedder is.

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
    if others := [name for name in product.outputs if name not in _AVERAGED]:
        raise InputError(
            f"`model` {model.name!r} returns {', '.join(product.outputs)}; only "
            f"{', '.join(_AVERAGED)} can be averaged over mirror images, not {others[0]}."
        )
    dtype = model.inputs[0].dtype
    image = keras.Input(batch_shape=model.inputs[0].shape, dtype=dtype, name="image")
    # Two calls: on CPUs they take the time of one with both views in a batch, or less.
    views = (image, ops.flip(image, axis=2))
    answers = [by_name(model(view)) or {} for view in views]
    if product.is_embedder:
        mean = _mirror_mean(product.outputs[EMBEDDING][0])([each[EMBEDDING] for each in answers])
        return keras.Model(image, mean, name=model.name)
    means = _mirror_means(model, product.outputs)
    inputs = {
        f"{name}{view}": values
        for view, each in zip(_VIEWS, answers, strict=True)
        for name, values in each.items()
    }
    return keras.Model(image, means(inputs), name=model.name)


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


def _mirror_means(model: keras.Model, outputs: Mapping[str, tuple[int, ...]]) -> keras.Model:
    """The means of named outputs, which keep the names of their labels."""
    inputs: dict[str, Any] = {}
    means: dict[str, Any] = {}
    for name, shape in outputs.items():
        pair = [keras.Input(shape, name=f"{name}{view}") for view in _VIEWS]
        inputs |= {each.name: each for each in pair}
        total: Any = ops.add(*(ops.cast(each, "float32") for each in pair))
        mean = unit_norm(shape[0])(total) if name == EMBEDDING else ops.multiply(total, 0.5)
        labels = find_labels(model, name)
        if labels is not None:
            mean = LabelNames.from_config(labels.get_config())(mean)
        means[name] = mean
    return keras.Model(inputs, means, name=_MEAN)
