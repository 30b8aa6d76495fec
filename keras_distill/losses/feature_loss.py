"""Base class of the losses that compare feature maps of student and teacher."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops


class FeatureLoss(keras.losses.Loss):
    """Base class of the losses on pairs of inner layers.

    A subclass implements `pair_loss` for one pair; the loss is the sum over the pairs. Everything
    is computed in float32 whatever the dtype policy, and no gradient flows into the teacher.

    Args:
        pairs: Pairs `(teacher's layer, student's layer)`, by name or path; see `find_path`.
        name: Name under which the value is reported.

    Raises:
        ValueError: If there are no pairs.
    """

    def __init__(self, pairs: Sequence[tuple[str, str]], name: str | None = None):
        super().__init__(name=name, reduction="none", dtype="float32")
        if not pairs:
            raise ValueError(
                f"{self.name}: `pairs={pairs!r}` is empty; name a layer of each model."
            )
        self.pairs = tuple((str(teacher), str(student)) for teacher, student in pairs)

    @property
    def teacher_layers(self) -> list[str]:
        """The teacher's layers, each once."""
        return list(dict.fromkeys(teacher for teacher, _ in self.pairs))

    @property
    def student_layers(self) -> list[str]:
        """The student's layers, each once."""
        return list(dict.fromkeys(student for _, student in self.pairs))

    def build(
        self,
        teacher_shapes: Mapping[str, tuple[int | None, ...]],
        student_shapes: Mapping[str, tuple[int | None, ...]],
    ) -> list[keras.Layer]:
        """Builds the layers that are trained with the student and dropped afterwards.

        Args:
            teacher_shapes: Shapes `(None, h, w, channels)` of the teacher's layers.
            student_shapes: Shapes of the student's layers.

        Returns:
            The layers; none, unless a subclass needs some.
        """
        return []

    def energy_sizes(
        self,
        teacher_shapes: Mapping[str, tuple[int | None, ...]],
        student_shapes: Mapping[str, tuple[int | None, ...]],
    ) -> dict[str, tuple[int, int] | None]:
        """Returns the sizes to which the teacher's maps may be reduced in a cache.

        Args:
            teacher_shapes: Shapes `(None, h, w, channels)` of the teacher's layers.
            student_shapes: Shapes of the student's layers.

        Returns:
            For each of the teacher's layers the height and width of the `attention_energy` that
            can take its place, or `None` if the whole map is needed.
        """
        return dict.fromkeys(self.teacher_layers)

    def __call__(
        self,
        teacher_maps: Mapping[str, Any],
        student_maps: Mapping[str, Any],
        sample_weight: Any = None,
        training: bool = False,
    ) -> Any:
        """Computes the loss of one batch.

        Args:
            teacher_maps: Tensors `(batch, h, w, channels)` by layer.
            student_maps: Tensors of the student's layers.
            sample_weight: Optional tensor `(batch,)`.
            training: Whether the student trains.

        Returns:
            Scalar float32 tensor.
        """
        with keras.name_scope(self.name):
            total = ops.zeros((), "float32")
            for i, (teacher, student) in enumerate(self.pairs):
                losses = self.pair_loss(
                    i,
                    ops.stop_gradient(ops.cast(teacher_maps[teacher], "float32")),
                    ops.cast(student_maps[student], "float32"),
                    training,
                )
                if sample_weight is not None:
                    losses *= ops.cast(ops.reshape(sample_weight, (-1,)), "float32")
                # A replica may have no rows of the last batch.
                total += ops.sum(losses) / ops.maximum(ops.cast(ops.size(losses), "float32"), 1.0)
            return total

    def pair_loss(self, pair: int, teacher_map: Any, student_map: Any, training: bool) -> Any:
        """Computes the loss of each image on one pair.

        Args:
            pair: Number of the pair.
            teacher_map: float32 tensor `(batch, h, w, channels)`.
            student_map: The student's map; sizes and channels may differ.
            training: Whether the student trains.

        Returns:
            float32 tensor `(batch,)`.
        """
        raise ValueError(f"{type(self).__name__} must implement pair_loss().")

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {"pairs": [list(pair) for pair in self.pairs], "name": self.name}
