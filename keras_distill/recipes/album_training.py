"""Training of an album classifier, on vectors of the photographs or on the photographs."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_distill.data.album_batches import album_batches
from keras_distill.data.album_sampler import AlbumSampler
from keras_distill.data.album_vectors import vectors_digest
from keras_distill.data.albums import Albums
from keras_distill.data.file_stamps import stamps_digest
from keras_distill.errors import InputError, renamed_arguments
from keras_distill.evaluation.album_scorer import AlbumScorer
from keras_distill.evaluation.label_decisions import best_label_thresholds
from keras_distill.methods.supervised import Supervised
from keras_distill.models.album_classifier import build_album_classifier
from keras_distill.models.album_encoder import AlbumEncoder
from keras_distill.models.album_model import build_album_model
from keras_distill.models.label_names import LOGITS, find_labels
from keras_distill.models.loading import load_model
from keras_distill.models.pooled_features import find_backbone, pooled_features
from keras_distill.publishing import published_file
from keras_distill.recipes.batch_norms import freeze_batch_norms, unfold_batch_norms
from keras_distill.recipes.label_data import (
    PRIOR_FILE,
    label_prior,
    label_warnings,
    simulated_annotations,
)
from keras_distill.recipes.label_losses import build_label_loss
from keras_distill.recipes.optimizer import add_penalty, compile_method
from keras_distill.recipes.watched_training import watch_training
from keras_distill.runs.stage import StageContext, Training, Validation
from keras_distill.settings.label_data import load_albums
from keras_distill.settings.multilabel import MultiLabelSettings
from keras_distill.teachers.model_fingerprint import model_fingerprint
from keras_distill.training.album_baselines import fit_baselines
from keras_distill.training.class_prior import ClassPrior
from keras_distill.training.precision_validation import VALIDATION_PRECISION, PrecisionValidation


@dataclasses.dataclass(frozen=True)
class _Data:
    """Albums of a training."""

    train: Albums
    validation: Albums | None
    skipped: list[str]


def build_album_training(
    settings: MultiLabelSettings, context: StageContext, *, estimates_prior: bool = False
) -> Training:
    """Builds the training of an album classifier.

    Args:
        settings: The settings, checked, whose data are albums.
        context: The context of the stage.
        estimates_prior: Whether the stage writes the class prior that it finds.

    Returns:
        The training.

    Raises:
        InputError: If the settings or the data cannot be used.
    """
    data = _load(settings)
    train = data.train
    keras.utils.set_random_seed(settings.seed)  # loading may have drawn random numbers
    product = _build_product(settings, train)
    context.replicas.check_batch(settings.batch_size)
    _say_what_trains(settings, context, data, product)
    provenance = _check_provenance(settings, data, product, context)
    steps_per_epoch = settings.steps_per_epoch or max(round(len(train) / settings.batch_size), 1)
    batches = _batches(settings, train, product)
    training = Training(
        model=product,
        product=product,
        batches=lambda first_step: batches(
            first_step=first_step,
            replicas=context.replicas.count,
            own_replicas=context.replicas.own,
        ),
        epochs=settings.epochs,
        steps_per_epoch=steps_per_epoch,
        batch_size=settings.batch_size * settings.album_photographs,
        provenance=provenance,
        summary=_figures_before(settings, context, data, product),
        on_end=functools.partial(_complete, settings, context, data),
    )
    if not settings.epochs:
        return training
    prior = label_prior(settings, context, train.class_names)
    loss: Any = build_label_loss(settings, prior=prior)
    model = Supervised(product, {LOGITS: loss})
    compile_method(settings, model, steps_per_epoch)
    few = batches().take(settings.ema_batches).map(lambda x, y: x)
    unfold_batch_norms(settings, product, few, context.say)
    training = _watched(settings, context, training, model, few, data.validation)
    if estimates_prior:
        estimate = ClassPrior(train.class_names, context.run.path / PRIOR_FILE)
        training = dataclasses.replace(training, callbacks=[*training.callbacks, estimate])
    return training


def _load(settings: MultiLabelSettings) -> _Data:
    (train, validation), skipped = load_albums(settings, "train", "validation")
    if train is None:
        raise InputError(
            f"`dataset={settings.dataset}` has no training albums whose photographs can be read; "
            "repair them, or give a data set that has some."
        )
    train = dataclasses.replace(train, targets=simulated_annotations(settings, train.targets))
    return _Data(train, validation, skipped)


def _build_product(settings: MultiLabelSettings, albums: Albums) -> keras.Model:
    photographs = None
    if albums.vectors is None:
        image, features = pooled_features(
            settings.backbone,
            **{
                name: getattr(settings, name)
                for name in ("image_size", "alpha", "backbone_weights", "backbone_layer", "dropout")
            },
        )
        photographs = keras.Model(image, features, name="photographs")
        freeze_batch_norms(settings, photographs)
        dim = int(features.shape[-1])
    else:
        dim = albums.vectors.shape[1]
    encoder = AlbumEncoder(
        settings.album_layers,
        settings.album_heads,
        settings.album_mlp_dim,
        settings.album_dropout,
    )
    with renamed_arguments(heads="album_heads"):
        product = build_album_classifier(
            albums.class_names, dim, encoder, baselines=settings.album_baselines
        )
    if photographs is not None:
        product = build_album_model(photographs, product)
    add_penalty(settings, product)
    return product


def _batches(settings: MultiLabelSettings, train: Albums, product: keras.Model) -> Any:
    """A function of the first step and the replicas, which makes the batches."""
    sampler = AlbumSampler(
        train,
        batch_size=settings.batch_size,
        photographs=settings.album_photographs,
        least_positives=settings.least_positives,
        seed=settings.seed,
    )
    views: dict[str, Any] = {}
    if train.vectors is None:
        views = {
            "image_size": product.input["image"].shape[2],
            "least_area": settings.crop_area,
            "augment": settings.augment,
            "degrade": settings.degrade,
            "seed": settings.seed,
        }
    return functools.partial(album_batches, train, sampler, **views)


def _say_what_trains(
    settings: MultiLabelSettings, context: StageContext, data: _Data, product: keras.Model
) -> None:
    train = data.train
    positives = float((train.targets == 1).sum(axis=1).mean())
    if train.vectors is None:
        seen = f"{settings.backbone}, {product.input['image'].shape[2]} pixels"
    else:
        seen = f"vectors of width {train.vectors.shape[1]}"
    context.say(
        f"{len(train)} albums of {train.sizes.min()} to {train.sizes.max()} photographs, "
        f"{len(train.class_names)} labels, {positives:.2f} of them an album; {seen}, "
        f"{product.count_params():,} parameters; {context.replicas.devices}"
    )
    if data.skipped:
        context.say(
            f"warning: {len(data.skipped)} photographs that could not be read are left out, such "
            f"as {data.skipped[0]}."
        )
    for warning in label_warnings(train, data.validation, "album"):
        context.say(f"warning: {warning}")


def _check_provenance(
    settings: MultiLabelSettings, data: _Data, product: keras.Model, context: StageContext
) -> dict[str, Any]:
    found: dict[str, Any] = {"train_images": data.train.digest}
    if data.validation is not None:
        found["validation_images"] = data.validation.digest
    if data.train.vectors is not None:
        found["album_vectors"] = vectors_digest(data.train)
    elif settings.backbone_weights != "none":
        found["backbone_weights"] = model_fingerprint(find_backbone(product))
    with renamed_arguments(album_vectors=f"album_vectors={settings.album_vectors}"):
        context.check_agreement(found)
        if data.train.vectors is None and context.replicas.is_chief:
            # Copies on other machines have times of their own.
            stamps = stamps_digest(data.train.photographs)
            found["train_content"] = f"sizes and times {stamps}"
        context.check_provenance(found)
    return found


def _figures_before(
    settings: MultiLabelSettings, context: StageContext, data: _Data, product: keras.Model
) -> dict[str, Any]:
    parts = {"train": data.train, "validation": data.validation}
    return {
        "run_dir": str(context.run.path),
        "model": str(context.run.product),
        "dataset": settings.dataset,
        "album_vectors": settings.album_vectors or None,
        "albums": {name: 0 if part is None else len(part) for name, part in parts.items()},
        "photographs": {
            name: 0 if part is None else len(part.photographs) for name, part in parts.items()
        },
        "labels": list(data.train.class_names),
        "positives": data.train.positives.tolist(),
        "skipped_images": data.skipped,
        "parameters": product.count_params(),
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "album_photographs": settings.album_photographs,
        "replicas": context.replicas.count,
        "seed": settings.seed,
        "warnings": label_warnings(data.train, data.validation, "album"),
    }


def _watched(
    settings: MultiLabelSettings,
    context: StageContext,
    training: Training,
    model: Supervised,
    few: Any,
    validation: Albums | None,
) -> Training:
    """Adds averaging, monitoring and validation of the product."""
    product = model.get_product()
    found = watch_training(settings, context, training, model, product, few)
    if validation is None:
        return found.training
    scorer = AlbumScorer(found.scored)

    def score() -> np.ndarray:
        vectors = scorer.vectors(validation, degrade=settings.degrade)
        return scorer.scores(validation, vectors).logits[LOGITS]

    precision = PrecisionValidation(
        validation.targets,
        score,
        **found.options,
    )
    return dataclasses.replace(
        found.training,
        validation=Validation(
            VALIDATION_PRECISION, precision, figures=lambda value: {"map": value}
        ),
    )


def _complete(
    settings: MultiLabelSettings, context: StageContext, data: _Data, product: Path
) -> None:
    """Fits the baselines, and gives each label of each output the threshold of its best F1."""
    if data.validation is None and not settings.album_baselines:
        return
    model = load_model(product)
    scorer = AlbumScorer(model)

    def with_own_vectors(albums: Albums) -> tuple[Albums, np.ndarray]:
        return albums, scorer.vectors(albums, degrade=settings.degrade)

    validation = None if data.validation is None else with_own_vectors(data.validation)
    if settings.album_baselines:
        context.say("fitting the baselines: means of vectors and of probabilities")
        fit_baselines(model, with_own_vectors(data.train), validation)
    if validation is not None:
        for output, logits in scorer.scores(*validation).logits.items():
            labels = find_labels(model, output)
            assert labels is not None
            probabilities = np.asarray(labels.probabilities(logits))
            thresholds = best_label_thresholds(probabilities, validation[0].targets)
            labels.thresholds = [float(value) for value in np.clip(thresholds, 0.0, 1.0)]
    with published_file(product) as temporary:
        model.save(temporary)
