"""Distiller: a Keras model that trains a student under task and teacher losses."""

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import keras
import tensorflow as tf
from keras import ops

from keras_distill.distribution.global_batch import (
    gather_replicas,
    mean_over_replicas,
    require_rows,
)
from keras_distill.errors import InputError, renamed_arguments
from keras_distill.losses.feature_loss import FeatureLoss
from keras_distill.losses.keras_distillation import as_teacher_loss
from keras_distill.losses.registry import load_losses
from keras_distill.losses.task_loss import TaskLoss
from keras_distill.losses.teacher_loss import TeacherLoss
from keras_distill.methods.batch_checks import check_batch, compares_rows, warn_of_first_batch
from keras_distill.methods.distiller_arguments import check_arguments, check_teacher_names
from keras_distill.methods.method import LossTerm, Method, images_of, unpack_batch
from keras_distill.methods.teacher_outputs import with_teacher_outputs
from keras_distill.methods.teacher_terms import (
    AnyTeacherLoss,
    TeacherTerm,
    by_teacher,
    embedding_of,
    map_losses,
    map_teachers,
    maps_of,
    teacher_terms,
    weights_by_name,
)
from keras_distill.models.feature_tap import UNNORMALISED, FeatureTap
from keras_distill.models.frozen_batch_norm import batch_norms, freeze_batch_norm, keeps_statistics
from keras_distill.models.inner_layers import map_layers
from keras_distill.models.layer_calls import replace_calls, tap_features
from keras_distill.models.projection import ensure_built
from keras_distill.teachers.teacher import Teacher, as_teacher

load_losses()  # so that `load_model` finds those of a saved Distiller

_TeacherLike: TypeAlias = Teacher | keras.Model | Callable[[Any], Any]


@keras.saving.register_keras_serializable("keras_distill")
class Distiller(Method):
    """Trains a student embedder to do its task and to agree with a teacher.

    `loss = task_loss_weight * task_loss + sum_k weight_k * teacher_loss_k`, each reported by its
    name. It is a `keras.Model` in every respect: compile, callbacks, `sample_weight`, mixed
    precision, `steps_per_execution`, `tf.distribute`. `predict()` returns the student's
    embeddings, `save_weights()` saves the weights that are trained, `export()` exports the student.
    `save()` keeps the student, the losses and the compilation, but not the teacher, which may be a
    thousand times larger: set `distiller.teacher` again after loading.

    Batches are `(x, y)` or `(x, y, sample_weight)`: `x` the raw images `(batch, height, width, 3)`
    from 0 to 255, or a dict with `image`, and, where present, `id`, `teacher_image` (the teacher's
    own images, needed if it takes another size) or `teacher_embedding` (its output, computed
    before); `y` integer labels `(batch,)`, -1 for unlabelled.

    Under a `tf.distribute` strategy the losses compare all rows of all replicas, and a step equals
    the step of one device with the whole batch. Only batch normalisations take their statistics
    from the rows of a replica, unless `synchronize_batch_norm` has changed them.

    Several teachers have names: give `teacher`, `teacher_losses` and, if there are any,
    `student_projection`, `teacher_image` and `teacher_embedding` as dicts by these names. A loss is
    then reported, and weighted, as `<teacher>_<loss>`.

    Args:
        student: Functional model from images to embeddings; see `build_embedder`.
        teacher: Keras model, `Teacher` or callable from raw images to embeddings, used in
            inference mode and never changed; or a dict of them. Not needed if batches hold
            `teacher_embedding`.
        task_loss: Loss on (labels, embeddings); `None` to learn from the teacher alone.
        teacher_losses: Losses on (teacher embeddings, student embeddings), also from
            `keras.distillation`; or a dict of lists.
        task_loss_weight: Weight of the task loss.
        teacher_loss_weights: Weight of each teacher loss, in their order or by name; 1 by default.
        student_projection: Model or layer that maps the student's embedding into a teacher's space
            for the losses that need equal widths; trained with the student, but not part of it;
            see `build_projection`.
        name: Name of the model.

    Raises:
        InputError: If an argument is of another kind, if there is no loss, or if names or weights
            do not match the losses.

    Example:
        >>> import numpy as np
        >>> from keras_distill import BatchHardTriplet, Distiller, RelativeTeacher, build_embedder
        >>> small = dict(image_size=32, embedding_dim=8, backbone_weights="none")
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

    loss_advice = (
        "give Distiller an object as task_loss=..., such as BatchHardTriplet(margin=0.2), or as "
        "teacher_losses=[...], such as AbsoluteTeacher()"
    )
    loss_weights_advice = "give Distiller task_loss_weight=... and teacher_loss_weights=..."

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
        super().__init__(name=name, **kwargs)
        check_arguments(
            student,
            teacher,
            task_loss,
            teacher_losses,
            task_loss_weight,
            teacher_loss_weights,
            student_projection,
        )
        replace_calls(student)
        self.student = student
        self.teacher = teacher
        self.task_loss = task_loss
        if task_loss is not None:
            self._build_task_loss(task_loss)
            self.task_loss_layer = task_loss.layer  # tracked: trained and saved, but not exported
        self.task_loss_weight = task_loss_weight
        self.student_projection = student_projection
        map_teachers(partial(ensure_built, input_dim=student.output_shape[-1]), student_projection)
        teacher_losses = map_losses(as_teacher_loss, teacher_losses)
        self.teacher_losses = (
            teacher_losses if isinstance(teacher_losses, dict) else tuple(teacher_losses)
        )
        terms = teacher_terms(teacher_losses)
        self.teacher_loss_weights = weights_by_name([t.name for t in terms], teacher_loss_weights)
        self._teacher_terms = tuple(terms)
        names = [term.name for term in terms]
        if task_loss is not None:
            names.insert(0, task_loss.name)
        if not names:
            raise InputError("Distiller needs a `task_loss`, or `teacher_losses`, or both.")
        self.track_losses(names)
        if task_loss is not None and task_loss.teacher is not None:
            terms.append(TeacherTerm(task_loss.name, task_loss, task_loss.teacher))
        self._teacher_uses = tuple(terms)  # whatever needs a teacher's output
        check_teacher_names(terms, teacher=teacher, student_projection=student_projection)
        self.teacher_loss_layers = self._build_teacher_losses()  # tracked as `task_loss_layer` is
        self._student_maps = threading.local()  # each replica is traced in a thread of its own
        self._student_tap: FeatureTap | None = None
        self.feature_loss_layers: list[keras.Layer] = []  # trained and saved, but not exported
        self._tap_features()
        self.built = True

    def __setattr__(self, name: str, value: Any) -> None:
        """Wraps a new teacher before Keras sees it: a model would be tracked, trained and saved."""
        if name == "teacher":
            with renamed_arguments(model="teacher"):
                if isinstance(value, Mapping):
                    value = {key: as_teacher(teacher) for key, teacher in value.items()}
                elif value is not None:
                    value = as_teacher(value)
            self.train_function = self.test_function = None  # traced with the former teacher
        super().__setattr__(name, value)
        if name == "teacher" and hasattr(self, "_student_tap"):
            self._tap_teachers()

    def get_product(self) -> keras.Model:
        """Returns the student."""
        return self.student

    def call(self, x: Any, training: bool = False) -> Any:
        """Returns the student's embeddings `(batch, dim)` of `x`, images or a dict with them."""
        if self._student_tap is None:
            return super().call(x, training=training)
        embeddings, self._student_maps.maps = self._student_tap(images_of(x), training=training)
        return embeddings

    def prepare(self, data: Any, training: bool) -> tuple[dict[str, Any], Any, Any]:
        """Checks a batch and evaluates the teachers."""
        x, y, sample_weight = unpack_batch(data)
        check_batch(x, y, student=self.student, labelled=self.task_loss is not None)
        teacher: Any = self.teacher  # wrapped by __setattr__
        x = with_teacher_outputs(x, teacher, self._teacher_uses)
        if training:
            x["image"] = require_rows(x["image"])
            if not self.jit_compile:  # XLA cannot leave the graph to print a warning
                warn_of_first_batch(
                    x["image"],
                    y if compares_rows(self.task_loss) else None,
                    tf.equal(self.optimizer.iterations, 0),
                )
        return x, y, sample_weight

    def loss_terms(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any, training: bool
    ) -> list[LossTerm]:
        """Computes the task loss and the teacher losses.

        Args:
            x: Dict with `teacher_embedding` and `teacher_features`, if losses need them.
            y: Integer labels `(batch,)`.
            y_pred: The student's embeddings `(batch, dim)`.
            sample_weight: Optional weights `(batch,)`.
            training: Whether the student trains.

        Returns:
            One term for each loss.
        """
        relational = any(not isinstance(term.loss, FeatureLoss) for term in self._teacher_uses)
        # Every row may be compared with every other one, so each replica needs the whole batch.
        labels, embeddings, outputs, weights, features = gather_replicas(
            (
                y,
                y_pred,
                x["teacher_embedding"] if relational else None,
                sample_weight,
                self._task_features(),
            )
        )
        terms, rows = [], ops.shape(embeddings)[0]
        if self.task_loss is not None:
            more: dict[str, Any] = {} if features is None else {"features": features}
            if (teacher := self.task_loss.teacher) is not None:
                more |= {"ref_labels": labels, "ref_embeddings": embedding_of(teacher, outputs)}
            value = self.task_loss(labels, embeddings, weights, **more)
            terms.append(LossTerm(self.task_loss.name, value, rows, self.task_loss_weight))
            if training:
                self.task_loss.update(labels, embeddings)
        if training:
            known = ops.full_like(embeddings[:, 0], -1, "int64") if labels is None else labels
            self.observe(known, embeddings)
        projections = by_teacher(self.student_projection)
        for name, loss, teacher in self._teacher_terms:
            weight, reported = self.teacher_loss_weights[name], None
            if isinstance(loss, FeatureLoss):
                maps = maps_of(teacher, x["teacher_features"]), self._student_maps.maps
                # A mean over images, each by itself: maps are large, and stay on their replica.
                value, reported = mean_over_replicas(
                    loss(*maps, sample_weight, training), ops.shape(y_pred)[0], rows
                )
            else:
                student_outputs = embeddings
                projection = projections.get(teacher)
                if loss.needs_equal_widths and projection is not None:
                    student_outputs = gather_replicas(projection(y_pred))
                elif loss.needs_unnormalised:
                    student_outputs = gather_replicas(self._student_maps.maps[UNNORMALISED])
                teacher_outputs = embedding_of(teacher, outputs)
                value = loss(teacher_outputs, student_outputs, weights)
                if training:
                    loss.update(teacher_outputs, weights)
            terms.append(LossTerm(name, value, rows, weight, reported))
        return terms

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor, without the teacher."""
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
            # A rebuilt student has forgotten it.
            "frozen_batch_norms": [keeps_statistics(layer) for layer in batch_norms(self.student)],
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
        frozen = config.pop("frozen_batch_norms", [])
        replace_calls(config["student"])  # a frozen layer would not be fused any more
        for layer in itertools.compress(batch_norms(config["student"]), frozen):
            freeze_batch_norm(layer)
        return cls(**config)

    def _build_teacher_losses(self) -> list[keras.Layer]:
        """Builds the losses on embeddings; returns the layers of those that have variables."""
        teachers, projections = by_teacher(self.teacher), by_teacher(self.student_projection)
        losses = [(t.loss, t.teacher) for t in self._teacher_terms]
        for loss, name in losses:
            if not isinstance(loss, TeacherLoss):
                continue
            student_dim = self.student.output_shape[-1]
            teacher_dim = getattr(teachers.get(name), "embedding_dim", None)
            if loss.needs_equal_widths:
                if (projection := projections.get(name)) is not None:
                    student_dim = projection.compute_output_shape((None, student_dim))[-1]
                teacher_dim = student_dim
            loss.build(teacher_dim, student_dim)
        return [loss.layer for loss, _ in losses if getattr(loss, "layer", None) is not None]

    def _build_task_loss(self, task_loss: TaskLoss) -> None:
        """Makes the variables of the task loss."""
        widths: dict[str, int] = {}
        if layer := task_loss.student_layer:
            with renamed_arguments(model="student", layer="student_layer"):
                widths["feature_dim"] = map_layers(self.student, [layer])[layer].output.shape[-1]
        task_loss.build(self.student.output_shape[-1], **widths)

    def _task_features(self) -> Any:
        """What the task loss takes of the student's last pass besides its embeddings."""
        if self.task_loss is None or not self.task_loss.student_layer:
            return None
        features = self._student_maps.maps[self.task_loss.student_layer]
        return ops.mean(ops.cast(features, "float32"), axis=(1, 2))

    def _tap_features(self) -> None:
        """Prepares student and teachers for losses on inner layers or unnormalised vectors."""
        losses = [t.loss for t in self._teacher_terms if isinstance(t.loss, FeatureLoss)]
        vectors = any(getattr(t.loss, "needs_unnormalised", False) for t in self._teacher_terms)
        layers = [layer for loss in losses for layer in loss.student_layers]
        if self.task_loss is not None and self.task_loss.student_layer:
            layers.append(self.task_loss.student_layer)
        if not layers and not vectors:
            return
        with renamed_arguments(model="student"):
            self._student_tap = tap_features(self.student, layers, unnormalised=vectors)
        teacher_shapes = self._tap_teachers()
        for _, loss, teacher in self._teacher_terms:
            if isinstance(loss, FeatureLoss):
                made = loss.build(teacher_shapes.get(teacher, {}), self._student_tap.shapes)
                self.feature_loss_layers += made

    def _tap_teachers(self) -> dict[str, dict[str, Any]]:
        """Prepares the teachers; returns the shapes of their maps."""
        layers: dict[str, list[str]] = {}
        for _, loss, teacher in self._teacher_terms:
            if isinstance(loss, FeatureLoss):
                layers[teacher] = [*layers.get(teacher, []), *loss.teacher_layers]
        teachers = by_teacher(self.teacher)
        return {name: teachers[name].tap(own) for name, own in layers.items() if name in teachers}
