"""Caches that the settings name."""

import functools
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rich.console import Console

from keras_distill.data.image_set import ImageSet
from keras_distill.data.pixel_cache import PixelCache
from keras_distill.data.view_cache import ViewCache
from keras_distill.data.view_changes import ViewChanges
from keras_distill.errors import as_flags, renamed_arguments
from keras_distill.settings.distill import DistillSettings
from keras_distill.settings.progress import work_progress
from keras_distill.settings.settings import names_of
from keras_distill.settings.teachers import CacheSettings, parse_cache, per_teacher
from keras_distill.teachers.cache import TeacherCache
from keras_distill.teachers.runtimes import choose_runtimes
from keras_distill.teachers.teacher import Teacher


def open_teacher_caches(
    settings: DistillSettings,
    teachers: Mapping[str, Teacher],
    images: ImageSet,
    *,
    image_size: int,
    layers: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    mixed: bool = False,
) -> dict[str, TeacherCache]:
    """Opens the cache of each teacher that looks at pixels, if the settings name caches.

    Args:
        settings: The settings.
        teachers: The teachers by name.
        images: The training images.
        image_size: Height and width of the views for teachers of any size, in pixels.
        layers: Inner layers of each teacher whose feature maps are kept too, as `TeacherCache`
            takes them.
        mixed: Whether the views are mixes of two images.

    Returns:
        The caches by the teachers' names.
    """
    mode = parse_cache("teacher_cache", settings.teacher_cache)
    if mode == "off":
        return {}
    runtimes = per_teacher("teacher_runtime", settings.teacher_runtime, list(teachers))
    caches = {}
    for name, teacher in teachers.items():
        runtime = runtimes[name] or "auto"
        with renamed_arguments(runtime="teacher_runtime"):
            if teacher.needs_ids:
                choose_runtimes(runtime, is_keras=False, pixels=0)
                continue
            caches[name] = TeacherCache(
                teacher,
                images,
                Path(settings.cache_dir).expanduser(),
                image_size=teacher.image_size or image_size,
                views=mode if isinstance(mode, int) else None,
                least_area=settings.crop_area,
                seed=settings.seed,
                changes=ViewChanges(settings.augment, settings.mixup_alpha if mixed else None),
                layers=layers.get(name, {}),
                runtime=runtime,
            )
    return caches


def open_image_cache(
    settings: DistillSettings, images: ImageSet, *, image_size: int
) -> PixelCache | None:
    """Opens the cache of decoded views, if the settings name one; arguments as above."""
    views = parse_cache("image_cache", settings.image_cache)
    if not isinstance(views, int):
        return None
    return PixelCache(
        images,
        Path(settings.cache_dir).expanduser(),
        image_size=image_size,
        views=views,
        least_area=settings.crop_area,
        seed=settings.seed,
    )


def open_caches(
    settings: DistillSettings,
    teachers: Mapping[str, Teacher],
    images: ImageSet,
    *,
    image_size: int,
    layers: Mapping[str, Mapping[str, Any]],
) -> dict[str, ViewCache]:
    """Opens all caches that the rows of a batch are looked up in; arguments as above.

    Returns:
        The caches by title: of the teachers, for plain and for mixed rows, and of the images.
    """
    caches: dict[str, ViewCache] = {}
    for title, mixed, shown in (
        ("teacher", False, settings.mixed < 1.0),
        ("mixes, teacher", True, settings.mixed > 0.0),
    ):
        if shown:
            found = open_teacher_caches(
                settings, teachers, images, image_size=image_size, layers=layers, mixed=mixed
            )
            caches |= titled(title, found)
    if (image_cache := open_image_cache(settings, images, image_size=image_size)) is not None:
        caches["images"] = image_cache
    return caches


def shown_views(settings: DistillSettings) -> int:
    """Returns how many views of an image a training shows, if none of them is shown again."""
    return settings.epochs * settings.views_per_image


def titled(title: str, caches: Mapping[str, TeacherCache]) -> dict[str, ViewCache]:
    """Returns the caches of teachers by titles that hold the teachers' names."""
    return {f"{title} {name}".strip(): cache for name, cache in caches.items()}


def fill_caches(
    caches: Mapping[str, ViewCache], views: int | None, settings: CacheSettings, console: Console
) -> None:
    """Computes the missing entries of caches, with progress and the time left.

    Args:
        caches: The caches by title.
        views: Views to fill, from the first; all by default; with 0 nothing is done.
        settings: The settings.
        console: Console that shows progress.

    Raises:
        InputError: If a cache would be too large, or cannot be written.
    """
    if views == 0:
        return
    for cache in caches.values():
        with renamed_arguments(max_gb="cache_max_gb"):
            cache.check_space(settings.cache_max_gb, views)
    say = functools.partial(console.print, highlight=False, soft_wrap=True)
    for title, cache in caches.items():
        with renamed_arguments(runtime="teacher_runtime"):
            cache.prepare(views)
        missing = cache.missing_rows(views)
        place = f"{cache.folder} ({cache.nbytes(views) / 1e6:.3g} MB)"
        if cache.views is None:
            text = (
                f"{title}: `teacher_cache=clean` is an approximation: the teacher sees the centre "
                "of each image, whatever crop the student sees."
            )
            say(as_flags(text, names_of(settings)))
        if not missing:
            say(f"{title}: cache {place} is complete")
            continue
        say(f"{title}: {missing} views to compute for the cache {place}")
        with work_progress(title, missing, "views", console) as advance:
            cache.fill(views, on_rows=advance)
