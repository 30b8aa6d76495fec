"""The Distiller: a Keras model that trains a student under task and teacher losses."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import keras
import tensorflow as tf
from keras import ops

# Imported to be registered, so that `load_model` finds the losses of a saved Distiller.
from keras_distill.losses import (  # noqa: F401
    absolute_teacher,
    batch_hard_triplet,
    cosine_teacher,
    kde_teacher,
    probabilistic_transfer,
    relative_teacher,
    rkd_angle,
    rkd_distance,
    semi_hard_triplet,
    similarity_preserving,
)
from keras_distill.losses.task_loss import TaskLoss
from keras_distill.losses.teacher_loss import TeacherLoss
from keras_distill.models.fused_batch_norm import fuse_batch_norm
from keras_distill.teachers.teacher import Teacher, as_teacher

_TeacherLike: TypeAlias = Teacher | keras.Model | Callable[[Any], Any]


@keras.saving.register_keras_serializable("keras_distill")
class Distiller(keras.Model):
    """Trains a student embedder to do its task and to agree with a teacher.

    `loss = task_loss_weight * task_loss + sum_k weight_k * teacher_loss_k`, each reported by its
    name. It is a `keras.Model` in every respect: compile, callbacks, `sample_weight`, mixed
    precision, `steps_per_execution`, `tf.distribute`. `predict()` returns the student's
    embeddings, `save_weights()` the weights that are trained, `export()` the student. `save()`
    keeps the student, the losses and the compilation, but not the teacher, which may be a thousand
    times larger: set `distiller.teacher` again after loading.

    Batches are `(x, y)` or `(x, y, sample_weight)`: `x` the raw images `(batch, height, width, 3)`
    from 0 to 255, or a dict with `image`, and, where present, `id`, `teacher_image` (what the
    teacher sees instead) or `teacher_embedding` (its answer, computed before); `y` integer labels
    `(batch,)`, -1 for unlabelled.

    Several teachers have names: give `teacher`, `teacher_losses` and, if there are any,
    `student_projection`, `teacher_image` and `teacher_embedding` as dicts by these names. A loss is
    then reported, and weighted, as `<teacher>_<loss>`.

    Args:
        student: Functional model from images to embeddings; see `build_embedder`.
        teacher: Keras model, `Teacher` or callable from raw images to embeddings, used in
            inference mode and never changed; or a dict of them. Not needed if batches hold
            `teacher_embedding`.
        task_loss: Loss on (labels, embeddings); `None` to learn from the teacher alone.
        teacher_losses: Losses on (teacher embeddings, student embeddings); or a dict of lists.
        task_loss_weight: Weight of the task loss.
        teacher_loss_weights: Weight of each teacher loss, in their order or by name; 1 by default.
        student_projection: Model or layer that carries the student's embedding into a teacher's
            space for the losses that need equal widths; trained with the student, and no part of
            it; see `build_projection`.
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
        teacher: _TeacherLike | Mapping[str, _TeacherLike] | None = None,
        task_loss: TaskLoss | None = None,
        teacher_losses: Sequence[TeacherLoss] | Mapping[str, Sequence[TeacherLoss]] = (),
        task_loss_weight: float = 1.0,
        teacher_loss_weights: Sequence[float] | Mapping[str, float] | None = None,
        student_projection: keras.Layer | Mapping[str, keras.Layer] | None = None,
        name: str = "distiller",
        **kwargs: Any,
    ):
        # Raw pixels and teacher embeddings must not be cast to the compute dtype on their way in.
        super().__init__(name=name, autocast=False, **kwargs)
        fuse_batch_norm(student)
        self.student = student
        self.teacher = teacher
        self.task_loss = task_loss
        self.task_loss_weight = task_loss_weight
        self.student_projection = student_projection
        self.teacher_losses = (
            dict(teacher_losses) if isinstance(teacher_losses, Mapping) else tuple(teacher_losses)
        )
        terms = _teacher_terms(teacher_losses)
        self.teacher_loss_weights = _weights_by_name([t.name for t in terms], teacher_loss_weights)
        self._teacher_terms = tuple(terms)
        names = [term.name for term in terms]
        if task_loss is not None:
            names.insert(0, task_loss.name)
        if not names:
            raise ValueError("Distiller needs a task_loss, or teacher_losses, or both.")
        if len({"loss", *names}) != len(names) + 1:
            raise ValueError(
                f"Distiller: the losses are named {names}; give each a name of its own (not "
                "'loss', which is the total), e.g. RelativeTeacher(name='relative_2')."
            )
        self._check_teacher_names()
        self._loss_trackers = {name: keras.metrics.Mean(name=name) for name in names}
        self.built = True

    def __setattr__(self, name: str, value: Any) -> None:
        """Wraps a new teacher before Keras sees it: a model would be tracked, trained and saved."""
        if name == "teacher":
            if isinstance(value, Mapping):
                value = {key: as_teacher(teacher) for key, teacher in value.items()}
            elif value is not None:
                value = as_teacher(value)
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
        values = []
        if self.task_loss is not None:
            value = self.task_loss(y, y_pred, sample_weight)
            values.append((self.task_loss.name, self.task_loss_weight, value))
        for name, loss, teacher in self._teacher_terms:
            student_outputs = y_pred
            projection = _of(teacher, self.student_projection)
            if loss.needs_equal_widths and projection is not None:
                student_outputs = projection(y_pred)
            value = loss(_answer(teacher, x["teacher_embedding"]), student_outputs, sample_weight)
            values.append((name, self.teacher_loss_weights[name], value))
        total = ops.zeros((), "float32")
        for name, weight, value in values:
            self._loss_trackers[name].update_state(value, sample_weight=rows)
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
            "teacher_losses": _map_lists(serialize, self.teacher_losses),
            "student_projection": _map(serialize, self.student_projection),
            "task_loss_weight": self.task_loss_weight,
            "teacher_loss_weights": dict(self.teacher_loss_weights),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Distiller":
        """Rebuilds the model, without its teacher, from `get_config()`."""
        deserialize = keras.saving.deserialize_keras_object
        config = dict(config)

        def restore(item: Any) -> Any:
            return deserialize(item, custom_objects)

        for key in ("student", "task_loss"):
            config[key] = restore(config[key])
        config["teacher_losses"] = _map_lists(restore, config["teacher_losses"])
        config["student_projection"] = _map(restore, config["student_projection"])
        return cls(**config)

    def _check_teacher_names(self) -> None:
        """A teacher's name that is misspelt anywhere would silently teach nothing."""
        asked = [term.teacher for term in self._teacher_terms]
        for argument in ("teacher", "student_projection"):
            value = getattr(self, argument)
            if value is None or not asked:
                continue
            if isinstance(value, Mapping) == (None in asked):
                raise ValueError(
                    f"Distiller: teacher_losses and {argument} must both be dicts by the names of "
                    "the teachers, or neither."
                )
            if isinstance(value, Mapping) and (
                unknown := set(value) ^ set(asked)
                if argument == "teacher"
                else set(value) - {*asked}
            ):
                raise ValueError(
                    f"Distiller: {argument} and teacher_losses disagree about the teachers "
                    f"{sorted(map(str, unknown))}."
                )

    def _with_teacher_embedding(self, data: Any) -> tuple[Any, Any, Any]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        x = dict(x) if isinstance(x, Mapping) else {"image": x}
        if not self._teacher_terms:
            return x, y, sample_weight
        given = x.get("teacher_embedding", {})
        if isinstance(self.teacher, Mapping) and isinstance(given, Mapping):
            x["teacher_embedding"] = {
                name: given[name] if name in given else self._ask(teacher, name, self.teacher, x)
                for name, teacher in self.teacher.items()
            }
        elif "teacher_embedding" not in x:
            if self.teacher is None:
                raise ValueError(
                    f"Distiller has the teacher losses {[t.name for t in self._teacher_terms]} but "
                    "no teacher, and the batches hold no 'teacher_embedding'. Give teacher=..., or "
                    "set distiller.teacher (it is not kept by save())."
                )
            x["teacher_embedding"] = self._ask(self.teacher, None, (), x)
        return x, y, sample_weight

    @staticmethod
    def _ask(teacher: Any, name: str | None, names: Iterable[Any], x: dict[str, Any]) -> Any:
        images = x.get("teacher_image", x["image"])
        if isinstance(images, Mapping):
            if unknown := set(images) - set(names):
                raise ValueError(f"teacher_image names {sorted(unknown)}; there are {[*names]}.")
            images = images.get(name, x["image"])
        return teacher(images, x.get("id"))

    def _resolve_auto_jit_compile(self) -> bool:
        # XLA makes the step of a MobileNet about ten times slower on CPU; "auto" must not mean it.
        return bool(tf.config.list_physical_devices("GPU")) and super()._resolve_auto_jit_compile()


def _images(x: Any) -> Any:
    return x["image"] if isinstance(x, Mapping) else x


class _TeacherTerm(NamedTuple):
    name: str
    loss: TeacherLoss
    teacher: str | None


def _teacher_terms(
    losses: Sequence[TeacherLoss] | Mapping[str, Sequence[TeacherLoss]],
) -> list[_TeacherTerm]:
    if isinstance(losses, Mapping):
        return [
            _TeacherTerm(f"{teacher}_{loss.name}", loss, teacher)
            for teacher, own in losses.items()
            for loss in own
        ]
    return [_TeacherTerm(loss.name, loss, None) for loss in losses]


def _of(teacher: str | None, value: Any) -> Any:
    """What belongs to a teacher, of something that is there once or by teacher."""
    return value.get(teacher) if isinstance(value, Mapping) else value


def _answer(teacher: str | None, answers: Any) -> Any:
    """What a teacher answered; another's answer must not pass for it."""
    if isinstance(answers, Mapping) == (teacher is None) or _of(teacher, answers) is None:
        raise ValueError(
            f"Distiller: there is no answer of the teacher {teacher!r}; 'teacher_embedding' and "
            "distiller.teacher must be dicts by the names of the teachers if teacher_losses is, "
            "and hold all of them between them."
        )
    return _of(teacher, answers)


def _map(function: Callable[[Any], Any], value: Any) -> Any:
    """Applies a function to a single object or to each of a dict's; a config is no such dict."""
    if isinstance(value, Mapping) and "class_name" not in value:
        return {key: function(item) for key, item in value.items()}
    return function(value)


def _map_lists(function: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: [function(item) for item in items] for key, items in value.items()}
    return [function(item) for item in value]


def _weights_by_name(
    names: Sequence[str], weights: Sequence[float] | Mapping[str, float] | None
) -> dict[str, float]:
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
