"""Memory of contrastive representation distillation: a vector of each image, for both sides."""

import math
from typing import Any

import keras
from keras import ops

from keras_distill.losses.unit_rows import unit_rows


class ContrastiveMemory(keras.layers.Layer):
    """Maps both embeddings into one space, and remembers a vector of each image for each side.

    Args:
        images: Number of images.
        dim: Width of the common space.
        momentum: Share of the remembered vector that an update keeps.
        name: Name of the layer.
    """

    def __init__(self, images: int, dim: int, momentum: float, name: str = "contrastive_memory"):
        super().__init__(name=name, dtype="float32")
        self._images = images
        self._dim = dim
        self._momentum = momentum

    def build(self, input_shape: Any) -> None:
        """Creates the variables, for the shapes of the teacher's and the student's embeddings."""
        teacher, student = input_shape
        # Uniform in +-1 / sqrt(width), the default of the published code's framework.
        options: dict[str, Any] = {
            "kernel_initializer": keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform"),
            "dtype": "float32",
        }
        self._teacher_map = keras.layers.Dense(self._dim, name="teacher", **options)
        self._student_map = keras.layers.Dense(self._dim, name="student", **options)
        self._teacher_map.build(teacher)
        self._student_map.build(student)
        bound = math.sqrt(3 / self._dim)  # rows of length 1, about
        self.teacher, self.student = (
            self.add_weight(
                name=f"{side}_memory",
                shape=(self._images, self._dim),
                initializer=keras.initializers.RandomUniform(-bound, bound),
                trainable=False,
                aggregation="only_first_replica",
            )
            for side in ("teacher", "student")
        )
        #: The constants of the teacher's and the student's side; 0 before the first update.
        self.constants = self._state("constants", (2,), "float32")
        #: Number of updates, on which the drawn images depend.
        self.updates = self._state("updates", (), "int64")

    def _state(self, name: str, shape: tuple[int, ...], dtype: str) -> Any:
        return self.add_weight(
            name=name,
            shape=shape,
            initializer="zeros",
            dtype=dtype,
            trainable=False,
            aggregation="only_first_replica",
        )

    def vectors(self, teacher_outputs: Any, student_outputs: Any) -> tuple[Any, Any]:
        """Maps the embeddings of teacher and student into the common space, rows of length 1."""
        return (
            unit_rows(self._teacher_map(teacher_outputs)),
            unit_rows(self._student_map(student_outputs)),
        )

    def remember(self, rows: Any, teacher: Any, student: Any) -> None:
        """Moves the remembered vectors of a batch towards its vectors.

        `m <- unit(momentum m + (1 - momentum) v)`; of an image that is there twice, the mean. Rows
        that are not finite are left out, as those of a float16 step that overflows.

        Args:
            rows: Numbers of the images, int64 `(batch,)`; negative ones are left out.
            teacher: The teacher's vectors `(batch, dim)`.
            student: The student's vectors `(batch, dim)`.
        """
        finite = ops.all(ops.isfinite(teacher) & ops.isfinite(student), axis=-1)
        known = (rows >= 0) & finite
        place = ops.maximum(rows, 0)
        same = ops.cast((place[:, None] == place[None, :]) & known[None, :], "float32")
        share = ops.where(known, 1.0 / ops.maximum(ops.sum(same, axis=1), 1.0), 0.0)
        for memory, vectors in ((self.teacher, teacher), (self.student, student)):
            vectors = ops.where(finite[:, None], ops.stop_gradient(vectors), 0.0)
            former = ops.take(memory, place, axis=0)
            moved = unit_rows(self._momentum * former + (1.0 - self._momentum) * vectors)
            # Added to what is there, so that rows that are left out change nothing.
            change = ops.scatter(
                place[:, None], share[:, None] * (moved - former), (self._images, self._dim)
            )
            memory.assign(memory + change)
