"""Product: a model of images with named outputs of floats."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras

from keras_distill.errors import InputError
from keras_distill.models.loading import EMBEDDING as EMBEDDING
from keras_distill.models.loading import input_size


@dataclass(frozen=True)
class ProductShape:
    """What a product takes and returns.

    Attributes:
        image_size: Height and width of its images, in pixels; `None` if any will do.
        outputs: Its outputs by name, and the shape of a row, which is one image's.
    """

    image_size: int | None
    outputs: Mapping[str, tuple[int, ...]]

    @property
    def is_embedder(self) -> bool:
        """Whether embeddings are its only output."""
        return set(self.outputs) == {EMBEDDING}


def product_shape(model: keras.Model) -> ProductShape:
    """Checks that a model maps square images to named outputs of floats.

    Args:
        model: A functional model that returns a dict of outputs by name, each with a row for each
            image; or a single vector, which is its `embedding`.

    Returns:
        What it takes and returns.

    Raises:
        InputError: If it has other inputs or outputs.

    Example:
        >>> image = keras.Input((8, 8, 3))
        >>> pooled = keras.layers.GlobalAveragePooling2D()(image)
        >>> product_shape(keras.Model(image, {"logits": keras.layers.Dense(5)(pooled)}))
        ProductShape(image_size=8, outputs={'logits': (5,)})
    """
    size = input_size(model)
    named = by_name(model.output)
    if named is None:
        raise InputError(
            f"`model` {model.name!r} returns {model.output_shape}; it must return one vector, "
            "(batch, dim), which is its embedding, or a dict of outputs by name, such as "
            "{'logits': …}."
        )
    return ProductShape(size, {name: _row(name, tensor) for name, tensor in sorted(named.items())})


def by_name(answer: Any) -> dict[str, Any] | None:
    """Returns the outputs of a model by name; `None` if they have no names.

    Args:
        answer: What it returns: tensors or symbolic tensors.
    """
    if isinstance(answer, list | tuple) and len(answer) == 1:
        (answer,) = answer
    if isinstance(answer, dict):
        return answer or None
    return {EMBEDDING: answer} if len(getattr(answer, "shape", ())) == 2 else None


def _row(name: Any, tensor: Any) -> tuple[int, ...]:
    if not isinstance(name, str) or not name.isidentifier():
        raise InputError(f"`model` has an output {name!r}; its name must be an identifier.")
    if not keras.backend.is_float_dtype(tensor.dtype):
        raise InputError(f"`model` has an output {name!r} of {tensor.dtype}; it must be of floats.")
    shape = tuple(tensor.shape)
    if not shape or shape[0] is not None or None in shape[1:]:
        raise InputError(
            f"`model` has an output {name!r} of shape {shape}; it must begin with an open batch "
            "dimension, and all others must be known."
        )
    if name == EMBEDDING and len(shape) != 2:
        raise InputError(f"`model` has an output 'embedding' of shape {shape}, not (batch, dim).")
    return shape[1:]
