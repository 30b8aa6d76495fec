"""Recipe ranked_regression: a score or a count, from ranked images and few labels."""

import dataclasses
import functools
from typing import Any

import keras
import numpy as np

from keras_distill.data.file_stamps import stamps_digest
from keras_distill.data.point_images import PointImages
from keras_distill.data.scored_images import ScoredImages
from keras_distill.errors import InputError, renamed_arguments
from keras_distill.losses.ranking.all_pairs_ranking_hinge import AllPairsRankingHinge
from keras_distill.losses.ranking.known_squared_error import KnownSquaredError
from keras_distill.methods.supervised import Supervised
from keras_distill.models.counter import COUNT, DENSITY, build_counter
from keras_distill.models.loading import load_model
from keras_distill.models.product import by_name
from keras_distill.models.score_scale import SCORE, ScoreScale, find_score_scale
from keras_distill.models.scorer import SCORE_HEAD, add_score, build_scorer
from keras_distill.recipes.batch_norms import freeze_batch_norms, unfold_batch_norms
from keras_distill.recipes.optimizer import add_penalty, compile_method
from keras_distill.recipes.ranked_batches import (
    RANKED,
    RankedBatches,
    chosen_labels,
    rank_source,
)
from keras_distill.recipes.watched_training import watch_training
from keras_distill.runs.stage import Stage, StageContext, Training, Validation
from keras_distill.settings.ranked_regression import RankedRegressionSettings
from keras_distill.settings.regression_data import load_regression_images
from keras_distill.teachers.model_fingerprint import model_fingerprint
from keras_distill.training.regression_validation import RegressionValidation

_RANK = "rank"


def stages(settings: RankedRegressionSettings) -> list[Stage]:
    """Returns the stages: ranking and then regression, or a single one.

    Args:
        settings: The settings, checked.

    Returns:
        The stages.
    """
    if settings.stages != "rank,fine_tune":
        return [Stage("train", functools.partial(_build, _of_ranking(settings)))]
    ranking = _of_ranking(settings.replace(stages=_RANK, label_share=1.0, labelled=""))
    tuning = settings.replace(stages="fine_tune")
    return [
        Stage(_RANK, functools.partial(_build, ranking)),
        Stage("fine_tune", functools.partial(_build, tuning)),
    ]


def _of_ranking(settings: RankedRegressionSettings) -> RankedRegressionSettings:
    """The settings of a stage, with the length and the rate of ranking if it only ranks."""
    if settings.stages != _RANK:
        return settings
    own = {
        name: value
        for name in ("epochs", "steps_per_epoch", "learning_rate")
        if (value := getattr(settings, f"rank_{name}")) is not None
    }
    return settings.replace(**own)


@dataclasses.dataclass(frozen=True)
class _Data:
    """Images of a stage.

    Attributes:
        train: All training images.
        labelled: Those whose labels are used; `None` if none are.
        validation: Held-out images with a label; `None` for none.
        skipped: Paths of images that cannot be read.
    """

    train: ScoredImages | PointImages
    labelled: ScoredImages | PointImages | None
    validation: ScoredImages | PointImages | None
    skipped: list[str]

    @property
    def scale(self) -> tuple[float, float]:
        """Mean and standard deviation of the scores that are used."""
        if not isinstance(self.labelled, ScoredImages) or len(self.labelled) < 2:
            return 0.0, 1.0
        return float(self.labelled.scores.mean()), float(self.labelled.scores.std()) or 1.0

    @property
    def higher_is_better(self) -> bool:
        """Whether a ranked image of a smaller level has the higher output."""
        return getattr(self.train, "higher_is_better", True)


def _build(settings: RankedRegressionSettings, context: StageContext) -> Training:
    data = _load(settings)
    keras.utils.set_random_seed(settings.seed)  # loading may have drawn random numbers
    product = _build_product(settings, data, context)
    image_size = product.input_shape[1]
    source = rank_source(settings, data.train, image_size) if settings.ranks else None
    _check_batches(settings, context)
    batches = RankedBatches(
        settings,
        image_size,
        source,
        data.labelled,
        cells=product.output[DENSITY].shape[1] if settings.output == DENSITY else 0,
        largest_first=data.higher_is_better,
    )
    steps = settings.steps_per_epoch or _steps_per_epoch(settings, data, source)
    settings.check_turns(steps)
    _say_what_trains(settings, context, data, product, source)
    training = Training(
        model=product,
        product=product,
        batches=lambda first_step: batches(
            first_step, replicas=context.replicas.count, own_replicas=context.replicas.own
        ),
        epochs=settings.epochs,
        steps_per_epoch=steps,
        batch_size=batches.rows,
        provenance=_check_provenance(settings, data, product, source, context),
        summary=_figures_before(settings, context, data, product, source),
    )
    if not settings.epochs:
        return training
    model = _build_method(settings, product, data)
    compile_method(settings, model, steps)
    few = batches().take(settings.ema_batches).map(lambda x, y: x["image"])
    unfold_batch_norms(settings, product, few, context.say)
    return _watched(settings, context, training, model, few, data)


def _load(settings: RankedRegressionSettings) -> _Data:
    (train, validation), skipped = load_regression_images(settings, "train", "validation")
    if train is None:
        raise InputError(
            f"`dataset={settings.dataset}` has no training images that can be read; repair them."
        )
    if not settings.regresses:  # ranking sees no label, not even to choose an epoch
        return _Data(train, None, None, skipped)
    if isinstance(validation, ScoredImages):
        validation = validation.scored if len(validation.scored) else None
    return _Data(train, chosen_labels(settings, train), validation, skipped)


def _build_product(
    settings: RankedRegressionSettings, data: _Data, context: StageContext
) -> keras.Model:
    """Builds the model, or takes the one of the ranking stage or of `initial_model`."""
    initial = context.products.get(_RANK) or settings.initial_model
    if initial:
        with renamed_arguments(path="initial_model"):
            product = load_model(initial)
        if settings.output not in (by_name(product.output) or {}):
            raise InputError(
                f"`initial_model={initial}` has no output {settings.output}; give a model of this "
                "recipe."
            )
        if settings.regresses and settings.output == SCORE:
            _calibrate(product, data)
    else:
        product = _new_product(settings, data)
    freeze_batch_norms(settings, product.get_layer("trunk"))
    add_penalty(settings, product)
    return product


def _new_product(settings: RankedRegressionSettings, data: _Data) -> keras.Model:
    options: dict[str, Any] = {
        name: getattr(settings, name)
        for name in ("image_size", "alpha", "backbone_weights", "backbone_layer", "dropout")
    }
    if settings.output == DENSITY:
        return build_counter(settings.backbone, **options)
    scale = ScoreScale(*data.scale, data.higher_is_better)
    if settings.embedder:
        with renamed_arguments(path="embedder", embedder=f"embedder={settings.embedder}"):
            return add_score(load_model(settings.embedder), scale=scale)
    return build_scorer(settings.backbone, **options, scale=scale)


def _calibrate(product: keras.Model, data: _Data) -> None:
    """Brings scores of a ranked model, of which only the order means something, to their scale.

    The head becomes that of the straight line which fits the labels best, so that fine-tuning does
    not begin by forgetting the order.
    """
    from keras_distill.evaluation.image_scores import score_images

    labelled, scale = data.labelled, find_score_scale(product)
    if scale is None or not isinstance(labelled, ScoredImages) or len(labelled) < 3:
        return
    raw = (score_images(product, labelled.unlabelled, crops=1) - scale.mean) / scale.deviation
    mean, deviation = data.scale
    slope, offset = (
        np.polyfit(raw, (labelled.scores - mean) / deviation, 1) if np.ptp(raw) else (0.0, 0.0)
    )
    scale.mean, scale.deviation = mean, deviation
    scale.higher_is_better = labelled.higher_is_better
    if slope > 0:
        head = product.get_layer(SCORE_HEAD)
        kernel, bias = head.get_weights()
        head.set_weights([kernel * slope, bias * slope + offset])


def _check_batches(settings: RankedRegressionSettings, context: StageContext) -> None:
    if settings.regresses:
        context.replicas.check_batch(settings.batch_size)
    if settings.ranks:
        with renamed_arguments(batch_size="sets_per_batch"):
            context.replicas.check_batch(settings.sets_per_batch)


def _steps_per_epoch(settings: RankedRegressionSettings, data: _Data, source: Any) -> int:
    if data.labelled is not None:
        return max(round(len(data.labelled) / settings.batch_size), 1)
    return max(round(len(source.files) / settings.sets_per_batch), 1)


def _say_what_trains(
    settings: RankedRegressionSettings,
    context: StageContext,
    data: _Data,
    product: keras.Model,
    source: Any,
) -> None:
    parts = []
    if source is not None:
        parts.append(
            f"{len(source.files)} ranked "
            f"{'pairs' if settings.ranking == 'comparisons' else 'images'}, "
            f"sets of {source.levels} by {settings.ranking}"
        )
    if data.labelled is not None:
        parts.append(f"{len(data.labelled)} labelled images")
    context.say(
        f"{'; '.join(parts)}; {settings.embedder or settings.backbone}, "
        f"{product.count_params():,} parameters, "
        f"{product.input_shape[1]} pixels; {context.replicas.devices}"
    )
    for warning in _warnings(settings, data):
        context.say(f"warning: {warning}")


def _warnings(settings: RankedRegressionSettings, data: _Data) -> list[str]:
    if settings.regresses and data.validation is None:
        return ["there are no validation images with a label: no epoch is chosen."]
    return []


def _check_provenance(
    settings: RankedRegressionSettings,
    data: _Data,
    product: keras.Model,
    source: Any,
    context: StageContext,
) -> dict[str, Any]:
    found: dict[str, Any] = {"train_images": data.train.digest}
    if data.labelled is not None:
        found["labelled_images"] = data.labelled.digest
    if source is not None:
        found["ranked_images"] = f"{len(source.ids)} with ids {int(np.sum(source.ids) % 2**53)}"
    if data.validation is not None:
        found["validation_images"] = data.validation.digest
    if settings.initial_model or settings.embedder or settings.backbone_weights != "none":
        found["initial_weights"] = model_fingerprint(product.get_layer("trunk"))
    context.check_agreement(found)
    if context.replicas.is_chief:  # copies on other machines have times of their own
        found["train_content"] = f"sizes and times {stamps_digest(data.train.unlabelled)}"
    context.check_provenance(found)
    return found


def _figures_before(
    settings: RankedRegressionSettings,
    context: StageContext,
    data: _Data,
    product: keras.Model,
    source: Any,
) -> dict[str, Any]:
    return {
        "run_dir": str(context.run.path),
        "model": str(context.run.product),
        "dataset": settings.dataset,
        "output": settings.output,
        "ranked_by": settings.ranking if settings.ranks else None,
        "images": {
            "train": len(data.train),
            "labelled": 0 if data.labelled is None else len(data.labelled),
            "ranked": 0 if source is None else len(source.files),
            "validation": 0 if data.validation is None else len(data.validation),
        },
        "skipped_images": data.skipped,
        "parameters": product.count_params(),
        "image_size": product.input_shape[1],
        "epochs": settings.epochs,
        "replicas": context.replicas.count,
        "seed": settings.seed,
        "warnings": _warnings(settings, data),
    }


def _build_method(
    settings: RankedRegressionSettings, product: keras.Model, data: _Data
) -> Supervised:
    losses: dict[str, keras.losses.Loss] = {}
    weights: dict[str, float] = {}
    streams: dict[str, str] = {}
    scale = find_score_scale(product)
    unit = 1.0 if scale is None else scale.deviation
    if data.labelled is not None:
        losses[settings.output] = KnownSquaredError(name=settings.output)
        weights[settings.output] = 1.0 / unit**2
    if settings.ranks:
        streams[RANKED] = SCORE if settings.output == SCORE else COUNT
        margin = settings.rank_margin
        if margin is None:
            margin = 1.0 if settings.output == SCORE else 0.0
        losses[RANKED] = AllPairsRankingHinge(
            margin * unit, settings.rank_normalisation, name=RANKED
        )
        weights[RANKED] = (settings.rank_weight if settings.regresses else 1.0) / unit
        if settings.output == DENSITY:  # published for means over cells, not for their sum
            weights[RANKED] /= float(np.prod(product.output[DENSITY].shape[1:]))
    return Supervised(product, losses, loss_weights=weights, streams=streams)


def _watched(
    settings: RankedRegressionSettings,
    context: StageContext,
    training: Training,
    model: Supervised,
    few: Any,
    data: _Data,
) -> Training:
    """Adds averaging, monitoring and validation of the product."""
    product = model.get_product()
    found = watch_training(settings, context, training, model, product, few)
    if data.validation is None:
        return found.training
    validation = RegressionValidation(
        data.validation,
        found.scored,
        crops=settings.validation_crops,
        **found.options,
    )
    name = validation.metric.removeprefix("val_").lower()
    return dataclasses.replace(
        found.training,
        validation=Validation(
            validation.metric,
            validation,
            direction=validation.direction,
            figures=lambda value: {name: value},
        ),
    )
