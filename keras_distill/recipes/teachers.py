"""Teachers that the settings name, with their caches and projections."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console

from keras_distill.data.image_set import ImageSet
from keras_distill.embedding.named_teacher import load_named_teacher
from keras_distill.errors import InputError, renamed_arguments
from keras_distill.losses.feature_loss import FeatureLoss
from keras_distill.losses.registry import ANCHOR_LOSSES, SAME_SPACE_LOSSES
from keras_distill.models.inner_layers import map_layers
from keras_distill.models.projection import build_projection
from keras_distill.publishing import published_file
from keras_distill.recipes.caches import (
    fill_caches,
    open_teacher_caches,
    shown_views,
    titled,
)
from keras_distill.recipes.class_vectors import class_vectors
from keras_distill.recipes.losses import build_teacher_losses, with_anchors, with_head
from keras_distill.recipes.teacher_embeddings import TeacherEmbeddings
from keras_distill.settings.distill import DistillSettings
from keras_distill.settings.teachers import (
    TEACHER_SIDE_PROJECTIONS,
    parse_anchors,
    parse_cache,
    parse_teachers,
    per_teacher,
)
from keras_distill.teachers.cache import TeacherCache
from keras_distill.teachers.projected_teacher import fit_pca, project, save_projected_teacher
from keras_distill.teachers.teacher import Teacher


@dataclass
class RecipeTeachers:
    """The teachers that the settings name, by name; a single one is called `""`.

    Attributes:
        teachers: The teachers, projected where the settings say so.
        caches: Their caches of the plain rows; a teacher that is evaluated at each step has none.
        views: Different views of an image in training; `None` for a new one in each epoch.
        losses: The losses against each teacher.
        live: Teachers that are evaluated at each step, because they have no cache, or not for
            everything.
        pca: The PCA of each teacher that has one.
        student_projections: Maps from the student's embedding into a teacher's space.
        mixed_caches: Their caches of the mixed rows.
        embeddings: Their embeddings of the training images, until the training begins.
    """

    teachers: dict[str, Teacher]
    caches: dict[str, TeacherCache]
    views: int | None
    losses: dict[str, list[Any]]
    live: set[str]
    pca: dict[str, keras.Model]
    student_projections: dict[str, keras.Model]
    mixed_caches: dict[str, TeacherCache] = field(default_factory=dict)
    embeddings: dict[str, TeacherEmbeddings] = field(default_factory=dict)

    def single(self, values: dict[str, Any]) -> Any:
        """Returns the only teacher's value, the dict if they have names, `None` if it is empty."""
        return values.get("", values) if values else None

    def image_sizes(self, image_size: int, *, degraded: bool = False) -> Any:
        """Returns `teacher_image_size` of `training_batches` for the teachers that are live.

        Args:
            image_size: Height and width of the student's images, in pixels.
            degraded: Whether the student's images are degraded, so that no teacher may see them.
        """
        sizes = {
            name: teacher.image_size or image_size
            for name, teacher in self.teachers.items()
            if name in self.live and (degraded or teacher.image_size not in (None, image_size))
        }
        return self.single(sizes)

    def lookup(self, *, mixed: bool = False) -> Callable[[tf.Tensor, tf.Tensor], Any] | None:
        """Returns `teacher_embedding` of `training_batches` for the teachers that have a cache.

        Args:
            mixed: Whether to return `mixed_teacher_embedding` instead.
        """
        caches = self.mixed_caches if mixed else self.caches
        if not caches:
            return None

        def look_up(rows: tf.Tensor, views: tf.Tensor) -> Any:
            found = {name: cache.lookup(rows, views) for name, cache in caches.items()}
            for name in found.keys() & self.pca.keys():
                found[name] = self.pca[name](found[name])
            return self.single(found)

        return look_up

    def lookup_features(
        self, *, mixed: bool = False
    ) -> Callable[[tf.Tensor, tf.Tensor], Any] | None:
        """Returns `teacher_features` of `training_batches` for the teachers that cache them.

        Args:
            mixed: Whether to return `mixed_teacher_features` instead.
        """
        opened = self.mixed_caches if mixed else self.caches
        caches = {name: cache for name, cache in opened.items() if cache.layers}
        if not caches:
            return None
        return lambda rows, views: self.single(
            {name: cache.lookup_features(rows, views) for name, cache in caches.items()}
        )

    def save_projections(self, folder: Path) -> list[Path]:
        """Writes the PCA of each teacher, and the teacher with it, into a folder."""
        written = []
        for name, projection in self.pca.items():
            suffix = f"_{name}" if name else ""
            path = folder / f"teacher_pca{suffix}.keras"
            with published_file(path) as temporary:
                projection.save(temporary)
            written += [
                path,
                save_projected_teacher(self.teachers[name], folder, f"projected_teacher{suffix}"),
            ]
        return [path for path in written if path is not None]


def prepare_teachers(
    settings: DistillSettings,
    images: ImageSet,
    opened: Mapping[str, Teacher],
    *,
    student: keras.Model,
    weights: Mapping[str, Mapping[str, float]],
    mixed_views: int,
    console: Console,
) -> RecipeTeachers:
    """Projects the teachers and fills their caches as far as this run needs them.

    Args:
        settings: The settings.
        images: The training images.
        opened: The teachers, as of `open_teachers`.
        student: The student.
        weights: Weight of each loss by teacher, as of `parse_teacher_losses`.
        mixed_views: Views of mixed images that training shows.
        console: Console that shows progress.

    Returns:
        The teachers.

    Raises:
        InputError: If one of them cannot be used.
    """
    image_size, embedding_dim = student.input_shape[1], student.output_shape[1]
    teachers = dict(opened)
    _check_sees(teachers, settings)
    losses = build_teacher_losses(settings, weights, teachers, student)
    same_space = {name for name, own in weights.items() if SAME_SPACE_LOSSES & set(own)}
    projections = per_teacher("teacher_projection", settings.teacher_projection, list(teachers))
    for name, teacher in teachers.items():
        _check_width(teacher, projections[name], embedding_dim, settings, needed=name in same_space)
        if projections[name] not in TEACHER_SIDE_PROJECTIONS:
            check_compared_width(settings, teacher.embedding_dim, embedding_dim)
    layers = feature_layers(losses, teachers, student)
    cached: Any = layers if settings.cache_features else {}
    open_caches = functools.partial(open_teacher_caches, image_size=image_size, layers=cached)
    views = _plain_views(settings, weights, projections)
    caches = open_caches(settings, teachers, images) if views or settings.mixed < 1.0 else {}
    mixed_caches = open_caches(settings, teachers, images, mixed=True) if settings.mixed else {}
    live = _live(settings, teachers.keys() - {**caches, **mixed_caches}.keys(), layers)
    if settings.image_cache != "off":
        _check_cached_size(settings, {name: teachers[name] for name in sorted(live)}, image_size)
    fill_caches(titled("teacher", caches), views, settings, console)
    fill_caches(titled("mixes, teacher", mixed_caches), mixed_views, settings, console)
    embeddings = {
        name: TeacherEmbeddings(
            teacher, images, image_size, cache=caches.get(name), name=name, console=console
        )
        for name, teacher in teachers.items()
    }
    pca, student_projections = {}, {}
    for name, teacher in teachers.items():
        projection = projections[name]
        if projection in TEACHER_SIDE_PROJECTIONS:
            vectors, needed = embeddings[name].labelled(), name in same_space
            pca[name] = _fitted(projection, vectors, embedding_dim, needed=needed)
            teachers[name] = project(teacher, pca[name])
        elif projection == "student" and name in same_space:
            student_projections[name] = build_projection(
                embedding_dim, _width(teacher), name=f"student_projection_{name}".rstrip("_")
            )
    prepared = RecipeTeachers(
        teachers,
        caches if settings.mixed < 1.0 else {},
        next((cache.views for cache in {**mixed_caches, **caches}.values()), None),
        losses,
        live,
        pca,
        student_projections,
        mixed_caches,
        embeddings,
    )
    if settings.epochs:
        _complete_losses(settings, prepared, images, views)
    return prepared


def _complete_losses(
    settings: DistillSettings, teachers: RecipeTeachers, images: ImageSet, views: int
) -> None:
    """Gives losses the anchors and heads that are made of the teachers' embeddings."""
    paths = parse_teachers(settings.teacher)
    for name, own in teachers.embeddings.items():
        losses = teachers.losses[name]
        if parse_anchors(settings.anchors) is None:
            anchors = functools.partial(own.anchors, views, teachers.pca.get(name))
            losses = with_anchors(losses, anchors)
        head = functools.partial(
            class_vectors,
            settings,
            Path(paths[name]),
            teachers.teachers[name].embedding_dim,
            images,
            functools.partial(training_embeddings, teachers, name),
        )
        teachers.losses[name] = with_head(losses, head)


def feature_layers(
    losses: Mapping[str, list[Any]], teachers: Mapping[str, Teacher], student: keras.Model
) -> dict[str, dict[str, tuple[int, int] | None]]:
    """Finds the inner layers that each teacher's losses compare.

    Args:
        losses: The losses against each teacher.
        teachers: The teachers by name.
        student: The student.

    Returns:
        For each teacher its layers, and the sizes to which their maps may be reduced; see
        `FeatureLoss.energy_sizes`.
    """
    found: dict[str, dict[str, tuple[int, int] | None]] = {}
    for name, own in losses.items():
        layers = found[name] = {}
        for loss in own:
            if isinstance(loss, FeatureLoss):
                sizes = loss.energy_sizes(
                    _map_shapes(teachers[name].owner, loss.teacher_layers),
                    _map_shapes(student, loss.student_layers),
                )
                for layer, size in sizes.items():
                    layers[layer] = size if layers.get(layer, size) == size else None
    return found


def _map_shapes(model: keras.Model, layers: list[str]) -> dict[str, tuple[int | None, ...]]:
    return {name: layer.output.shape for name, layer in map_layers(model, layers).items()}


def open_teachers(settings: DistillSettings, images: ImageSet) -> dict[str, Teacher]:
    """Loads the teachers that the settings name."""
    paths = parse_teachers(settings.teacher)
    own = {
        flag: per_teacher(flag, getattr(settings, flag), list(paths))
        for flag in (
            "teacher_output",
            "teacher_signature",
            "teacher_image_size",
            "teacher_preprocessing",
        )
    }
    teachers = {}
    for name, path in paths.items():
        size = own["teacher_image_size"][name]
        teacher = load_named_teacher(
            "teacher",
            path,
            details="teacher",
            output=own["teacher_output"][name],
            signature=own["teacher_signature"][name],
            image_size=int(size) if size else None,
            preprocessing=own["teacher_preprocessing"][name] or "0_255",
        )
        teacher.check_covers(images)
        teachers[name] = teacher
    return teachers


def _live(
    settings: DistillSettings, uncached: set[str], layers: Mapping[str, Mapping[str, Any]]
) -> set[str]:
    """Teachers that are evaluated at each step: without a cache, or with one of vectors alone."""
    inner = {name for name, own in layers.items() if own and not settings.cache_features}
    return uncached | inner


def _plain_views(
    settings: DistillSettings,
    weights: Mapping[str, Mapping[str, float]],
    projections: Mapping[str, str],
) -> int:
    """How many plain views of each image are looked up.

    The anchors are the means of all of them, also of those that no epoch shows: other anchors for
    more epochs would be another training. Where all rows are mixed, one view is computed for them.
    """
    anchored = parse_anchors(settings.anchors) is None and any(
        ANCHOR_LOSSES & set(own) for own in weights.values()
    )
    fitted = set(TEACHER_SIDE_PROJECTIONS) & set(projections.values())
    looked_up = 1 if fitted else 0
    if anchored and settings.epochs:
        cached = parse_cache("teacher_cache", settings.teacher_cache)
        looked_up = cached if isinstance(cached, int) and settings.mixed < 1.0 else 1
    return max(shown_views(settings) if settings.mixed < 1.0 else 0, looked_up)


def _check_sees(teachers: Mapping[str, Teacher], settings: DistillSettings) -> None:
    for name, teacher in teachers.items():
        if settings.mixed and teacher.needs_ids:
            path = parse_teachers(settings.teacher)[name]
            raise InputError(
                f"`mixed={settings.mixed:g}`: the teacher {path!r} is a table of vectors, and has "
                "none of a mixed image; give a model as `teacher`, or leave `mixed` out."
            )


def _check_width(
    teacher: Teacher, projection: str, width: int, settings: DistillSettings, *, needed: bool
) -> None:
    dim = teacher.embedding_dim
    if projection in TEACHER_SIDE_PROJECTIONS and dim is not None and dim < width:
        raise _too_narrow(projection, dim, width, needed=needed)
    if needed and projection in ("", "none") and dim not in (None, width):
        raise InputError(
            f"`teacher_losses={settings.teacher_losses}`: such a loss needs equal widths, "
            f"but the teacher's embedding has {dim} and the student's {width}; give "
            f"`embedding_dim={dim}`, `teacher_projection=pca` or student, or "
            "`teacher_losses=relative`."
        )


def check_compared_width(settings: DistillSettings, dim: int | None, width: int) -> None:
    """Checks that a teacher's embeddings can take the place of the student's, where they have to.

    Args:
        settings: The settings.
        dim: Width of the teacher's embeddings, projected if they are; `None` if unknown.
        width: Width of the student's.

    Raises:
        InputError: If the widths differ.
    """
    if dim in (None, width):
        return
    for flag in ("references", "proxies"):
        if (value := getattr(settings, flag)) != getattr(DistillSettings, flag):
            raise InputError(
                f"`{flag}={value}` needs equal widths, but the teacher's embedding has {dim} and "
                f"the student's {width}; give `embedding_dim={dim}` or `teacher_projection=pca`."
            )


def training_embeddings(teachers: RecipeTeachers, name: str) -> np.ndarray:
    """Returns a teacher's embeddings of the labelled images: their first view, or their centre.

    Args:
        teachers: The teachers, with filled caches.
        name: The teacher's name.

    Returns:
        The embeddings `(n, dim)`, projected if the teacher is.
    """
    vectors = teachers.embeddings[name].labelled()
    return teachers.pca[name](vectors).numpy() if name in teachers.pca else vectors


def _check_cached_size(
    settings: DistillSettings, live: Mapping[str, Teacher], image_size: int
) -> None:
    for teacher in live.values():
        if teacher.image_size not in (None, image_size):
            raise InputError(
                f"`image_cache={settings.image_cache}` holds images of {image_size} pixels, but "
                f"the teacher takes {teacher.image_size} pixels and is evaluated at each step; "
                "keep its outputs with `teacher_cache` and `cache_features`, or leave the image "
                "cache out."
            )


def _too_narrow(projection: str, dim: int, width: int, *, needed: bool) -> InputError:
    other = "`teacher_projection=student`" if needed else "leave the projection out"
    return InputError(
        f"`teacher_projection={projection}` cannot widen the teacher's {dim} dimensions "
        f"to the student's {width}; give `embedding_dim={dim}` or less, or {other}."
    )


def _fitted(projection: str, vectors: np.ndarray, width: int, *, needed: bool) -> keras.Model:
    if vectors.shape[1] < width:  # known only now
        raise _too_narrow(projection, vectors.shape[1], width, needed=needed)
    with renamed_arguments(vectors=f"teacher_projection={projection}"):
        return fit_pca(vectors, width, whiten=projection == "whitened")


def _width(teacher: Teacher) -> int:
    if teacher.embedding_dim is None:
        raise InputError(
            "`teacher_projection=student` needs a teacher whose width is known before it is run."
        )
    return teacher.embedding_dim
