"""Layers within a model, also those of models within it, by name or path."""

from collections.abc import Iterable, Iterator

import keras

from keras_distill.errors import InputError

_MOST_NAMES = 20  # in an error message


def layer_paths(model: keras.Model) -> dict[str, keras.Layer]:
    """Lists the layers whose output is a vector or a feature map, by their paths.

    Args:
        model: A functional or sequential model.

    Returns:
        The layers in their order; the path of `conv1` in the model `trunk` is `trunk/conv1`.
    """
    return dict(_walk(model, ""))


def find_path(model: keras.Model, layer: str, *, maps_only: bool = False) -> str:
    """Finds the path of a layer.

    Args:
        model: A functional or sequential model.
        layer: Name of the layer, or its path.
        maps_only: Whether the output has to be a feature map, not a vector.

    Returns:
        The path, a key of `layer_paths(model)`.

    Raises:
        InputError: If no such layer has this name, or several have.
    """
    paths = [
        path
        for path, found in layer_paths(model).items()
        if not maps_only or len(found.output.shape) == 4
    ]
    chosen = [layer] if layer in paths else [p for p in paths if p.endswith(f"/{layer}")]
    if not chosen:
        names = paths[-_MOST_NAMES:]
        raise InputError(
            f"`layer={layer!r}` is not a layer of `model` {model.name!r} with a "
            f"{'' if maps_only else 'vector or a '}feature map; "
            f"{'its last ones' if len(names) < len(paths) else 'these'} are "
            f"{', '.join(names) or 'none'}."
        )
    if len(chosen) > 1:
        raise InputError(
            f"`layer={layer!r}` is ambiguous in `model` {model.name!r}; give one of "
            f"{', '.join(chosen[:_MOST_NAMES])}."
        )
    return chosen[0]


def map_layers(model: keras.Model, names: Iterable[str]) -> dict[str, keras.Layer]:
    """Finds layers whose output is a feature map.

    Args:
        model: A functional or sequential model.
        names: Names of layers, or their paths.

    Returns:
        The layers by name.

    Raises:
        InputError: As `find_path`.
    """
    paths = layer_paths(model)
    return {name: paths[find_path(model, name, maps_only=True)] for name in names}


def stage_ends(model: keras.Model) -> dict[int, str]:
    """Finds where the stages of a convolutional network end.

    A stage is a run of layers of one resolution. Layers of different networks correspond by the
    stride of their stages, whatever their names and their number.

    Args:
        model: A functional or sequential model on images of a fixed size.

    Returns:
        The path of the last layer of each stage, by the stage's stride (4 for a map of a quarter of
        the image's height), ascending.
    """
    size = model.input_shape[1]
    ends: dict[int, str] = {}
    for path, layer in layer_paths(model).items():
        shape = layer.output.shape
        # Padding makes a map of its own size that belongs to no stage.
        if len(shape) != 4 or isinstance(layer, (keras.layers.ZeroPadding2D, keras.Model)):
            continue
        stride = round(size / shape[1]) if size and shape[1] else 0
        if stride > 1 and stride & (stride - 1) == 0:
            # A coarser map was a branch that has been merged, such as squeeze-and-excitation.
            ends = {s: end for s, end in ends.items() if s < stride}
            ends[stride] = path
    return ends


def matching_stages(teacher: keras.Model, student: keras.Model) -> list[tuple[str, str]]:
    """Pairs the ends of the stages of two networks that work at the same stride.

    Args:
        teacher: A functional or sequential model on images of a fixed size.
        student: Another one.

    Returns:
        Pairs `(teacher's layer, student's layer)` from the finest stride to the coarsest.

    Raises:
        InputError: If they have no stride in common.
    """
    of_teacher, of_student = stage_ends(teacher), stage_ends(student)
    pairs = [(of_teacher[s], of_student[s]) for s in of_teacher if s in of_student]
    if not pairs:
        raise InputError(
            f"`teacher` {teacher.name!r} has stages of stride {[*of_teacher]}, `student` "
            f"{student.name!r} of {[*of_student]}: none in common; name the layers to compare."
        )
    return pairs


def _walk(model: keras.Model, prefix: str) -> Iterator[tuple[str, keras.Layer]]:
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        output = getattr(layer, "output", None)
        if len(getattr(output, "shape", ())) in (2, 4):
            yield prefix + layer.name, layer
        if getattr(layer, "inputs", None):  # an inner model that is not subclassed
            yield from _walk(layer, f"{prefix}{layer.name}/")
