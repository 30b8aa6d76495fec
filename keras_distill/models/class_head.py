"""Head of a classifier by itself, to be shared with another model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_distill.errors import InputError
from keras_distill.models.cosine_head import CosineHead
from keras_distill.models.label_names import LOGITS, LabelNames, find_labels
from keras_distill.models.product import by_name
from keras_distill.publishing import published_file

#: File of the class vectors that a run of an embedder keeps next to its student.
CLASS_HEAD = "class_head.npz"


@dataclass(frozen=True, eq=False)
class ClassHead:
    """A classifier's last layer: from features of an image to a logit for each class.

    Attributes:
        kernel: float32 `(width, classes)`.
        bias: float32 `(classes,)`; `None` for none.
        scale: Factor of the cosines of features and columns; `None` for a linear head.
        names: Names of the classes, in the order of the logits; `None` if they are not known.
    """

    kernel: np.ndarray
    bias: np.ndarray | None = None
    scale: float | None = None
    names: tuple[str, ...] | None = None

    @property
    def width(self) -> int:
        """Width of the features that it takes."""
        return int(self.kernel.shape[0])

    def of_classes(self, names: Sequence[str]) -> "ClassHead":
        """Returns the head of some of the classes, in the given order.

        Args:
            names: Names of the classes.

        Returns:
            The head. If it has no names, it is taken to have these, in this order.

        Raises:
            InputError: If it lacks one of them, or has another number of classes and no names.
        """
        names = tuple(names)
        if self.names is None:
            if self.kernel.shape[1] != len(names):
                raise InputError(
                    f"`head` has {self.kernel.shape[1]} classes without names, not {len(names)}; "
                    "give a model with the names of its classes, such as one of build_classifier."
                )
            return replace(self, names=names)
        place = {name: column for column, name in enumerate(self.names)}
        if missing := [name for name in names if name not in place]:
            raise InputError(
                f"`head` lacks {len(missing)} of {len(names)} classes, such as {missing[0]!r}."
            )
        columns = [place[name] for name in names]
        bias = None if self.bias is None else self.bias[columns]
        return replace(self, kernel=self.kernel[:, columns], bias=bias, names=names)

    def layer(self, name: str = "head") -> keras.layers.Layer:
        """Makes a frozen layer of it.

        Args:
            name: Name of the layer.

        Returns:
            A `Dense` layer or a `CosineHead`, built.
        """
        classes = self.kernel.shape[1]
        made: Any = (
            keras.layers.Dense(classes, dtype="float32", name=name)
            if self.scale is None
            else CosineHead(classes, self.scale, name=name)
        )
        made.build((None, self.width))
        self.put_into(made)
        return made

    def put_into(self, layer: Any) -> None:
        """Puts the weights into the last layer of a classifier, and freezes it.

        Args:
            layer: A `Dense` layer or a `CosineHead`, built.

        Raises:
            InputError: If the layer is of another kind or shape.
        """
        scale = layer.scale if isinstance(layer, CosineHead) else None
        if tuple(layer.kernel.shape) != self.kernel.shape or scale != self.scale:
            kind = "linear" if self.scale is None else f"of cosines times {self.scale:g}"
            raise InputError(
                f"`head` is {kind}, from {self.kernel.shape[0]} features to {self.kernel.shape[1]} "
                f"classes, and does not fit a layer from {layer.kernel.shape[0]} to "
                f"{layer.kernel.shape[1]}" + ("." if scale is None else f", times {scale:g}.")
            )
        layer.kernel.assign(self.kernel)
        if getattr(layer, "bias", None) is not None:
            layer.bias.assign(np.zeros(layer.bias.shape) if self.bias is None else self.bias)
        layer.trainable = False

    def save(self, path: str | Path) -> None:
        """Writes the head into an `.npz` file with `kernel`, and `bias`, `scale` and `names`.

        Args:
            path: The file.
        """
        values = {
            "kernel": self.kernel,
            "bias": self.bias,
            "scale": self.scale,
            "names": None if self.names is None else np.array(self.names),
        }
        stored: dict[str, Any] = {k: np.asarray(v) for k, v in values.items() if v is not None}
        with published_file(Path(path)) as temporary, temporary.open("wb") as file:
            np.savez(file, **stored)


def load_class_head(path: str | Path) -> ClassHead:
    """Reads a file of `ClassHead.save`.

    Args:
        path: The file.

    Returns:
        The head.

    Raises:
        InputError: If it cannot be read, or is something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            stored = {name: file[name] for name in file.files}
        names = tuple(map(str, stored["names"])) if "names" in stored else None
        scale = float(stored["scale"]) if "scale" in stored else None
        kernel = stored["kernel"].astype(np.float32)
        if kernel.ndim != 2 or (names is not None and len(names) != kernel.shape[1]):
            raise ValueError(f"its kernel has the shape {kernel.shape}")
        return ClassHead(kernel, stored.get("bias"), scale, names)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"`path={str(path)!r}` is no head of a classifier ({error}); give the class_head.npz "
            "of a run."
        ) from error


def split_head(model: keras.Model) -> tuple[keras.Model, ClassHead]:
    """Splits a classifier into what makes its features, and its head.

    Args:
        model: A functional or sequential model that ends with a `Dense` layer without activation or
            with a `CosineHead`: its output `logits`, or its only one.

    Returns:
        The model from images to features `(batch, width)`, which shares its layers, and a copy of
        the head.

    Raises:
        InputError: If it ends otherwise.

    Example:
        >>> from keras_distill import build_classifier
        >>> classifier = build_classifier(
        ...     ["cat", "dog"], "mobilenet", alpha=0.25, image_size=32, backbone_weights="none"
        ... )
        >>> features, head = split_head(classifier)
        >>> features.output_shape, head.kernel.shape, head.names
        ((None, 256), (256, 2), ('cat', 'dog'))
    """
    outputs = _outputs(model)
    tensor = outputs.get(LOGITS, next(iter(outputs.values())) if len(outputs) == 1 else None)
    if tensor is None:
        raise InputError(
            f"`model` {model.name!r} returns {', '.join(outputs) or 'no vectors'}, and no "
            "'logits'; give a classifier of images of one class each."
        )
    features, layer = _split(model, tensor)
    names = find_labels(model)
    head = ClassHead(
        np.asarray(layer.kernel, np.float32),
        np.asarray(layer.bias, np.float32) if getattr(layer, "bias", None) is not None else None,
        layer.scale if isinstance(layer, CosineHead) else None,
        None if names is None else names.names,
    )
    return keras.Model(model.inputs[0], features, name=f"{model.name}_features"), head


def head_layer(model: keras.Model) -> Any:
    """Returns the last layer of a classifier; arguments and errors as of `split_head`."""
    outputs = _outputs(model)
    return _split(model, outputs.get(LOGITS, next(iter(outputs.values()))))[1]


def _split(model: keras.Model, tensor: Any) -> tuple[Any, Any]:
    """The features that a tensor of logits is computed from, and the layer that does it."""
    makers = (each for each in reversed(model.layers) if _graph(each, "output") is tensor)
    layer = next(makers, None)
    if isinstance(layer, LabelNames):
        return _split(model, layer.input)
    if isinstance(layer, CosineHead):
        return layer.input, layer
    if isinstance(layer, keras.layers.Dense) and layer.activation is keras.activations.linear:
        return layer.input, layer
    if isinstance(layer, keras.Model) and len(layer.inputs) == 1:
        inner = _outputs(layer)
        if len(inner) == 1:
            features, head = _split(layer, next(iter(inner.values())))
            own = keras.Model(layer.inputs[0], features, name=f"{layer.name}_features")
            return own(_graph(layer, "input")), head
    last = "an operation" if layer is None else f"the {type(layer).__name__} {layer.name!r}"
    raise InputError(
        f"`model` {model.name!r} ends with {last}, not with a Dense layer without activation, "
        "whose matrix could be shared; give a model that returns logits."
    )


def _outputs(model: keras.Model) -> dict[str, Any]:
    """The outputs of a model by name; a Sequential one that nobody has called has no `output`."""
    if not getattr(model, "inputs", None):
        raise InputError(f"`model` {model.name!r} must be functional or sequential, and built.")
    return by_name(model.outputs if isinstance(model, keras.Sequential) else model.output) or {}


def _graph(layer: keras.Layer, side: str) -> Any:
    """The input or output of a layer in the outer graph; a model's own are of its inner graph."""
    try:
        return getattr(keras.Operation, side).fget(layer)
    except (AttributeError, ValueError):
        return None
