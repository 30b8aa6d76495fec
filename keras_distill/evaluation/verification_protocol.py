"""Verification protocol: whether two images show the same person, or object."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from keras_distill.data.image_pairs import ImagePairs, ImageTemplates, read_pairs, read_templates
from keras_distill.data.image_set import ImageSet
from keras_distill.errors import InputError
from keras_distill.evaluation.evaluated_model import average_mirror_images, load_student
from keras_distill.evaluation.pair_scores import unit_rows
from keras_distill.evaluation.protocol_result import ProtocolResult
from keras_distill.evaluation.roc_picture import draw_roc
from keras_distill.evaluation.template_vectors import template_vectors
from keras_distill.evaluation.verification_metrics import (
    VerificationMetrics,
    all_pair_metrics,
    verification_metrics,
)
from keras_distill.evaluation.verification_result import verification_result
from keras_distill.settings.class_data import has_split_folders, load_whole_split
from keras_distill.settings.data import load_images, without_unreadable
from keras_distill.settings.evaluation import EvaluateSettings
from keras_distill.settings.progress import work_progress

_AT_ONCE = 2**16  # pairs of a list


@dataclass(frozen=True)
class _Compared:
    """What is compared: images or templates, and the pairs of them, all if `None`."""

    images: ImageSet
    skipped: list[str]
    pairs: ImagePairs | None = None
    templates: ImageTemplates | None = None


def evaluate(
    settings: EvaluateSettings, seen_of: Callable[[ImageSet], Sequence[str]], console: Console
) -> ProtocolResult:
    """Measures how well an embedder tells whether two images show the same.

    Args:
        settings: The settings, checked.
        seen_of: Returns the names of the classes of images that the model was trained on, as far as
            is known.
        console: Where progress is shown.

    Returns:
        The result.

    Raises:
        InputError: If the model cannot embed the images, or there are no pairs of a kind.
    """
    compared = _listed(settings) if settings.pairs else _all(settings)
    student = load_student(settings, compared.images)
    if settings.mirror:
        (student,) = average_mirror_images([student])
    seen = [] if settings.pairs else list(seen_of(compared.images))
    begun = time.perf_counter()
    vectors, _, _ = student.embed_sides(settings, compared.images, console)
    embedded = time.perf_counter()
    vectors, unit = unit_rows(vectors), "classes"
    if compared.pairs is None:
        count = len(vectors) * (len(vectors) - 1) // 2
        with work_progress("comparing", count, "pairs", console, transient=True) as advance:
            metrics = all_pair_metrics(vectors, compared.images.labels, on_pairs=advance)
    else:
        metrics, unit = _measured(compared, vectors)
    data = settings.pairs or f"{settings.dataset} ({settings.split})"
    title = f"{settings.model} on {data}" + (f", {settings.degrade}" if settings.degrade else "")
    result = verification_result(title, metrics, unit=unit)
    notes = [*result.notes]
    if student.model.mirror_averaged:
        notes.append(f"{student.path} averages the vectors of each image and its mirror image.")
    if settings.picture:
        draw_roc(Path(settings.picture), metrics, title=title)
        notes.append(settings.picture)
    seconds = time.perf_counter() - begun
    notes.append(
        f"{len(vectors)} images in {seconds:.1f} s, of which {seconds - (embedded - begun):.1f} s "
        "compared them"
    )
    warnings = [*result.warnings]
    if seen:
        named = ", ".join(seen[:3]) + (", …" if len(seen) > 3 else "")
        warnings.append(
            f"The model was trained on {len(seen)} of these {len(compared.images.classes)} classes "
            f"({named}): the figures do not show how well it tells others apart."
        )
    more = {
        "images": len(vectors),
        **result.more,
        "classes_seen_in_training": seen,
        "skipped_images": compared.skipped,
        "mirror": student.model.mirror_averaged,
        "degrade": settings.degrade or None,
        "seconds": round(seconds, 3),
    }
    return replace(result, notes=notes, warnings=warnings, more=more)


def _all(settings: EvaluateSettings) -> _Compared:
    """All pairs of the labelled images of a split."""
    if has_split_folders(settings.dataset):
        return _Compared(*load_whole_split(settings, settings.split))
    (images,), skipped = load_images(settings, settings.split)
    return _Compared(images, skipped)


def _listed(settings: EvaluateSettings) -> _Compared:
    """The pairs of a file, without those of images that cannot be read."""
    pairs = read_pairs(settings.pairs)
    templates = read_templates(settings.templates) if settings.templates else None
    file = settings.templates or settings.pairs
    root = Path(settings.images or Path(file).expanduser().parent).expanduser()
    if templates is None:
        paths = np.array(pairs.names)
    else:
        if unknown := sorted(set(pairs.names) - set(templates.names)):
            raise InputError(
                f"`pairs={settings.pairs}` has {len(unknown)} templates that "
                f"`templates={settings.templates}` does not have, such as {unknown[0]!r}."
            )
        paths = np.array(templates.files)
    if missing := [path for path in dict.fromkeys(paths.tolist()) if not (root / path).is_file()]:
        raise InputError(
            f"{file}: {len(missing)} of the files, such as {missing[0]!r}, are not in "
            f"{str(root)!r}; give the folder that they are relative to as `images`."
        )
    images = ImageSet(root, np.unique(paths), np.full(len(np.unique(paths)), -1, np.int64), ())
    kept, skipped = without_unreadable(settings, images)
    return _Compared(kept, skipped, pairs, templates)


def _measured(compared: _Compared, vectors: np.ndarray) -> tuple[VerificationMetrics, str]:
    """The metrics of a list of pairs, and what their intervals are over."""
    pairs, templates = compared.pairs, compared.templates
    assert pairs is not None
    row = {path: place for place, path in enumerate(compared.images.paths.tolist())}
    if templates is None:
        names = pairs.names
        rows = np.array([row.get(name, -1) for name in names])
        subjects, unit = _people_of(names)
    else:
        rows_of = np.array([row.get(file, -1) for file in templates.files])
        kept = rows_of >= 0
        number = len(templates.names)
        vectors = template_vectors(
            vectors[rows_of[kept]], templates.template[kept], templates.media[kept], number
        )
        filled = np.bincount(templates.template[kept], minlength=number) > 0
        place = {name: at if filled[at] else -1 for at, name in enumerate(templates.names)}
        rows = np.array([place[name] for name in pairs.names])
        told = dict(zip(templates.names, templates.subjects, strict=True))
        subjects = [told[name] for name in pairs.names]
        unit = "templates" if templates.subjects == templates.names else "people"
    pairs = pairs.select((rows[pairs.left] >= 0) & (rows[pairs.right] >= 0))
    numbers = np.unique(subjects, return_inverse=True)[1]
    people = np.stack([numbers[pairs.left], numbers[pairs.right]], axis=1)
    scores = np.empty(len(pairs))
    for begin in range(0, len(pairs), _AT_ONCE):
        part = slice(begin, begin + _AT_ONCE)
        sides = vectors[rows[pairs.left[part]]], vectors[rows[pairs.right[part]]]
        scores[part] = np.einsum("ij,ij->i", *sides)
    return verification_metrics(scores, pairs.same, people=people, folds=pairs.folds), unit


def _people_of(names: tuple[str, ...]) -> tuple[list[str], str]:
    """The person of each file, by its folder, or the file itself where all are in one folder."""
    folders = [name.rpartition("/")[0] for name in names]
    return (folders, "people") if len(set(folders)) > 1 else (list(names), "images")
