"""Recipe head_sharing: a classifier that learns from a teacher and from the teacher's head."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_distill.data.file_stamps import stamps_digest
from keras_distill.data.image_batches import image_batches
from keras_distill.data.image_set import ImageSet
from keras_distill.data.pipeline import evaluation_batches
from keras_distill.errors import InputError, renamed_arguments
from keras_distill.methods.supervised import Supervised
from keras_distill.models.class_head import head_layer, split_head
from keras_distill.models.embedding_output import embedder_of
from keras_distill.models.loading import load_model
from keras_distill.publishing import published_file
from keras_distill.recipes.batch_norms import freeze_batch_norms, unfold_batch_norms
from keras_distill.recipes.cached_teacher import fill_teacher_cache
from keras_distill.recipes.head_method import build_head_method
from keras_distill.recipes.head_student import build_head_student, build_tailored_teacher
from keras_distill.recipes.head_teacher import (
    HeadTeacher,
    open_head_teacher,
    with_means,
)
from keras_distill.recipes.optimizer import add_penalty, compile_method
from keras_distill.recipes.watched_training import watch_training
from keras_distill.runs.stage import Stage, StageContext, Training, Validation
from keras_distill.settings.head_sharing import HeadSharingSettings
from keras_distill.settings.split_data import load_split_images
from keras_distill.teachers.model_fingerprint import model_fingerprint
from keras_distill.training.accuracy_validation import VALIDATION_ACCURACY, AccuracyValidation

_EMBEDDER = "embedder.keras"
_STUDENT, _TEACHER, _DISTILL = "student", "teacher", "distill"


def stages(settings: HeadSharingSettings) -> list[Stage]:
    """Returns the stages: a single one, or the three of `sh_kd`.

    Args:
        settings: The settings, checked.

    Returns:
        The stages.
    """
    if settings.combination != "sh_kd":
        return [Stage("train", functools.partial(_build, settings))]
    alone: dict[str, Any] = {
        "combination": "plain",
        "copy_head": False,
        "head_mix": 0.0,
        **dict.fromkeys([f"{p}_weight" for p in ("label", "logits", "head", "kde", "crd")]),
    }
    student = settings.replace(teacher="", teacher_cache="off", **alone)
    teacher = settings.replace(
        epochs=settings.teacher_epochs or settings.epochs,
        learning_rate=settings.teacher_learning_rate or settings.learning_rate,
        teacher_cache="off",
        **alone,
    )
    return [
        Stage(_STUDENT, functools.partial(_build, student)),
        Stage(_TEACHER, functools.partial(_build, teacher, tailored=True)),
        Stage(_DISTILL, functools.partial(_build, settings)),
    ]


@dataclasses.dataclass(frozen=True)
class _Data:
    """Images of a training."""

    train: ImageSet
    validation: ImageSet | None
    skipped: list[str]


def _build(
    settings: HeadSharingSettings, context: StageContext, *, tailored: bool = False
) -> Training:
    data = _load(settings)
    train = data.train
    keras.utils.set_random_seed(settings.seed)  # loading may have drawn random numbers
    if tailored:
        product = build_tailored_teacher(settings, context.products[_STUDENT], train.class_names)
    else:
        product = build_head_student(settings, train.class_names)
    image_size = product.input_shape[1]
    context.replicas.check_batch(settings.batch_size)
    taught = not tailored and settings.teacher
    path = context.products.get(_TEACHER, settings.teacher)
    teacher = open_head_teacher(settings, path, train, image_size) if taught else None
    _say_what_trains(settings, context, data, product, teacher)
    provenance = _check_provenance(settings, data, product, teacher, context)
    fill_teacher_cache(settings, teacher, context.console)
    if teacher is not None and teacher.head is None and settings.needs_head:
        teacher = with_means(teacher, train, image_size, context.console)
    steps_per_epoch = settings.steps_per_epoch or max(round(len(train) / settings.batch_size), 1)
    training = Training(
        model=product,
        product=product,
        batches=functools.partial(_batches, settings, train, image_size, teacher, context),
        epochs=settings.epochs,
        steps_per_epoch=steps_per_epoch,
        batch_size=settings.batch_size,
        provenance=provenance,
        summary=_figures_before(settings, context, data, product, path if taught else ""),
        on_begin=lambda: (context.run.path / _EMBEDDER).unlink(missing_ok=True),
        on_end=_write_embedder,
    )
    if teacher is not None and settings.copy_head and teacher.head is not None:
        with renamed_arguments(head="copy_head"):
            teacher.head.put_into(head_layer(product))
    freeze_batch_norms(settings, product.get_layer("trunk"))
    add_penalty(settings, product)
    if not settings.epochs:
        return training
    model, product = build_head_method(settings, product, teacher, train)
    compile_method(settings, model, steps_per_epoch)
    few = _batches(settings, train, image_size, None, None, 0).take(settings.ema_batches)
    few = few.map(lambda x, y: x["image"])
    unfold_batch_norms(settings, product, few, context.say)
    return _watched(settings, context, training, model, product, few, data.validation)


def _load(settings: HeadSharingSettings) -> _Data:
    (train, validation), skipped = load_split_images(settings, "train", "validation")
    if train is None:
        raise InputError(
            f"`dataset={settings.dataset}` has no training images that can be read; repair them."
        )
    return _Data(train, validation, skipped)


def _batches(
    settings: HeadSharingSettings,
    images: ImageSet,
    image_size: int,
    teacher: HeadTeacher | None,
    context: StageContext | None,
    first_step: int,
) -> tf.data.Dataset:
    """Batches from a step on: of this process' replicas, or whole ones without a context."""
    options: dict[str, Any] = {}
    if context is not None:
        options = {"replicas": context.replicas.count, "own_replicas": context.replicas.own}
    if teacher is not None:
        size = teacher.live_image_size(image_size, degraded=bool(settings.degrade))
        options |= {
            "teacher_embedding": teacher.lookup,
            "teacher_logits": teacher.logits,
            "teacher_image_size": size,
            "views": teacher.views,
        }
    return image_batches(
        images,
        image_size=image_size,
        batch_size=settings.batch_size,
        least_area=settings.crop_area,
        augment=settings.augment,
        degrade=settings.degrade,
        seed=settings.seed,
        first_step=first_step,
        **options,
    )


def _check_provenance(
    settings: HeadSharingSettings,
    data: _Data,
    product: keras.Model,
    teacher: HeadTeacher | None,
    context: StageContext,
) -> dict[str, Any]:
    found: dict[str, Any] = {"train_images": data.train.digest}
    if data.validation is not None:
        found["validation_images"] = data.validation.digest
    if settings.student:
        pretrained = settings.student_weights == "kept"
    else:
        pretrained = settings.backbone_weights != "none"
    if pretrained:
        found["backbone_weights"] = model_fingerprint(product.get_layer("trunk"))
    if teacher is not None:
        found["teacher"] = teacher.fingerprint
    with renamed_arguments(teacher=f"teacher={settings.teacher}"):
        context.check_agreement(found)
        if context.replicas.is_chief:  # copies on other machines have times of their own
            found["train_content"] = f"sizes and times {stamps_digest(data.train)}"
        context.check_provenance(found)
    return found


def _say_what_trains(
    settings: HeadSharingSettings,
    context: StageContext,
    data: _Data,
    product: keras.Model,
    teacher: HeadTeacher | None,
) -> None:
    train = data.train
    context.say(
        f"{len(train)} images, {len(train.class_names)} classes; {product.name}, "
        f"{product.count_params():,} parameters, {product.input_shape[1]} pixels; "
        f"{context.replicas.devices}"
    )
    if teacher is not None:
        parts = ", ".join(f"{part} {weight:g}" for part, weight in settings.weights.items())
        context.say(f"{settings.combination}: {parts}")
        own = split_head(product)[1].width
        if own != teacher.width and {"head", "kde"} & settings.weights.keys():
            context.say(
                f"the student's {own} features are mapped to the teacher's {teacher.width} by a "
                "linear layer, which is trained with it"
            )
        if teacher.note:
            context.say(f"warning: {teacher.note}")
    for warning in _warnings(data):
        context.say(f"warning: {warning}")


def _warnings(data: _Data) -> list[str]:
    if data.validation is not None:
        return []
    return ["there are no validation images: no epoch is chosen."]


def _figures_before(
    settings: HeadSharingSettings,
    context: StageContext,
    data: _Data,
    product: keras.Model,
    teacher: str | Path,
) -> dict[str, Any]:
    return {
        "run_dir": str(context.run.path),
        "model": str(context.run.product),
        "teacher": str(teacher) or None,
        "combination": settings.combination,
        "weights": settings.weights,
        "dataset": settings.dataset,
        "images": {
            "train": len(data.train),
            "validation": 0 if data.validation is None else len(data.validation),
        },
        "labels": list(data.train.class_names),
        "train_classes": list(data.train.class_names),
        "skipped_images": data.skipped,
        "parameters": product.count_params(),
        "image_size": product.input_shape[1],
        "degrade": settings.degrade or None,
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "replicas": context.replicas.count,
        "seed": settings.seed,
        "warnings": _warnings(data),
    }


def _watched(
    settings: HeadSharingSettings,
    context: StageContext,
    training: Training,
    model: Supervised,
    product: keras.Model,
    few: Any,
    validation: ImageSet | None,
) -> Training:
    """Adds averaging, monitoring and validation of the product."""
    found = watch_training(settings, context, training, model, product, few)
    if validation is None:
        return found.training
    images = evaluation_batches(
        validation, image_size=product.input_shape[1], degrade=settings.degrade
    )
    accuracy = AccuracyValidation(
        images,
        validation.labels,
        found.scored,
        **found.options,
    )
    return dataclasses.replace(
        found.training,
        validation=Validation(
            VALIDATION_ACCURACY, accuracy, figures=lambda value: {"accuracy": value}
        ),
    )


def _write_embedder(product: Path) -> None:
    """Writes the features of the classifier as an embedder, for retrieval and verification."""
    try:
        embedder = embedder_of(load_model(product))
    except InputError:  # a mixture of two heads
        return
    with published_file(product.parent / _EMBEDDER) as temporary:
        embedder.save(temporary)
