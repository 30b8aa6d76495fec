"""Retrieval protocol: every image is a query against all others."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console

from keras_distill.data.image_set import ImageSet
from keras_distill.errors import InputError
from keras_distill.evaluation.asymmetric import asymmetric_metrics, check_equal_widths
from keras_distill.evaluation.evaluated_model import (
    average_mirror_images,
    load_gallery_model,
    load_student,
)
from keras_distill.evaluation.metric_figures import MEANING, by_measure, figures
from keras_distill.evaluation.metric_tables import (
    asymmetric_figures,
    asymmetric_sentences,
    metrics_table,
)
from keras_distill.evaluation.protocol_result import ProtocolResult
from keras_distill.evaluation.retrieval_metrics import RetrievalMetrics, retrieval_metrics
from keras_distill.evaluation.retrieval_warnings import chance_recall, retrieval_warnings
from keras_distill.settings.evaluation import (
    EvaluateSettings,
    parse_ks,
    parse_map_ks,
    parse_precision_ks,
)

_Sides = tuple[np.ndarray, np.ndarray, np.ndarray]


def evaluate(
    settings: EvaluateSettings,
    images: ImageSet,
    seen: Sequence[str],
    skipped: Sequence[str],
    console: Console,
) -> ProtocolResult:
    """Measures retrieval by the model, or by the model in another model's gallery.

    Args:
        settings: The settings, checked.
        images: The images that are queries and gallery.
        seen: Names of their classes that the model is known to have been trained on.
        skipped: Paths of images that were left out, because they cannot be read.
        console: Where progress is shown.

    Returns:
        The result.

    Raises:
        InputError: If a model cannot embed the images, or the two cannot be compared.
    """
    student, teacher = load_student(settings, images), load_gallery_model(settings, images)
    if settings.mirror:
        student, *others = average_mirror_images(
            [student] if teacher is None else [student, teacher]
        )
        teacher = others[0] if others else None
    if teacher is not None:
        _check_comparable(student.model.embedding_dim, teacher.model.embedding_dim)
    begun = time.perf_counter()
    over = settings.shown_intervals(seen=bool(seen), classes=len(images.classes))
    class_names = images.class_names if settings.per_class else None
    sides = student.embed_sides(settings, images, console)
    title = f"{settings.model} on {settings.dataset} ({settings.split})"
    if teacher is None:
        columns, measured, closing = _measured(settings, sides, class_names)
    else:
        teachers_sides = teacher.embed_sides(settings, images, console)
        columns, measured, closing = _measured_asymmetrically(
            settings, sides, teachers_sides, class_names, over
        )
        measured["asymmetric"]["gallery_mirror"] = teacher.model.mirror_averaged
        sides = sides[0], teachers_sides[1], sides[2]
        title += f", with the gallery of {settings.gallery_model}"
    if settings.degrade:
        title += f", {settings.degrade} on {settings.degrade_side}"
    averaged = [
        f"{each.path} averages the vectors of each image and its mirror image."
        for each in (student, teacher)
        if each is not None and each.model.mirror_averaged
    ]
    seconds = time.perf_counter() - begun
    metrics = next(iter(columns.values()))
    count = f"{metrics.queries} queries of {len(images.classes)} classes in {seconds:.1f} s"
    return ProtocolResult(
        figures=by_measure(metrics.means),
        intervals=measured["intervals"],
        table=metrics_table(title, columns, over),
        notes=(f"Intervals over {over} show {MEANING[over]}.", *closing, *averaged, count),
        warnings=retrieval_warnings(metrics, *sides[:2]),
        more={
            "classes": len(images.classes),
            "classes_seen_in_training": list(seen),
            "skipped_images": list(skipped),
            "queries": metrics.queries,
            "gallery": metrics.gallery,
            "leave_one_out": True,
            "backend": "exact",
            "mirror": student.model.mirror_averaged,
            "degrade": settings.degrade or None,
            "degrade_side": settings.degrade_side if settings.degrade else None,
            **measured,
            "chance": {"recall": {str(k): chance_recall(sides[2], k) for k in metrics.recall}},
            "intervals_shown": over,
            "seconds": round(seconds, 3),
            "index": {"dim": sides[0].shape[1], "metric": "euclidean", "dtype": "float32"},
        },
    )


def _check_comparable(student: int | None, teacher: int | None) -> None:
    """Checks the widths of both models, and names their settings and the settings of `train`."""
    try:
        check_equal_widths(student, teacher)
    except InputError as error:
        named = error.renamed(student="model", teacher="gallery_model")
        raise InputError(
            f"{named} `train --teacher_projection=pca` does the first, and its run holds "
            f"projected_teacher.keras; `train --embedding_dim={teacher}` does the second."
        ) from error


def _measured(
    settings: EvaluateSettings, sides: _Sides, class_names: Sequence[str] | None
) -> tuple[dict[str, RetrievalMetrics], dict[str, Any], list[str]]:
    """Measures one model: the columns of the table, the figures, and more notes."""
    queries, gallery, labels = sides
    metrics = retrieval_metrics(
        queries,
        labels,
        ks=parse_ks(settings.ks),
        precision_ks=parse_precision_ks(settings.precision_ks),
        map_ks=parse_map_ks(settings.map_ks),
        gallery_embeddings=gallery,
        gallery_labels=labels,
        leave_one_out=True,
    )
    return {"": metrics}, figures(metrics, class_names), []


def _measured_asymmetrically(
    settings: EvaluateSettings,
    sides: _Sides,
    teachers_sides: _Sides,
    class_names: Sequence[str] | None,
    over: str,
) -> tuple[dict[str, RetrievalMetrics], dict[str, Any], list[str]]:
    """Measures the student in the teacher's gallery and both alone; returns as `_measured` does."""
    _check_comparable(sides[0].shape[1], teachers_sides[1].shape[1])
    pair = asymmetric_metrics(
        sides[:2],
        teachers_sides[:2],
        sides[2],
        ks=parse_ks(settings.ks),
        precision_ks=parse_precision_ks(settings.precision_ks),
        map_ks=parse_map_ks(settings.map_ks),
    )
    columns = {
        "student → teacher": pair.asymmetric,
        "student → student": pair.student,
        "teacher → teacher": pair.teacher,
    }
    asymmetric = asymmetric_figures(pair, class_names)
    measured = {
        **asymmetric["student_to_teacher"],
        "asymmetric": {"gallery_model": settings.gallery_model, **asymmetric},
    }
    return columns, measured, asymmetric_sentences(pair, over).splitlines()
