"""The Distiller: a Keras model that trains a student under task and teacher losses."""

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import keras
import tensorflow as tf
from keras import ops

from keras_distill.distribution.global_batch import (
    add_replicas,
    averageable,
    gather_replicas,
    require_rows,
)
from keras_distill.errors import InputError
from keras_distill.losses.feature_loss import FeatureLoss
from keras_distill.losses.registry import load_losses
from keras_distill.losses.task_loss import TaskLoss
from keras_distill.methods.batch_checks import check_batch, compares_rows, warn_of_first_batch
from keras_distill.methods.distiller_arguments import check_arguments, check_teacher_names
from keras_distill.methods.replicated_model import ReplicatedModel
from keras_distill.methods.teacher_answers import with_answers
from keras_distill.methods.teacher_terms import (
    AnyTeacherLoss,
    answer_of,
    map_losses,
    map_teachers,
    of_teacher,
    teacher_terms,
    weights_by_name,
)
from keras_distill.models.batch_norm_momentum import warmed_up_momentum
from keras_distill.models.feature_tap import FeatureTap
from keras_distill.models.fused_batch_norm import fuse_batch_norm
from keras_distill.models.projection import ensure_built
from keras_distill.teachers.teacher import Teacher, as_teacher

load_losses()  # so that `load_model` finds those of a saved Distiller

_TeacherLike: TypeAlias = Teacher | keras.Model | Callable[[Any], Any]


@keras.saving.register_keras_serializable("keras_distill")
class Distiller(ReplicatedModel):
    """Trains a student embedder to do its task and to agree with a teacher.

    `loss = task_loss_weight * task_loss + sum_k weight_k * teacher_loss_k`, each reported by its
    name. It is a `keras.Model` in every respect: compile, callbacks, `sample_weight`, mixed
    precision, `steps_per_execution`, `tf.distribute`. `predict()` returns the student's
    embeddings, `save_weights()` the weights that are trained, `export()` the student. `save()`
    keeps the student, the losses and the compilation, but not the teacher, which may be a thousand
    times larger: set `distiller.teacher` again after loading.

    Batches are `(x, y)` or `(x, y, sample_weight)`: `x` the raw images `(batch, height, width, 3)`
    from 0 to 255, or a dict with `image`, and, where present, `id`, `teacher_image` (what the
    teacher sees instead, as it must where it takes another size) or `teacher_embedding` (its
    answer, computed before); `y` integer labels `(batch,)`, -1 for unlabelled.

    Under a `tf.distribute` strategy the losses compare all rows of all replicas, and a step is that
    of one device with the whole batch, but for batch normalisations, whose statistics are of the
    rows of a replica unless `synchronize_batch_norm` has changed them.

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
        InputError: If an argument is of another kind, if there is no loss, or if names or weights
            do not match the losses.

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
        teacher_losses: Sequence[AnyTeacherLoss] | Mapping[str, Sequence[AnyTeacherLoss]] = (),
        task_loss_weight: float = 1.0,
        teacher_loss_weights: Sequence[float] | Mapping[str, float] | None = None,
        student_projection: keras.Layer | Mapping[str, keras.Layer] | None = None,
        name: str = "distiller",
        **kwargs: Any,
    ):
        # Raw pixels and teacher embeddings must not be cast to the compute dtype on their way in.
        super().__init__(name=name, autocast=False, **kwargs)
        check_arguments(
            student,
            teacher,
            task_loss,
            teacher_losses,
            task_loss_weight,
            teacher_loss_weights,
            student_projection,
        )
        fuse_batch_norm(student)
        self.student = student
        self.teacher = teacher
        self.task_loss = task_loss
        if task_loss is not None:
            task_loss.build(student.output_shape[-1])
            self.task_loss_layer = task_loss.layer  # tracked: trained and saved, but not exported
        self.task_loss_weight = task_loss_weight
        #: Called, in the graph, with the labels and embeddings of each training step.
        self.observer: Callable[[Any, Any], None] | None = None
        self.student_projection = student_projection
        map_teachers(partial(ensure_built, input_dim=student.output_shape[-1]), student_projection)
        self.teacher_losses = (
            dict(teacher_losses) if isinstance(teacher_losses, Mapping) else tuple(teacher_losses)
        )
        terms = teacher_terms(teacher_losses)
        self.teacher_loss_weights = weights_by_name([t.name for t in terms], teacher_loss_weights)
        self._teacher_terms = tuple(terms)
        names = [term.name for term in terms]
        if task_loss is not None:
            names.insert(0, task_loss.name)
        if not names:
            raise InputError("Distiller needs a task_loss, or teacher_losses, or both.")
        if len({"loss", *names}) != len(names) + 1:
            raise InputError(
                f"Distiller: the losses are named {names}; give each a name of its own (not "
                "'loss', which is the total), e.g. RelativeTeacher(name='relative_2')."
            )
        check_teacher_names(terms, teacher=teacher, student_projection=student_projection)
        self._student_maps = threading.local()  # each replica is traced in a thread of its own
        self._student_tap: FeatureTap | None = None
        self.feature_loss_layers: list[keras.Layer] = []  # trained and saved, but not exported
        self._tap_features()
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
        if name == "teacher" and hasattr(self, "_student_tap"):
            self._tap_teachers()

    def call(self, x: Any, training: bool = False) -> Any:
        """Returns the student's embeddings `(batch, dim)` of `x`, images or a dict with them."""
        if self._student_tap is None:
            return self.student(_images(x), training=training)
        embeddings, self._student_maps.maps = self._student_tap(_images(x), training=training)
        return embeddings

    def train_step(self, data: Any) -> dict[str, Any]:
        """Asks the teacher, outside of the gradient tape, and hands over to Keras' own step."""
        x, y, sample_weight = self._with_teacher_embedding(data)
        x["image"] = require_rows(x["image"])
        if not self.jit_compile:  # XLA cannot leave the graph to say something
            warn_of_first_batch(
                x["image"],
                y if compares_rows(self.task_loss) else None,
                tf.equal(self.optimizer.iterations, 0),
            )
        with warmed_up_momentum(self, self.optimizer.iterations):
            return averageable(super().train_step((x, y, sample_weight)))

    def test_step(self, data: Any) -> dict[str, Any]:
        """Asks the teacher and hands over to Keras' own step; changes no weight."""
        return averageable(super().test_step(self._with_teacher_embedding(data)))

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
            training: Whether the student trains.

        Returns:
            Scalar tensor, scaled for `tf.distribute` as Keras expects.
        """
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        relational = any(not isinstance(term.loss, FeatureLoss) for term in self._teacher_terms)
        # Every row may be compared with every other one, so each replica has the whole batch.
        labels, embeddings, answers, weights = gather_replicas(
            (y, y_pred, x["teacher_embedding"] if relational else None, sample_weight)
        )
        values = []
        all_rows = ops.cast(ops.shape(embeddings)[0], "float32")
        share = ops.cast(ops.shape(y_pred)[0], "float32") / all_rows
        if self.task_loss is not None:
            value = self.task_loss(labels, embeddings, weights)
            values.append((self.task_loss.name, self.task_loss_weight, value, value))
            if training:
                self.task_loss.update(labels, embeddings)
        if training and self.observer is not None and y is not None:
            self.observer(labels, embeddings)
        for name, loss, teacher in self._teacher_terms:
            if isinstance(loss, FeatureLoss):
                maps = x["teacher_features"]
                maps = maps if teacher is None else maps[teacher]
                # A mean over images, which need no others: maps are large, and stay where they are.
                value = share * loss(maps, self._student_maps.maps, sample_weight, training)
                value, mean = replicas * value, add_replicas(ops.stop_gradient(value))
            else:
                student_outputs = embeddings
                projection = of_teacher(teacher, self.student_projection)
                if loss.needs_equal_widths and projection is not None:
                    student_outputs = gather_replicas(projection(y_pred))
                value = mean = loss(answer_of(teacher, answers), student_outputs, weights)
            values.append((name, self.teacher_loss_weights[name], value, mean))
        total = ops.zeros((), "float32")
        for name, weight, value, mean in values:
            self._loss_trackers[name].update_state(mean, sample_weight=all_rows)
            total += weight * value
        total += sum(ops.cast(ops.sum(penalty), "float32") for penalty in self.losses)
        return total / replicas

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
            "teacher_losses": map_losses(serialize, self.teacher_losses),
            "student_projection": map_teachers(serialize, self.student_projection),
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
        config["teacher_losses"] = map_losses(restore, config["teacher_losses"])
        config["student_projection"] = map_teachers(restore, config["student_projection"])
        return cls(**config)

    def _tap_features(self) -> None:
        """Prepares student and teachers for the losses that compare their inner layers."""
        losses = [t.loss for t in self._teacher_terms if isinstance(t.loss, FeatureLoss)]
        if not losses:
            return
        layers = [layer for loss in losses for layer in loss.student_layers]
        self._student_tap = FeatureTap(
            self.student, layers, flag="student layer", argument="student"
        )
        teacher_shapes = self._tap_teachers()
        for _, loss, teacher in self._teacher_terms:
            if isinstance(loss, FeatureLoss):
                made = loss.build(teacher_shapes.get(teacher, {}), self._student_tap.shapes)
                self.feature_loss_layers += made

    def _tap_teachers(self) -> dict[str | None, dict[str, Any]]:
        """Prepares the teachers; returns the shapes of their maps."""
        layers: dict[str | None, list[str]] = {}
        for _, loss, teacher in self._teacher_terms:
            if isinstance(loss, FeatureLoss):
                layers[teacher] = [*layers.get(teacher, []), *loss.teacher_layers]
        return {
            name: of_teacher(name, self.teacher).tap(own, flag="teacher layer")
            for name, own in layers.items()
            if of_teacher(name, self.teacher) is not None
        }

    def _with_teacher_embedding(self, data: Any) -> tuple[Any, Any, Any]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        x = dict(x) if isinstance(x, Mapping) else {"image": x}
        check_batch(x, y, student=self.student, labelled=self.task_loss is not None)
        teacher: Any = self.teacher
        return with_answers(x, teacher, self._teacher_terms), y, sample_weight


def _images(x: Any) -> Any:
    return x["image"] if isinstance(x, Mapping) else x
