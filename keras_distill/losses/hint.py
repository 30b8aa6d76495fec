"""Hint layers: the student's inner layers should predict the teacher's."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from keras_distill.errors import InputError
from keras_distill.losses.attention_maps import adaptive_average_pool
from keras_distill.losses.feature_loss import FeatureLoss


@keras.saving.register_keras_serializable("keras_distill")
class Hint(FeatureLoss):
    """Mean squared error of a regressor that predicts the teacher's feature map from the student's.

    `L = mean (r(f^S) - f^T)^2` over images, places and channels, summed over the pairs (Romero et
    al., "FitNets", ICLR 2015, in the form of RepDistiller, whose weight is 100). The regressor `r`
    is a convolution, batch normalisation and ReLU; it is trained with the student but not part of
    it. It sizes itself: 3 x 3 with stride 2 if the student's map is twice as high as the teacher's,
    4 x 4 transposed with stride 2 if it is half as high, a valid convolution of the difference plus
    1 if it is at most twice as high otherwise (1 x 1 for equal maps); any other map is first
    average-pooled or interpolated to the teacher's size. The regressor that "Learning Metrics from
    Teachers" uses is not known.

    Args:
        pairs: Pairs `(teacher's layer, student's layer)`, such as those of `matching_stages`.
        name: Name under which the value is reported.
        shapes: Shapes of each pair's maps, once they are known; kept for saving.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[str, str]],
        name: str = "hint",
        shapes: Sequence[Sequence[Sequence[int | None]]] = (),
    ):
        super().__init__(pairs, name=name)
        self.shapes = [(tuple(teacher), tuple(student)) for teacher, student in shapes]
        self.regressors = self._regressors()

    def build(
        self,
        teacher_shapes: Mapping[str, tuple[int | None, ...]],
        student_shapes: Mapping[str, tuple[int | None, ...]],
    ) -> list[keras.Layer]:
        """Makes the regressors; see the base class."""
        if not self.shapes:
            if missing := [t for t, _ in self.pairs if t not in teacher_shapes]:
                raise ValueError(
                    f"{self.name}: the shape of the teacher's layer {missing[0]!r} is not known; "
                    "give `teacher`, or Hint(shapes=...)."
                )
            self.shapes = [(teacher_shapes[t], student_shapes[s]) for t, s in self.pairs]
            self.regressors = self._regressors()
        return list(self.regressors)

    def _regressors(self) -> list[keras.Model]:
        return [
            _regressor(student, teacher, f"{self.name}_regressor_{i}")
            for i, (teacher, student) in enumerate(self.shapes)
        ]

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "shapes": self.shapes}

    def pair_loss(self, pair: int, teacher_map: Any, student_map: Any, training: bool) -> Any:
        """Computes the loss of each image on one pair; see the base class."""
        regression = self.regressors[pair](student_map, training=training)
        shapes = zip(regression.shape[1:], teacher_map.shape[1:], strict=True)
        if any(r != t for r, t in shapes if None not in (r, t)):  # it might be broadcast
            raise ValueError(
                f"{self.name}: the teacher's map of {self.pairs[pair][0]!r} is "
                f"{tuple(teacher_map.shape)}; the regressor was made for {self.shapes[pair][0]}."
            )
        return ops.mean(ops.square(regression - teacher_map), axis=(1, 2, 3))


def _regressor(
    student: tuple[int | None, ...], teacher: tuple[int | None, ...], name: str
) -> keras.Model:
    student_size = [size for size in student[1:3] if size is not None]
    size = [size for size in teacher[1:3] if size is not None]
    if len(student_size) < 2 or len(size) < 2:
        raise InputError(
            f"{name}: maps of {teacher} and {student}; hint layers need images of a fixed size."
        )
    channels = teacher[3]
    options = {"use_bias": False, "dtype": "float32"}
    larger = [s - t for s, t in zip(student_size, size, strict=True)]
    features = x = keras.Input(student[1:], dtype="float32")
    if student_size == [2 * size[0], 2 * size[1]]:
        x = keras.layers.Conv2D(channels, 3, strides=2, padding="same", **options)(x)
    elif [2 * student_size[0], 2 * student_size[1]] == size:
        x = keras.layers.Conv2DTranspose(channels, 4, strides=2, padding="same", **options)(x)
    elif all(0 <= extra <= side for extra, side in zip(larger, size, strict=True)):
        x = keras.layers.Conv2D(channels, (larger[0] + 1, larger[1] + 1), **options)(x)
    else:
        if min(larger) >= 0:
            x = adaptive_average_pool(x, size)
        else:
            x = keras.layers.Resizing(*size, dtype="float32")(x)
        x = keras.layers.Conv2D(channels, 1, **options)(x)
    x = keras.layers.BatchNormalization(dtype="float32")(x)
    return keras.Model(features, keras.layers.ReLU(dtype="float32")(x), name=name)
