"""Word space: several vectors for each image, in the space of word vectors."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_distill.errors import InputError
from keras_distill.models.label_names import LOGITS, LabelNames, checked_names
from keras_distill.models.pooled_features import image_input_like, pooled_features
from keras_distill.models.product import by_name

#: Name of the output of a model of `build_word_space`.
WORDS = "words"


def build_word_space(
    rows: int = 2,
    word_dim: int = 300,
    backbone: str | keras.Model = "mobilenet",
    *,
    image_size: int | None = None,
    alpha: float = 1.0,
    backbone_weights: str = "imagenet",
    backbone_layer: str = "",
    dropout: float = 0.0,
    name: str = "word_space",
) -> keras.Model:
    """Builds preprocessing + backbone + average pooling + dropout + linear map into word space.

    An image is described by `rows` vectors, so that labels of different meaning can each be close
    to one of them. The score of a label is that of its closest row; see `word_scores`. Labels that
    were not seen in training are scored by their word vectors alike: `build_word_classifier`.

    Args:
        rows: Vectors for each image, k; the paper has 2 for COCO and 7 for NUS-WIDE.
        word_dim: Width of the word vectors, d.
        backbone: As of `build_classifier`, like all other arguments.
        image_size: As there.
        alpha: As there.
        backbone_weights: As there.
        backbone_layer: As there.
        dropout: As there.
        name: Name of the model.

    Returns:
        A functional model from `image` to the output `words`, `(batch, rows, word_dim)`, float32
        under every dtype policy. Its layer `head` is a `Dense` without bias, of which column
        `r * word_dim + e` is entry `e` of row `r`. The published PyTorch code has it transposed,
        `e * rows + r`: reshape its columns to `(word_dim, rows)` and transpose them.

    Raises:
        InputError: If an argument is unknown or does not fit the others.

    Example:
        >>> model = build_word_space(
        ...     2, 50, "mobilenet", alpha=0.25, image_size=64, backbone_weights="none"
        ... )
        >>> {name: tensor.shape for name, tensor in model.output.items()}
        {'words': (None, 2, 50)}
    """
    for argument, value in (("rows", rows), ("word_dim", word_dim)):
        if value < 1:
            raise InputError(f"`{argument}={value}` must be positive.")
    image, x = pooled_features(
        backbone,
        image_size=image_size,
        alpha=alpha,
        backbone_weights=backbone_weights,
        backbone_layer=backbone_layer,
        dropout=dropout,
    )
    x = keras.layers.Dense(rows * word_dim, use_bias=False, dtype="float32", name="head")(x)
    words = keras.layers.Reshape((rows, word_dim), dtype="float32", name=WORDS)(x)
    return keras.Model(image, {WORDS: words}, name=name)


def word_scores(words: Any, vectors: Any) -> Any:
    """Scores labels by their word vectors: `s_c = max_r <A_r, u_c>`.

    Args:
        words: Rows `A` of each image, `(batch, k, d)`, the output `words`.
        vectors: Word vectors `u`, `(labels, d)`; see `load_word_vectors`.

    Returns:
        float32 `(batch, labels)`. Only their order within an image is trained by a ranking loss:
        0 is no boundary between present and absent.

    Example:
        >>> words = [[[1.0, 0.0], [0.0, 2.0]]]
        >>> word_scores(words, [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]).numpy().tolist()
        [[1.0, 2.0, 0.0]]
    """
    words, vectors = (ops.cast(ops.convert_to_tensor(x), "float32") for x in (words, vectors))
    return ops.max(ops.matmul(words, ops.transpose(vectors)), axis=1)


def build_word_classifier(
    model: keras.Model, labels: Sequence[str], vectors: Any, *, name: str = "word_classifier"
) -> keras.Model:
    """Turns a model of word space into a classifier of any labels, seen in training or not.

    Args:
        model: A model of `build_word_space`, which the result shares its weights with.
        labels: Name of each label.
        vectors: Their word vectors, `(len(labels), d)`, which become weights that are not trained.
        name: Name of the model.

    Returns:
        A functional model from `image` to the output `logits`, `(batch, len(labels))`, float32: the
        scores of `word_scores`. It is saved, exported and served as that of `build_classifier`.

    Raises:
        InputError: If the model has no output `words`, or the vectors do not fit it or the labels.

    Example:
        >>> import numpy as np
        >>> model = build_word_space(
        ...     2, 3, "mobilenet", alpha=0.25, image_size=32, backbone_weights="none"
        ... )
        >>> build_word_classifier(model, ["cat", "dog"], np.eye(2, 3)).output["logits"].shape
        (None, 2)
    """
    names = checked_names(labels)
    outputs = by_name(model.output) or {}
    if WORDS not in outputs:
        raise InputError(
            f"`model` {model.name!r} returns {', '.join(outputs) or model.output_shape}, and no "
            "'words'; give a model of build_word_space()."
        )
    table = np.asarray(vectors, np.float32)
    width = outputs[WORDS].shape[-1]
    if table.shape != (len(names), width):
        raise InputError(
            f"`vectors` of shape {table.shape} do not fit {len(names)} labels and a word space of "
            f"width {width}; give {(len(names), width)}."
        )
    image = image_input_like(model)
    head = keras.layers.Dense(
        len(names), use_bias=False, trainable=False, dtype="float32", name="word_vectors"
    )
    scores = ops.max(head(model(image)[WORDS]), axis=1)
    head.set_weights([table.T])
    return keras.Model(image, {LOGITS: LabelNames(names)(scores)}, name=name)
