"""Attention transfer: the student's layers should attend to the same places as the teacher's."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from keras_distill.losses.feature_loss import FeatureLoss
from keras_distill.losses.unit_rows import unit_rows


@keras.saving.register_keras_serializable("keras_distill")
class AttentionMaps(FeatureLoss):
    """Difference between the spatial attention of student and teacher.

    The attention map of an image at a layer is the mean over the channels of the squared features,
    flattened and divided by its L2 norm: `q = a / |a|`, `a = mean_c f_c^2`. For each pair of layers
    `L = mean_{i, x} (q^S_ix - q^T_ix)^2` over images and places, summed over the pairs (Zagoruyko &
    Komodakis, "Paying More Attention to Attention", ICLR 2017, in the form of RepDistiller, whose
    weight is 1000). The larger of two maps is average-pooled to the smaller before it is squared.
    The norm that "Learning Metrics from Teachers" uses is not known.

    Args:
        pairs: Pairs `(teacher's layer, student's layer)`, such as those of `matching_stages`.
        name: Name under which the value is reported.

    Example:
        >>> import numpy as np
        >>> loss = AttentionMaps([("trunk", "trunk")])
        >>> left, right = np.zeros((1, 1, 2, 3)), np.zeros((1, 1, 2, 5))
        >>> left[0, 0, 0], right[0, 0, 1] = 1.0, 2.0
        >>> (
        ...     float(loss({"trunk": left}, {"trunk": left})),
        ...     float(loss({"trunk": left}, {"trunk": right})),
        ... )
        (0.0, 1.0)
    """

    def __init__(self, pairs: Sequence[tuple[str, str]], name: str = "attention"):
        super().__init__(pairs, name=name)

    def energy_sizes(
        self,
        teacher_shapes: Mapping[str, tuple[int | None, ...]],
        student_shapes: Mapping[str, tuple[int | None, ...]],
    ) -> dict[str, tuple[int, int] | None]:
        """Returns the size of the smaller map, whose energy is enough; see the base class."""
        sizes: dict[str, tuple[int, int] | None] = {}
        for teacher, student in self.pairs:
            sides = (*teacher_shapes[teacher][1:3], *student_shapes[student][1:3])
            known = [side for side in sides if side is not None]
            size = (min(known[::2]), min(known[1::2])) if len(known) == 4 else None
            sizes[teacher] = size if sizes.get(teacher, size) == size else None
        return sizes

    def pair_loss(self, pair: int, teacher_map: Any, student_map: Any, training: bool) -> Any:
        """Computes the loss of each image on one pair; see the base class."""
        size = [min(t, s) for t, s in zip(teacher_map.shape[1:3], student_map.shape[1:3])]  # noqa: B905
        difference = _attention(student_map, size) - _attention(teacher_map, size)
        return ops.mean(ops.square(difference), axis=-1)


def _attention(features: Any, size: Sequence[int]) -> Any:
    features = adaptive_average_pool(features, size)
    return unit_rows(ops.reshape(ops.mean(ops.square(features), axis=-1), (-1, size[0] * size[1])))


def attention_energy(features: Any, size: Sequence[int]) -> Any:
    """Reduces a map to one channel that has the same attention map.

    Args:
        features: Tensor `(batch, h, w, channels)`.
        size: Height and width of the result, at most those of `features`.

    Returns:
        Tensor `(batch, *size, 1)`: the root of the mean square over the channels, after average
        pooling.

    Example:
        >>> energy = attention_energy(ops.convert_to_tensor([[[[3.0, -4.0]]]]), (1, 1))
        >>> round(float(energy[0, 0, 0, 0]) ** 2, 3)
        12.5
    """
    squares = ops.square(adaptive_average_pool(features, size))
    return ops.sqrt(ops.mean(squares, axis=-1, keepdims=True))


def adaptive_average_pool(features: Any, size: Sequence[int]) -> Any:
    """Averages a map over as many windows as a smaller map has places, as torch does.

    Args:
        features: Tensor `(batch, h, w, channels)`.
        size: Height and width of the result, at most those of `features`.

    Returns:
        Tensor `(batch, *size, channels)`; window `i` of `n` reaches from `floor(i h / n)` to
        `ceil((i + 1) h / n)`.
    """
    for axis, target in zip((1, 2), size, strict=True):
        length = features.shape[axis]
        if length == target:
            continue
        windows = [
            ops.mean(
                ops.take(
                    features, range(i * length // target, -(-(i + 1) * length // target)), axis
                ),
                axis=axis,
                keepdims=True,
            )
            for i in range(target)
        ]
        features = ops.concatenate(windows, axis=axis)
    return features
