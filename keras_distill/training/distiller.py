"""The Distiller: a Keras model that trains a student under task and teacher losses."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

# Imported to be registered, so that `load_model` finds the losses of a saved Distiller.
from keras_distill.losses import (  # noqa: F401
    absolute_teacher,
    batch_hard_triplet,
    relative_teacher,
    semi_hard_triplet,
)
from keras_distill.losses.task_loss import TaskLoss
from keras_distill.losses.teacher_loss import TeacherLoss
from keras_distill.teachers.teacher import Teacher, as_teacher


@keras.saving.register_keras_serializable("keras_distill")
class Distiller(keras.Model):
    """Trains a student embedder to do its task and to agree with a teacher.

    `loss = task_loss_weight * task_loss + sum_k weight_k * teacher_loss_k`, each reported by its
    name. It is a `keras.Model` in every respect: compile, callbacks, `sample_weight`, mixed
    precision, `steps_per_execution`, `tf.distribute`. `predict()` returns the student's
    embeddings, `save_weights()` the student's weights, `export()` the student. `save()` keeps the
    student, the losses and the compilation, but not the teacher, which may be a thousand times
    larger: set `distiller.teacher` again after loading.

    Batches are `(x, y)` or `(x, y, sample_weight)`: `x` the raw images `(batch, height, width, 3)`
    from 0 to 255, or a dict with `image`, and, where present, `teacher_image` (what the teacher
    sees instead) or `teacher_embedding` (its answer, computed before); `y` integer labels
    `(batch,)`, -1 for unlabelled.

    Args:
        student: Functional model from images to embeddings; see `build_embedder`.
        teacher: Keras model, `Teacher` or callable from raw images to embeddings, used in
            inference mode and never changed. Not needed if batches hold `teacher_embedding`.
        task_loss: Loss on (labels, embeddings); `None` to learn from the teacher alone.
        teacher_losses: Losses on (teacher embeddings, student embeddings).
        task_loss_weight: Weight of the task loss.
        teacher_loss_weights: Weight of each teacher loss, in their order or by name; 1 by default.
        name: Name of the model.

    Raises:
        ValueError: If there is no loss, or if names or weights do not match the losses.

    Example:
        >>> import numpy as np
        >>> from keras_distill import BatchHardTriplet, Distiller, RelativeTeacher, build_embedder
        >>> small = dict(image_size=32, embedding_dim=8, trunk_weights="none")
        >>> distiller = Distiller(
        ...     build_embedder("mobilenet", alpha=0.25, **small),
        ...     teacher=build_embedder("mobilenet", alpha=0.5, **small),
        ...     task_loss=BatchHardTriplet(margin=0.2),
        ...     teacher_losses=[RelativeTeacher()],
        ...     teacher_loss_weights={"relative": 0.3},
        ... )
        >>> distiller.compile("adam")
        >>> images = np.random.randint(0, 256, (8, 32, 32, 3), dtype="uint8")
        >>> history = distiller.fit(images, np.arange(8) // 2, verbose=0)
        >>> sorted(history.history)
        ['loss', 'relative', 'triplet']
    """

    def __init__(
        self,
        student: keras.Model,
        *,
        teacher: "Teacher | keras.Model | Callable[[Any], Any] | None" = None,
        task_loss: TaskLoss | None = None,
        teacher_losses: Sequence[TeacherLoss] = (),
        task_loss_weight: float = 1.0,
        teacher_loss_weights: Sequence[float] | Mapping[str, float] | None = None,
        name: str = "distiller",
        **kwargs: Any,
    ):
        # Raw pixels and teacher embeddings must not be cast to the compute dtype on their way in.
        super().__init__(name=name, autocast=False, **kwargs)
        self.student = student
        self.teacher = teacher
        self.task_loss = task_loss
        self.task_loss_weight = task_loss_weight
        self.teacher_losses = tuple(teacher_losses)
        self.teacher_loss_weights = _weights_by_name(self.teacher_losses, teacher_loss_weights)
        names = [loss.name for loss in self._weighted_losses()]
        if not names:
            raise ValueError("Distiller needs a task_loss, or teacher_losses, or both.")
        if len({"loss", *names}) != len(names) + 1:
            raise ValueError(
                f"Distiller: the losses are named {names}; give each a name of its own (not "
                "'loss', which is the total), e.g. RelativeTeacher(name='relative_2')."
            )
        self._loss_trackers = {name: keras.metrics.Mean(name=name) for name in names}
        self.built = True

    def __setattr__(self, name: str, value: Any) -> None:
        """Wraps a new teacher before Keras sees it: a model would be tracked, trained and saved."""
        if name == "teacher":
            value = None if value is None else as_teacher(value)
            self.train_function = self.test_function = None  # traced with the former teacher
        super().__setattr__(name, value)

    def call(self, x: Any, training: bool = False) -> Any:
        """Returns the student's embeddings `(batch, dim)` of `x`, images or a dict with them."""
        return self.student(_images(x), training=training)

    def train_step(self, data: Any) -> dict[str, Any]:
        """Asks the teacher, outside of the gradient tape, and hands over to Keras' own step."""
        return super().train_step(self._with_teacher_embedding(data))

    def test_step(self, data: Any) -> dict[str, Any]:
        """Asks the teacher and hands over to Keras' own step; changes no weight."""
        return super().test_step(self._with_teacher_embedding(data))

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Composes the total loss and tracks each part by its name.

        Args:
            x: Dict with `teacher_embedding` if there are teacher losses.
            y: Integer labels `(batch,)`.
            y_pred: The student's embeddings `(batch, dim)`.
            sample_weight: Optional weights `(batch,)`.
            training: Not used.

        Returns:
            Scalar tensor, scaled for `tf.distribute` as Keras expects.
        """
        if self._compile_loss is not None:
            raise ValueError(
                "Distiller.compile(loss=...) is not used; give the loss to the constructor as "
                "task_loss=... and compile without it."
            )
        rows = ops.shape(y_pred)[0]
        total = ops.zeros((), "float32")
        for loss, weight in self._weighted_losses().items():
            if isinstance(loss, TeacherLoss):
                value = loss(x["teacher_embedding"], y_pred, sample_weight)
            else:
                value = loss(y, y_pred, sample_weight)
            self._loss_trackers[loss.name].update_state(value, sample_weight=rows)
            total += weight * value
        total += sum(ops.cast(ops.sum(penalty), "float32") for penalty in self.losses)
        return total / tf.distribute.get_strategy().num_replicas_in_sync

    def export(self, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        """Exports the student; arguments as in `keras.Model.export`."""
        return self.student.export(filepath, *args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Returns what rebuilds this model, except for the teacher."""
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "dtype": serialize(self.dtype_policy),
            "student": serialize(self.student),
            "task_loss": serialize(self.task_loss),
            "teacher_losses": [serialize(loss) for loss in self.teacher_losses],
            "task_loss_weight": self.task_loss_weight,
            "teacher_loss_weights": dict(self.teacher_loss_weights),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Distiller":
        """Rebuilds the model, without its teacher, from `get_config()`."""
        deserialize = keras.saving.deserialize_keras_object
        config = dict(config)
        for key in ("student", "task_loss"):
            config[key] = deserialize(config[key], custom_objects)
        config["teacher_losses"] = [
            deserialize(loss, custom_objects) for loss in config["teacher_losses"]
        ]
        return cls(**config)

    def _weighted_losses(self) -> "dict[keras.losses.Loss, float]":
        losses = {loss: self.teacher_loss_weights[loss.name] for loss in self.teacher_losses}
        if self.task_loss is not None:
            return {self.task_loss: self.task_loss_weight, **losses}
        return losses

    def _with_teacher_embedding(self, data: Any) -> tuple[Any, Any, Any]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        x = dict(x) if isinstance(x, Mapping) else {"image": x}
        if self.teacher_losses and "teacher_embedding" not in x:
            if self.teacher is None:
                raise ValueError(
                    f"Distiller has the teacher losses {[k.name for k in self.teacher_losses]} but "
                    "no teacher, and the batches hold no 'teacher_embedding'. Give teacher=..., or "
                    "set distiller.teacher (it is not kept by save())."
                )
            x["teacher_embedding"] = self.teacher(x.get("teacher_image", x["image"]))
        return x, y, sample_weight

    def _resolve_auto_jit_compile(self) -> bool:
        # XLA makes the step of a MobileNet about ten times slower on CPU; "auto" must not mean it.
        return bool(tf.config.list_physical_devices("GPU")) and super()._resolve_auto_jit_compile()


def _images(x: Any) -> Any:
    return x["image"] if isinstance(x, Mapping) else x


def _weights_by_name(
    losses: Sequence[TeacherLoss], weights: Sequence[float] | Mapping[str, float] | None
) -> dict[str, float]:
    names = [loss.name for loss in losses]
    if weights is None:
        return dict.fromkeys(names, 1.0)
    if not isinstance(weights, Mapping):
        if len(weights) != len(names):
            raise ValueError(f"teacher_loss_weights={weights!r} does not match the losses {names}.")
        return dict(zip(names, map(float, weights), strict=True))
    if unknown := set(weights) - set(names):
        raise ValueError(
            f"teacher_loss_weights names {sorted(unknown)}, but the losses are {names}."
        )
    return {name: float(weights.get(name, 1.0)) for name in names}
