"""Recipe distill: an embedder that learns from a teacher, from labels, or from both."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from keras_distill.data.image_set import ImageSet
from keras_distill.data.pipeline import evaluation_batches
from keras_distill.errors import as_flags, renamed, renamed_arguments
from keras_distill.losses.class_vector_loss import ClassVectorLoss
from keras_distill.losses.self_distillation import SelfDistillation
from keras_distill.losses.task_loss import TaskLoss
from keras_distill.methods.distiller import Distiller
from keras_distill.models.class_head import CLASS_HEAD, ClassHead
from keras_distill.models.embedder import build_embedder
from keras_distill.recipes.batch_norms import freeze_batch_norms, unfold_batch_norms
from keras_distill.recipes.caches import fill_caches, open_image_cache, shown_views
from keras_distill.recipes.distill_batches import DistillBatches, plan_batches
from keras_distill.recipes.distill_summary import (
    figures_after,
    figures_before,
    recall_figures,
)
from keras_distill.recipes.losses import build_task_loss
from keras_distill.recipes.optimizer import add_penalty, compile_method
from keras_distill.recipes.provenance import check_provenance
from keras_distill.recipes.teachers import (
    RecipeTeachers,
    check_compared_width,
    open_teachers,
    prepare_teachers,
    training_embeddings,
)
from keras_distill.runs.stage import Stage, StageContext, Training, Validation
from keras_distill.settings.distill import DistillSettings, load_training_images
from keras_distill.settings.settings import names_of
from keras_distill.settings.teacher_losses import teacher_loss_weights
from keras_distill.training.averaged_student import AveragedStudent
from keras_distill.training.best_values import best_value
from keras_distill.training.collapse_monitor import CollapseMonitor
from keras_distill.training.gradient_norm import GradientNorm
from keras_distill.training.layer_freezing import LayerFreezing
from keras_distill.training.recall_validation import VALIDATION_RECALL, RecallValidation
from keras_distill.training.tensorboard_projector import write_projector


def stages(settings: DistillSettings) -> list[Stage]:
    """Returns the stage of the recipe, a single one.

    Args:
        settings: The settings, checked.

    Returns:
        The stages.
    """
    return [Stage("distill", functools.partial(_build, settings))]


def _build(settings: DistillSettings, context: StageContext) -> Training:
    train, validation, skipped = load_training_images(settings)
    keras.utils.set_random_seed(settings.seed)  # loading may have drawn random numbers
    student = _build_student(settings)
    image_size = student.input_shape[1]
    plan = plan_batches(settings, train)
    plan.check_replicas(context.replicas)
    summary = figures_before(settings, context.run, student, train, validation, skipped) | {
        "steps_per_epoch": plan.steps_per_epoch,
        "batch_size": plan.size,
        "replicas": context.replicas.count,
        "unlabelled_per_batch": plan.unlabelled_per_batch,
        "mixed_per_batch": plan.mixed_per_batch,
    }
    context.say(
        f"{plan.images}; student {settings.backbone}, {student.count_params():,} parameters, "
        f"{image_size} pixels -> {student.output_shape[1]} dimensions; {context.replicas.devices}"
    )
    for warning in summary["warnings"]:
        context.say(f"warning: {warning}")
    task_loss = build_task_loss(settings, train.classes)
    cache = open_image_cache(settings, train, image_size=image_size)
    shown = max(shown_views(settings), plan.mixed_views)
    if cache is not None:  # before the teachers are evaluated for hours
        with renamed_arguments(max_gb="cache_max_gb"):
            cache.check_space(settings.cache_max_gb, shown)
    opened = open_teachers(settings, train)
    provenance = check_provenance(settings, train, validation, student, opened, context)
    weights = teacher_loss_weights(settings, settings.dataset)
    teachers = prepare_teachers(
        settings,
        train,
        opened,
        student=student,
        weights=weights,
        mixed_views=plan.mixed_views,
        console=context.console,
    )
    if cache is not None and settings.epochs:
        fill_caches({"images": cache}, shown, settings, context.console)
    batches = DistillBatches(settings, train, image_size, teachers, cache, plan, context.replicas)
    training = Training(
        model=student,
        product=student,
        batches=batches.from_step,
        epochs=settings.epochs,
        steps_per_epoch=plan.steps_per_epoch,
        batch_size=plan.size,
        provenance=provenance,
        summary=summary,
        on_begin=functools.partial(_save_projections, teachers, context),
    )
    if not settings.epochs:
        return training
    if settings.proxies == "teacher":
        _start_class_vectors(settings, task_loss, teachers, train, student)
    teachers.embeddings.clear()  # of all images, which training needs no longer
    distiller = _build_distiller(settings, student, teachers, task_loss, weights)
    compile_method(settings, distiller, plan.steps_per_epoch)
    return _watched(settings, context, training, distiller, batches, train, validation)


def _build_student(settings: DistillSettings) -> keras.Model:
    student = build_embedder(
        settings.backbone,
        image_size=settings.image_size,
        alpha=settings.alpha,
        embedding_dim=settings.embedding_dim,
        backbone_weights=settings.backbone_weights,
        backbone_layer=settings.backbone_layer,
        dropout=settings.dropout,
    )
    freeze_batch_norms(settings, student.get_layer("trunk"))
    add_penalty(settings, student)
    return student


def _start_class_vectors(
    settings: DistillSettings,
    task_loss: Any,
    teachers: RecipeTeachers,
    images: ImageSet,
    student: keras.Model,
) -> None:
    """Lets the class vectors start from the teacher's embeddings of the training images."""
    embeddings = training_embeddings(teachers, "")
    check_compared_width(settings, embeddings.shape[1], student.output_shape[1])
    loss = task_loss.loss if isinstance(task_loss, SelfDistillation) else task_loss
    loss.start_from(images.labels[images.labels >= 0], embeddings)


def _build_distiller(
    settings: DistillSettings,
    student: keras.Model,
    teachers: RecipeTeachers,
    task_loss: TaskLoss | None,
    weights: Mapping[str, Mapping[str, float]],
) -> Distiller:
    return Distiller(
        student,
        teacher=teachers.single(teachers.teachers),
        task_loss=task_loss,
        teacher_losses=teachers.single(teachers.losses) or (),
        task_loss_weight=settings.task_weight,
        teacher_loss_weights={
            f"{teacher}_{name}" if teacher else name: weight
            for teacher, own in weights.items()
            for name, weight in own.items()
        },
        student_projection=teachers.single(teachers.student_projections),
    )


def _watched(
    settings: DistillSettings,
    context: StageContext,
    training: Training,
    distiller: Distiller,
    batches: DistillBatches,
    train: ImageSet,
    validation: ImageSet | None,
) -> Training:
    """Adds averaging, freezing, monitoring and validation of the student."""
    student, averaged = distiller.student, None

    def say(text: str) -> None:
        """Prints the advice of a callback in terms of the settings."""
        context.say(as_flags(renamed(text, {"ema_momentum": "ema"}), names_of(settings)))

    few = batches.without_teachers()
    images = few.take(settings.ema_batches).map(lambda x, y: x["image"])
    unfold_batch_norms(settings, student, images, context.say)
    if settings.ema:
        averaged = AveragedStudent(distiller, student, images)
    monitor = CollapseMonitor(
        settings.classes_per_batch * settings.images_per_class * settings.views_per_image,
        say,
        batches=few.take(1),
        student=averaged or student,
    )
    callbacks: list[keras.callbacks.Callback] = [monitor]
    if settings.freeze_epochs:
        callbacks.append(LayerFreezing(student.get_layer("trunk"), settings.freeze_epochs))
    if settings.gradient_norm:
        callbacks.append(GradientNorm())
    return dataclasses.replace(
        training,
        model=distiller,
        product=averaged or student,
        callbacks=callbacks,
        monitor=monitor,
        validation=None
        if validation is None
        else _validation(settings, context, student, averaged, validation),
        figures=functools.partial(figures_after, monitor, validation),
        example_images=batches.examples,
        on_end=functools.partial(_finish, settings, context, distiller, train, validation),
    )


def _validation(
    settings: DistillSettings,
    context: StageContext,
    student: keras.Model,
    averaged: AveragedStudent | None,
    images: ImageSet,
) -> Validation:
    options: dict[str, Any] = {} if averaged is None else {"prepare": averaged.refresh}
    recall = RecallValidation(
        evaluation_batches(images, image_size=student.input_shape[1], degrade=settings.degrade),
        student if averaged is None else averaged.student,
        every=settings.validate_every,
        common=context.replicas.of_first,
        **options,
    )
    return Validation(VALIDATION_RECALL, recall, figures=recall_figures)


def _save_projections(teachers: RecipeTeachers, context: StageContext) -> None:
    (context.run.path / CLASS_HEAD).unlink(missing_ok=True)  # of a former run
    for path in teachers.save_projections(context.run.path):
        projected = path.name.startswith("projected")
        kind = "projected teacher" if projected else "projection of the teacher"
        context.say(f"{kind}: {path}")


def _finish(
    settings: DistillSettings,
    context: StageContext,
    distiller: Distiller,
    train: ImageSet,
    validation: ImageSet | None,
    product: Path,
) -> None:
    _write_class_head(context, distiller, train)
    _write_projector(settings, context, train if validation is None else validation, product)


def _write_class_head(context: StageContext, distiller: Distiller, images: ImageSet) -> None:
    """Keeps the class vectors of the loss on labels, so that the student can teach with a head."""
    loss: Any = distiller.task_loss
    loss = loss.loss if isinstance(loss, SelfDistillation) else loss
    if not isinstance(loss, ClassVectorLoss):
        return
    vectors = best_value(distiller, loss.vectors, context.run.checkpoints)
    if vectors is None:
        return
    names = tuple(images.class_names[label] for label in loss.classes)
    head = ClassHead(vectors.T, scale=float(loss.head_scale), names=names)
    head.save(context.run.path / CLASS_HEAD)
    context.say(f"class vectors: {context.run.path / CLASS_HEAD}")


def _write_projector(
    settings: DistillSettings, context: StageContext, images: ImageSet, product: Path
) -> None:
    """Writes TensorBoard's embedding projector."""
    if settings.tensorboard and settings.projector:
        written = keras.models.load_model(product, compile=False)
        folder = context.run.tensorboard
        write_projector(folder, written, images, settings.projector, degrade=settings.degrade)
