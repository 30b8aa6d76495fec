"""Choosing of images as the settings of the command `select` say."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from keras_distill.data.image_set import ImageSet
from keras_distill.data.picture_list import PictureList, list_pictures
from keras_distill.data.readable_images import why_unreadable
from keras_distill.data.vector_shards import open_shards
from keras_distill.embedding.bulk import embed_readable
from keras_distill.embedding.picture_embedder import load_embedder
from keras_distill.errors import InputError, renamed_arguments
from keras_distill.models.label_names import LOGITS, find_labels
from keras_distill.models.score_scale import find_score_scale
from keras_distill.selection.choice import Choice
from keras_distill.selection.coverage import best_covering
from keras_distill.selection.k_centre import k_centre
from keras_distill.selection.model_outputs import load_output_model
from keras_distill.selection.ranking_consistency import ranking_consistency
from keras_distill.selection.uncertainty import uncertainty
from keras_distill.selection.vector_blocks import ArrayBlocks, ShardBlocks, VectorBlocks
from keras_distill.settings.progress import work_progress
from keras_distill.settings.selection import SelectSettings

_AT_ONCE = 4096  # pictures that are listed as one image set
_SCORE = "score"


def choose(settings: SelectSettings, console: Console) -> Choice:
    """Chooses images.

    Args:
        settings: The settings, checked.
        console: Where progress is shown.

    Returns:
        The choice.

    Raises:
        InputError: If images, vectors or the model cannot be used, or all images are labelled.
    """
    way = {
        "coverage": _by_coverage,
        "diversity": _by_diversity,
        "uncertainty": _by_uncertainty,
        "ranking_consistency": _by_consistency,
        "random": _by_random,
    }
    return way[settings.by](settings, console)


def _by_coverage(settings: SelectSettings, console: Console) -> Choice:
    vectors, paths, root, unreadable = _vectors(settings, console)
    labelled = _labelled(settings, paths, unreadable)
    given = np.flatnonzero(labelled)
    count = _count(settings, len(paths), len(given))
    options: dict[str, Any] = {"given": given, "seed": settings.seed}
    with work_progress("choosing", count, "images", console, transient=True) as advance:
        found = best_covering(vectors, count, on_chosen=advance, **options)
    values = [float(each) for each in found.mean_distances]
    chosen = [paths[row] for row in found.rows.tolist()]
    more = {"sample": found.sample}
    return Choice(
        root, chosen, [*values], "mean_distance", len(paths), len(given), unreadable, more
    )


def _by_diversity(settings: SelectSettings, console: Console) -> Choice:
    vectors, paths, root, unreadable = _vectors(settings, console)
    labelled = _labelled(settings, paths, unreadable)
    given = np.flatnonzero(labelled)
    count = _count(settings, len(paths), len(given))
    with work_progress("choosing", count, "images", console, transient=True) as advance:
        centres = k_centre(vectors, count, given=given, on_chosen=advance)
    values = [float(each) if np.isfinite(each) else None for each in centres.distances]
    chosen = [paths[row] for row in centres.rows.tolist()]
    more = {"radius": centres.radius, "passes": centres.passes}
    return Choice(root, chosen, values, "distance", len(paths), len(given), unreadable, more)


def _by_random(settings: SelectSettings, console: Console) -> Choice:
    """Of a folder, images that can be read; of vectors, any, as they have been read."""
    if settings.vectors:
        with renamed_arguments(folder="vectors"):
            shards = ShardBlocks(open_shards(Path(settings.vectors)))
        paths, root = shards.paths, shards.root
    else:
        pictures = _pictures(settings)
        paths, root = pictures.paths, pictures.root
    labelled = _labelled(settings, paths, ())
    count = _count(settings, len(paths), int(labelled.sum()))
    chosen: list[str] = []
    unreadable: list[str] = []
    with work_progress("choosing", count, "images", console, transient=True) as advance:
        for row in np.random.default_rng(settings.seed).permutation(len(paths)).tolist():
            if len(chosen) == count:
                break
            if labelled[row]:
                continue
            fits = settings.vectors or _is_readable(root / paths[row])
            (chosen if fits else unreadable).append(paths[row])
            advance(int(bool(fits)))
    more = {"seed": settings.seed}
    values = [None] * len(chosen)
    return Choice(root, chosen, [*values], "", len(paths), int(labelled.sum()), unreadable, more)


def _is_readable(file: Path) -> bool:
    try:
        return not why_unreadable(file.read_bytes())
    except OSError:
        return False


def _by_uncertainty(settings: SelectSettings, console: Console) -> Choice:
    with renamed_arguments(path="model"):
        model = load_output_model(settings.model, LOGITS, settings.image_size)
    labels = find_labels(model.model)
    activation = "softmax" if labels is None else labels.activation
    pictures = _pictures(settings)
    images, labelled = _unlabelled(settings, pictures)
    with work_progress("scoring", len(images), "images", console, transient=True) as advance:
        logits, places = model.rows(images, batch_size=settings.batch_size, on_rows=advance)
    values = uncertainty(logits, activation=activation, measure=settings.measure)
    order = np.argsort(-values, kind="stable")
    return _chosen(settings, pictures, images, places, order, values, settings.measure, labelled)


def _by_consistency(settings: SelectSettings, console: Console) -> Choice:
    with renamed_arguments(path="model"):
        model = load_output_model(settings.model, _SCORE, settings.image_size)
    pictures = _pictures(settings)
    images, labelled = _unlabelled(settings, pictures)
    ladders = settings.ladders
    total = len(images) * (1 + sum(map(len, ladders)))
    columns: dict[str, np.ndarray] = {}
    places = np.arange(len(images))
    with work_progress("scoring", total, "images", console, transient=True) as advance:
        for degrade in ("", *(level for ladder in ladders for level in ladder)):
            rows, readable = model.rows(
                images, degrade=degrade, batch_size=settings.batch_size, on_rows=advance
            )
            if rows.reshape(len(rows), -1).shape[1] != 1:
                raise InputError(
                    f"`model={settings.model}` has an output 'score' of the shape {rows.shape[1:]} "
                    "for an image; it must be one number."
                )
            columns[degrade], places = rows.reshape(-1), readable
    scale = find_score_scale(model.model)
    falling = scale is None or scale.higher_is_better
    shares, margins = np.zeros((2, len(places)))
    for ladder in ladders:
        scores = np.stack([columns[level] for level in ("", *ladder)], axis=1)
        found = ranking_consistency(scores, falling=falling)
        shares += found.shares / len(ladders)
        margins += found.margins / len(ladders)
    order = np.lexsort((margins, shares))
    choice = _chosen(settings, pictures, images, places, order, shares, "consistency", labelled)
    choice.more.update(ladders=[",".join(ladder) for ladder in ladders])
    choice.more["mean_consistency"] = float(shares.mean())
    return choice


def _chosen(
    settings: SelectSettings,
    pictures: PictureList,
    images: ImageSet,
    places: np.ndarray,
    order: np.ndarray,
    values: np.ndarray,
    measure: str,
    labelled: int,
) -> Choice:
    """The first of the images that could be read, in an order."""
    readable = np.zeros(len(images), bool)
    readable[places] = True
    unreadable = images.paths[~readable].tolist()
    count = _count(settings, len(places), 0)
    first = order[:count]
    return Choice(
        pictures.root,
        images.paths[places[first]].tolist(),
        [float(value) for value in values[first]],
        measure,
        len(pictures),
        labelled,
        unreadable,
    )


def _pictures(settings: SelectSettings) -> PictureList:
    return list_pictures(settings.images, data_dir=settings.data_dir)


def _unlabelled(settings: SelectSettings, pictures: PictureList) -> tuple[ImageSet, int]:
    """The pictures that are not labelled yet, and the number of the others."""
    labelled = _labelled(settings, pictures.paths, ())
    if labelled.all():
        raise InputError(f"`labelled={settings.labelled}` has all of the images.")
    return pictures.images(range(len(pictures))).select(~labelled), int(labelled.sum())


def _vectors(
    settings: SelectSettings, console: Console
) -> tuple[VectorBlocks, list[str], Path, list[str]]:
    """The vectors, the paths and the folder of the images, and the paths of unreadable ones."""
    if settings.vectors:
        with renamed_arguments(folder="vectors"):
            shards = ShardBlocks(open_shards(Path(settings.vectors)))
        return shards, shards.paths, shards.root, []
    pictures = _pictures(settings)
    vectors, paths, unreadable = _embedded(settings, pictures, console)
    return vectors, paths, pictures.root, unreadable


def _embedded(
    settings: SelectSettings, pictures: PictureList, console: Console
) -> tuple[ArrayBlocks, list[str], list[str]]:
    """The vectors and the paths of the pictures that can be read, and the other paths."""
    embedder, size = load_embedder(settings.model, settings.image_size, mirror=settings.mirror)
    dim = embedder.embedding_dim
    if dim is None:
        dim = int(embedder(np.zeros((1, size, size, 3), np.uint8)).shape[1])
    options: dict[str, Any] = {"dim": dim, "image_size": size, "batch_size": settings.batch_size}
    found, paths, unreadable = [], [], []
    with (
        renamed_arguments(embedder="model"),
        work_progress("embedding", len(pictures), "images", console, transient=True) as advance,
    ):
        for begin in range(0, len(pictures), _AT_ONCE):
            part = pictures.images(range(begin, begin + _AT_ONCE))
            rows = embed_readable(embedder, part, on_rows=advance, **options)
            found.append(rows.vectors)
            paths += rows.paths
            unreadable += [path for path, _ in rows.errors]
    if not paths:
        raise InputError("`images`: none of the images could be read.")
    return ArrayBlocks(np.concatenate(found)), paths, unreadable


def _labelled(settings: SelectSettings, paths: Sequence[str], others: Sequence[str]) -> np.ndarray:
    """Whether each of the images is labelled already, bool `(n,)`."""
    labelled = np.zeros(len(paths), bool)
    if not settings.labelled:
        return labelled
    try:
        text = Path(settings.labelled).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"`labelled={settings.labelled}` cannot be read: {error}.") from error
    listed = {line.strip() for line in text.splitlines() if line.strip()}
    labelled[:] = [path in listed for path in paths]
    known = listed.intersection(paths).union(listed.intersection(others))
    if unknown := sorted(listed - known):
        raise InputError(
            f"`labelled={settings.labelled}` names {len(unknown)} images that are not there, such "
            f"as {unknown[0]!r}; give paths relative to the folder of the images, as in "
            f"{paths[0]!r}."
        )
    return labelled


def _count(settings: SelectSettings, images: int, labelled: int) -> int:
    """How many images to choose."""
    if labelled == images:
        raise InputError(f"`labelled={settings.labelled}` has all of the images.")
    return min(settings.budget, images - labelled)
