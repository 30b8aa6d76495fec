"""Recipe multilabel: a classifier of images, or of albums, that have several labels each."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_distill.data.file_stamps import stamps_digest
from keras_distill.data.label_batches import label_batches
from keras_distill.data.multilabel_images import MultiLabelImages
from keras_distill.data.pipeline import evaluation_batches
from keras_distill.data.word_vectors import load_word_vectors
from keras_distill.errors import InputError, renamed_arguments
from keras_distill.evaluation.label_decisions import best_label_thresholds
from keras_distill.evaluation.label_scores import score_batches
from keras_distill.losses.label_distillation import LabelDistillation
from keras_distill.methods.supervised import Supervised
from keras_distill.models.classifier import build_classifier
from keras_distill.models.label_names import find_labels
from keras_distill.models.loading import load_model
from keras_distill.models.word_space import build_word_classifier, build_word_space
from keras_distill.publishing import published_file
from keras_distill.recipes.album_training import build_album_training
from keras_distill.recipes.batch_norms import freeze_batch_norms, unfold_batch_norms
from keras_distill.recipes.cached_teacher import CachedTeacher, fill_teacher_cache
from keras_distill.recipes.label_data import (
    PRIOR_FILE,
    label_prior,
    label_warnings,
    simulated_annotations,
)
from keras_distill.recipes.label_losses import build_label_loss
from keras_distill.recipes.label_teacher import open_label_teacher
from keras_distill.recipes.optimizer import add_penalty, compile_method
from keras_distill.recipes.watched_training import watch_training
from keras_distill.runs.stage import Stage, StageContext, Training, Validation
from keras_distill.settings.label_data import is_album_dataset, load_label_images
from keras_distill.settings.multilabel import ESTIMATE, MultiLabelSettings
from keras_distill.teachers.model_fingerprint import model_fingerprint
from keras_distill.teachers.output_teacher import OutputTeacher
from keras_distill.training.class_prior import ClassPrior
from keras_distill.training.precision_validation import VALIDATION_PRECISION, PrecisionValidation


def stages(settings: MultiLabelSettings) -> list[Stage]:
    """Returns the stages: the training, and before it maybe one that estimates the class prior.

    Args:
        settings: The settings, checked.

    Returns:
        The stages.
    """
    build = build_album_training if is_album_dataset(settings.dataset) else _build
    train = Stage("train", functools.partial(build, settings))
    if settings.prior != ESTIMATE:
        return [train]
    estimate = settings.replace(
        prior="",
        partial_mode="ignore",
        epochs=settings.prior_epochs,
        teacher="",
    )
    return [Stage("prior", functools.partial(build, estimate, estimates_prior=True)), train]


@dataclasses.dataclass(frozen=True)
class _Data:
    """Images of a training."""

    train: MultiLabelImages
    validation: MultiLabelImages | None
    skipped: list[str]


def _build(
    settings: MultiLabelSettings, context: StageContext, *, estimates_prior: bool = False
) -> Training:
    data = _load(settings)
    train = data.train
    keras.utils.set_random_seed(settings.seed)  # loading may have drawn random numbers
    vectors = _word_vectors(settings, train)
    product = _build_product(settings, train, vectors)
    image_size = product.input_shape[1]
    context.replicas.check_batch(settings.batch_size)
    _say_what_trains(settings, context, data, product)
    teacher = open_label_teacher(settings, train, image_size)
    provenance = _check_provenance(settings, data, product, teacher, context)
    fill_teacher_cache(settings, teacher, context.console)
    steps_per_epoch = settings.steps_per_epoch or max(round(len(train) / settings.batch_size), 1)
    batches = functools.partial(
        label_batches,
        train,
        image_size=image_size,
        batch_size=settings.batch_size,
        least_positives=settings.least_positives,
        least_area=settings.crop_area,
        augment=settings.augment,
        degrade=settings.degrade,
        views=None if teacher is None else teacher.views,
        seed=settings.seed,
    )
    taught: dict[str, Any] = {}
    if teacher is not None:
        size = teacher.live_image_size(image_size, degraded=bool(settings.degrade))
        taught = {"teacher_logits": teacher.lookup, "teacher_image_size": size}
    training = Training(
        model=product,
        product=product,
        batches=lambda first_step: batches(
            first_step=first_step,
            replicas=context.replicas.count,
            own_replicas=context.replicas.own,
            **taught,
        ),
        epochs=settings.epochs,
        steps_per_epoch=steps_per_epoch,
        batch_size=settings.batch_size,
        provenance=provenance,
        summary=_figures_before(settings, context, data, product),
    )
    if not settings.epochs:
        return training
    prior = label_prior(settings, context, train.class_names)
    loss = build_label_loss(settings, prior=prior, word_vectors=vectors)
    model = _build_method(settings, product, loss, teacher)
    compile_method(settings, model, steps_per_epoch)
    few = batches().take(settings.ema_batches).map(lambda x, y: x["image"])
    unfold_batch_norms(settings, product, few, context.say)
    training = _watched(settings, context, training, model, few, data.validation, vectors)
    if estimates_prior:
        estimate = ClassPrior(train.class_names, context.run.path / PRIOR_FILE)
        training = dataclasses.replace(training, callbacks=[*training.callbacks, estimate])
    return training


def _load(settings: MultiLabelSettings) -> _Data:
    (train, validation), skipped = load_label_images(settings, "train", "validation")
    if train is None:
        raise InputError(
            f"`dataset={settings.dataset}` has no training images that can be read; repair "
            "them, or give a data set that has some."
        )
    train = dataclasses.replace(train, targets=simulated_annotations(settings, train.targets))
    return _Data(train, validation, skipped)


def _word_vectors(settings: MultiLabelSettings, images: MultiLabelImages) -> np.ndarray | None:
    if settings.head != "words":
        return None
    with renamed_arguments(path="word_vectors", names="classes"):
        return load_word_vectors(settings.word_vectors, images.class_names)


def _build_product(
    settings: MultiLabelSettings, images: MultiLabelImages, vectors: np.ndarray | None
) -> keras.Model:
    options: dict[str, Any] = {
        name: getattr(settings, name)
        for name in ("image_size", "alpha", "backbone_weights", "backbone_layer", "dropout")
    }
    if vectors is None:
        product = build_classifier(images.class_names, settings.backbone, **options)
    else:
        rows = settings.word_rows
        product = build_word_space(rows, vectors.shape[1], settings.backbone, **options)
    freeze_batch_norms(settings, product.get_layer("trunk"))
    add_penalty(settings, product)
    return product


def _say_what_trains(
    settings: MultiLabelSettings, context: StageContext, data: _Data, product: keras.Model
) -> None:
    train = data.train
    positives = float((train.targets == 1).sum(axis=1).mean())
    unknown = float((train.targets < 0).mean())
    context.say(
        f"{len(train)} images, {len(train.class_names)} labels, {positives:.2f} of them an image"
        + (f", {unknown:.0%} unknown" if unknown else "")
        + f"; {settings.backbone}, {product.count_params():,} parameters, "
        f"{product.input_shape[1]} pixels; {context.replicas.devices}"
    )
    for warning in label_warnings(data.train, data.validation):
        context.say(f"warning: {warning}")


def _check_provenance(
    settings: MultiLabelSettings,
    data: _Data,
    product: keras.Model,
    teacher: CachedTeacher | None,
    context: StageContext,
) -> dict[str, Any]:
    found: dict[str, Any] = {"train_images": data.train.digest}
    if data.validation is not None:
        found["validation_images"] = data.validation.digest
    if settings.backbone_weights != "none":
        found["backbone_weights"] = model_fingerprint(product.get_layer("trunk"))
    if teacher is not None:
        found["teacher"] = teacher.teacher.fingerprint
    with renamed_arguments(teacher=f"teacher={settings.teacher}"):
        context.check_agreement(found)
        if context.replicas.is_chief:  # copies on other machines have times of their own
            found["train_content"] = f"sizes and times {stamps_digest(data.train.unlabelled)}"
        context.check_provenance(found)
    return found


def _figures_before(
    settings: MultiLabelSettings, context: StageContext, data: _Data, product: keras.Model
) -> dict[str, Any]:
    return {
        "run_dir": str(context.run.path),
        "model": str(context.run.product),
        "teacher": settings.teacher or None,
        "dataset": settings.dataset,
        "images": {
            "train": len(data.train),
            "validation": 0 if data.validation is None else len(data.validation),
        },
        "labels": list(data.train.class_names),
        "positives": data.train.positives.tolist(),
        "skipped_images": data.skipped,
        "parameters": product.count_params(),
        "image_size": product.input_shape[1],
        "degrade": settings.degrade or None,
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "replicas": context.replicas.count,
        "seed": settings.seed,
        "warnings": label_warnings(data.train, data.validation),
    }


def _build_method(
    settings: MultiLabelSettings,
    product: keras.Model,
    loss: keras.losses.Loss | None,
    teacher: CachedTeacher | None,
) -> Supervised:
    output = settings.head
    return Supervised(
        product,
        {} if loss is None else {output: loss},
        teacher=None if teacher is None else teacher.teacher,
        # Summed, as the losses on the labels are, so that a weight of 1 means the same for both.
        teacher_losses=None if teacher is None else {output: [LabelDistillation(reduction="sum")]},
        loss_weights=None
        if teacher is None
        else {f"{output}_label_distillation": settings.teacher_weight},
    )


def _watched(
    settings: MultiLabelSettings,
    context: StageContext,
    training: Training,
    model: Supervised,
    few: Any,
    validation: MultiLabelImages | None,
    vectors: np.ndarray | None,
) -> Training:
    """Adds averaging, monitoring and validation of the product."""
    product = model.get_product()
    found = watch_training(settings, context, training, model, product, few)
    if validation is None:
        return found.training
    scored = found.scored
    if vectors is not None:
        scored = build_word_classifier(scored, validation.class_names, vectors)
    images = evaluation_batches(
        validation.unlabelled, image_size=product.input_shape[1], degrade=settings.degrade
    )
    precision = PrecisionValidation(
        validation.targets,
        functools.partial(score_batches, OutputTeacher.of(scored), images),  # traced once
        **found.options,
    )
    return dataclasses.replace(
        found.training,
        validation=Validation(
            VALIDATION_PRECISION, precision, figures=lambda value: {"map": value}
        ),
        on_end=functools.partial(_write_thresholds, images, validation),
    )


def _write_thresholds(images: Any, validation: MultiLabelImages, product: Path) -> None:
    """Gives each label the threshold of its best F1 on the validation images."""
    model = load_model(product)
    labels = find_labels(model)
    if labels is None:  # a word space scores any labels
        return
    probabilities = np.asarray(labels.probabilities(score_batches(model, images)))
    thresholds = best_label_thresholds(probabilities, validation.targets)
    labels.thresholds = [float(value) for value in np.clip(thresholds, 0.0, 1.0)]
    with published_file(product) as temporary:
        model.save(temporary)
