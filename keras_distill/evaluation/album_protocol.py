"""Multi-label protocol on albums: the classifier, and the means that it is compared with."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from keras_distill.data.albums import Albums
from keras_distill.errors import InputError, renamed_arguments
from keras_distill.evaluation.album_picture import draw_albums
from keras_distill.evaluation.album_scorer import AlbumScorer, AlbumScores
from keras_distill.evaluation.known_labels import known_labels, left_out_warnings
from keras_distill.evaluation.multilabel_result import ScoredVariant, multilabel_result
from keras_distill.evaluation.protocol_result import ProtocolResult
from keras_distill.models.album_classifier import BASELINES
from keras_distill.models.label_names import LOGITS, find_labels
from keras_distill.models.loading import load_model
from keras_distill.settings.evaluation import EvaluateSettings
from keras_distill.settings.label_data import load_albums
from keras_distill.settings.progress import work_progress


def evaluate(settings: EvaluateSettings, console: Console) -> ProtocolResult:
    """Measures how well a classifier tells the labels of albums, and its baselines too.

    Args:
        settings: The settings, checked, whose data are albums.
        console: Where progress is shown.

    Returns:
        The result; with `variants` if the classifier has baselines.

    Raises:
        InputError: If there are no such albums, or the model cannot score their labels.
    """
    with renamed_arguments(path="model"):
        model = load_model(settings.model)
    with renamed_arguments(model=f"model={settings.model}"):
        scorer = AlbumScorer(model)
    labels = find_labels(model)
    assert labels is not None
    (albums,), skipped = load_albums(settings, settings.split)
    if albums is None:
        raise InputError(
            f"`split={settings.split}`: `dataset={settings.dataset}` has no such albums."
        )
    begun = time.perf_counter()
    total = len(albums.class_names)
    albums, lacking = known_labels(settings, labels.names, albums)
    with work_progress(
        "scoring", len(albums.photographs), "photographs", console, transient=True
    ) as advance:
        vectors = scorer.vectors(
            albums, batch_size=settings.batch_size, degrade=settings.degrade, on_batch=advance
        )
    scores = scorer.scores(albums, vectors)
    found = {name: _variant(model, name, scores, albums.class_names) for name in scores.logits}
    own = found.pop(LOGITS)
    result = multilabel_result(
        f"{settings.model} on {settings.dataset} ({settings.split})",
        own.scores,
        albums.targets,
        albums.class_names,
        thresholds=own.thresholds,
        top_ks=settings.top_ks_or([3]),
        per_class=settings.per_class,
        variants=found,
        noun="album",
    )
    more = {
        "class_names": list(albums.class_names),
        "left_out_labels": lacking,
        "skipped_images": skipped,
        **result.more,
        "photographs": len(albums.photographs),
        "degrade": settings.degrade or None,
        "thresholds": "validation" if np.ndim(own.thresholds) else float(own.thresholds),
        "seconds": round(time.perf_counter() - begun, 3),
    }
    notes = [
        *result.notes,
        f"{len(albums.photographs)} photographs in {more['seconds']:.1f} s",
    ]
    if settings.picture:
        drawn = _draw(settings, albums, scores, own)
        notes.append(f"{drawn} albums are drawn in {settings.picture}.")
    warnings = [
        *left_out_warnings(lacking, total),
        *(text.replace(" images", " albums") for text in result.warnings),
    ]
    return replace(result, notes=tuple(notes), warnings=warnings, more=more)


def _variant(
    model: Any, output: str, scores: AlbumScores, class_names: Sequence[str]
) -> ScoredVariant:
    """The probabilities of an output for the labels of the data, and their thresholds."""
    labels = find_labels(model, output)
    assert labels is not None
    columns = [labels.names.index(name) for name in class_names]
    limits: Any = labels.thresholds
    return ScoredVariant(
        BASELINES.get(output, output),
        np.asarray(labels.probabilities(scores.logits[output]))[:, columns],
        0.5 if limits is None else np.array(limits, np.float32)[columns],
    )


def _draw(
    settings: EvaluateSettings, albums: Albums, scores: AlbumScores, own: ScoredVariant
) -> int:
    """Draws some of the albums; returns how many."""
    limits = np.broadcast_to(own.thresholds, own.scores.shape)
    captions = []
    for row, name in enumerate(albums.names.tolist()):
        true = [albums.class_names[label] for label in np.flatnonzero(albums.targets[row] == 1)]
        best = int(np.argmax(own.scores[row] - limits[row]))
        chosen = np.flatnonzero(own.scores[row] >= limits[row]).tolist() or [best]
        told = [f"{albums.class_names[label]} {own.scores[row, label]:.2f}" for label in chosen]
        captions.append(f"{name}: {', '.join(true) or 'no label'}; model: {', '.join(told)}")
    return draw_albums(Path(settings.picture), albums, scores.attention, captions)
