"""Multi-label protocol: how well scores tell the labels of images."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from rich.console import Console

from keras_distill.data.multilabel_images import MultiLabelImages
from keras_distill.data.pipeline import evaluation_batches
from keras_distill.data.word_vectors import load_word_vectors
from keras_distill.errors import InputError, renamed_arguments
from keras_distill.evaluation import album_protocol
from keras_distill.evaluation.known_labels import known_labels, left_out_warnings
from keras_distill.evaluation.label_scores import score_batches
from keras_distill.evaluation.multilabel_result import multilabel_result
from keras_distill.evaluation.protocol_result import ProtocolResult
from keras_distill.models.album_model import album_parts
from keras_distill.models.label_names import find_labels
from keras_distill.models.loading import load_model
from keras_distill.models.mirror_average import is_mirror_averaged, mirror_averaged
from keras_distill.models.product import by_name, product_shape
from keras_distill.models.word_space import WORDS, build_word_classifier
from keras_distill.settings.evaluation import EvaluateSettings
from keras_distill.settings.label_data import is_album_dataset, load_label_images
from keras_distill.settings.progress import work_progress


@dataclass(frozen=True)
class LabelScorer:
    """A model that scores labels.

    Attributes:
        model: The model as it was loaded.
        labels: Names of the labels that its logits have; `None` for a word space, which scores any.
    """

    model: keras.Model
    labels: tuple[str, ...] | None

    def thresholds(self) -> float | np.ndarray:
        """The probability from which each label counts as present."""
        found = find_labels(self.model)
        if found is None or found.thresholds is None:
            return 0.5
        return np.array(found.thresholds, np.float32)


def load_scorer(settings: EvaluateSettings) -> LabelScorer:
    """Loads the model that the settings name.

    Args:
        settings: The settings, checked.

    Returns:
        The model.

    Raises:
        InputError: If it scores no labels.
    """
    with renamed_arguments(path="model"):
        model = load_model(settings.model)
    if album_parts(model) is not None:
        raise InputError(
            f"`model={settings.model}` is a classifier of albums; give `dataset=albums:PATH`."
        )
    labels = find_labels(model)
    if labels is None and WORDS not in (by_name(model.output) or {}):
        raise InputError(
            f"`model={settings.model}` has no logits with names of labels, and no words; give a "
            "model of the recipe multilabel, or `protocol=retrieval` for an embedder."
        )
    if settings.mirror:
        with renamed_arguments(model=f"model={settings.model}"):
            model = mirror_averaged(model)
    return LabelScorer(model, None if labels is None else labels.names)


def evaluate(
    settings: EvaluateSettings, trained: Sequence[str], console: Console
) -> ProtocolResult:
    """Measures how well a model tells the labels of images.

    Args:
        settings: The settings, checked.
        trained: Names of the labels that a word space was trained on, as far as is known.
        console: Where progress is shown.

    Returns:
        The result; with `zero_shot` if some of the labels were not trained on; of albums, with
        `variants`, see `album_protocol`.

    Raises:
        InputError: If there are no such images, or the model cannot score their labels.
    """
    if is_album_dataset(settings.dataset):
        return album_protocol.evaluate(settings, console)
    scorer = load_scorer(settings)
    (images,), skipped = load_label_images(settings, settings.split)
    if images is None:
        raise InputError(
            f"`split={settings.split}`: `dataset={settings.dataset}` has no such images."
        )
    begun = time.perf_counter()
    total = len(images.class_names)
    images, lacking = known_labels(settings, scorer.labels, images)
    trained = scorer.labels or trained
    is_word_space = scorer.labels is None
    scores = _scores(settings, scorer, images, console)
    thresholds: Any = 0.0  # of a ranking, which has none
    if scorer.labels is not None:
        found = find_labels(scorer.model)
        assert found is not None
        scores = np.asarray(found.probabilities(scores))
        columns = [scorer.labels.index(name) for name in images.class_names]
        scores, limits = scores[:, columns], scorer.thresholds()
        thresholds = limits if isinstance(limits, float) else limits[columns]
    unseen = [name for name in images.class_names if name not in trained] if trained else []
    result = multilabel_result(
        f"{settings.model} on {settings.dataset} ({settings.split})"
        + (f", {settings.degrade}" if settings.degrade else ""),
        scores,
        images.targets,
        images.class_names,
        thresholds=thresholds,
        top_ks=settings.top_ks_or([3]),
        unseen=unseen if len(unseen) < len(images.class_names) else (),
        per_class=settings.per_class,
    )
    seconds = time.perf_counter() - begun
    notes = [*result.notes, f"{len(images)} images in {seconds:.1f} s"]
    if is_mirror_averaged(scorer.model):
        notes.append(f"{settings.model} averages each image and its mirror image.")
    if is_word_space:
        notes.append(
            "Scores of word vectors only rank labels: read the figures at K, not those at a "
            "threshold."
        )
    more = {
        "class_names": list(images.class_names),
        "left_out_labels": lacking,
        "skipped_images": skipped,
        **result.more,
        "degrade": settings.degrade or None,
        "mirror": is_mirror_averaged(scorer.model),
        "thresholds": "validation" if np.ndim(thresholds) else float(thresholds),
        "seconds": round(seconds, 3),
    }
    warnings = [*left_out_warnings(lacking, total), *result.warnings]
    return replace(result, notes=tuple(notes), warnings=warnings, more=more)


def _scores(
    settings: EvaluateSettings, scorer: LabelScorer, images: MultiLabelImages, console: Console
) -> np.ndarray:
    model = scorer.model
    if scorer.labels is None:
        if not settings.word_vectors:
            raise InputError(
                "`word_vectors` is needed to score labels in a word space; give the file that the "
                "model was trained with."
            )
        with renamed_arguments(path="word_vectors", names="classes"):
            vectors = load_word_vectors(settings.word_vectors, images.class_names)
        model = build_word_classifier(model, images.class_names, vectors)
    size = product_shape(model).image_size or settings.image_size
    if size is None:
        raise InputError(f"`model={settings.model}` takes images of any size; give `image_size`.")
    batches = evaluation_batches(
        images.unlabelled,
        image_size=size,
        batch_size=settings.batch_size,
        degrade=settings.degrade,
    )
    with work_progress("scoring", len(images), "images", console, transient=True) as advance:
        return score_batches(model, batches, on_batch=advance)
