"""A teacher's embeddings of the training images, of which none is computed twice."""

import contextlib
import functools
from collections.abc import Callable

import keras
import numpy as np
from rich.console import Console

from keras_distill.data.image_set import ImageSet
from keras_distill.data.pipeline import view_batches
from keras_distill.losses.unit_rows import unit_rows
from keras_distill.settings.progress import work_progress
from keras_distill.teachers.cache import TeacherCache
from keras_distill.teachers.teacher import Teacher


class TeacherEmbeddings:
    """A teacher's embeddings of the training images, before its projection.

    They are looked up if the teacher is a table or has a cache. Otherwise it is evaluated on the
    centre of each image that is asked for the first time.

    Args:
        teacher: The teacher, not projected.
        images: The training images.
        image_size: Height and width of the images for a teacher of any size, in pixels.
        cache: Its filled cache of the plain views, if there is one.
        name: Its name, to be shown.
        console: Console that shows progress where it is evaluated.
    """

    def __init__(
        self,
        teacher: Teacher,
        images: ImageSet,
        image_size: int,
        *,
        cache: TeacherCache | None,
        name: str,
        console: Console,
    ):
        self._teacher = teacher
        self._images = images
        self._image_size = teacher.image_size or image_size
        self._cache = cache
        self._title = f"teacher {name}".strip()
        self._console = console
        self._found: np.ndarray | None = None
        self._known = np.zeros(len(images), bool)

    def labelled(self) -> np.ndarray:
        """Returns the embeddings `(n, dim)` of the labelled images: of one view each."""
        return self._of_rows(np.flatnonzero(self._images.labels >= 0))

    def anchors(self, views: int, projection: keras.Model | None = None) -> np.ndarray:
        """Returns a vector `(dim,)` for each image.

        With several cached views it is the mean of their unit vectors: the vector of one view would
        be the target itself, and no other anchor like it, in each epoch that shows this view.

        Args:
            views: Cached views to look at, from the first.
            projection: The teacher's projection, if it has one.
        """
        rows = np.arange(len(self._images))
        project = (lambda vectors: vectors) if projection is None else projection
        if self._cache is None:
            return np.asarray(project(self._of_rows(rows)))
        shown = [np.full_like(rows, view) for view in range(min(views, self._cache.views or 1))]
        found = (project(self._cache.lookup(rows, view)) for view in shown)
        return functools.reduce(np.add, (unit_rows(one).numpy() for one in found)) / len(shown)

    def _of_rows(self, rows: np.ndarray) -> np.ndarray:
        """Embeddings of some images: of their first view, or of their centre."""
        if self._teacher.needs_ids:
            return self._teacher(None, self._images.ids[rows]).numpy()
        if self._cache is not None:
            return self._cache.lookup(rows, np.zeros_like(rows)).numpy()
        missing = rows[~self._known[rows]]
        if len(missing):
            vectors = self._evaluated(missing)
            if self._found is None:
                self._found = np.zeros((len(self._images), vectors.shape[1]), vectors.dtype)
            self._found[missing], self._known[missing] = vectors, True
        assert self._found is not None
        return self._found[rows]

    def _evaluated(self, rows: np.ndarray) -> np.ndarray:
        """Evaluates the teacher on the centres of images."""
        batches = view_batches(self._images.select(rows), image_size=self._image_size, view=None)
        vectors = []
        with self._progress(len(rows)) as advance:
            for pixels, ids in batches:
                vectors.append(self._teacher(pixels, ids).numpy())
                advance(len(ids))
        return np.concatenate(vectors)

    def _progress(self, total: int) -> contextlib.AbstractContextManager[Callable[[int], object]]:
        text = f"{self._title}: {total} images to embed"
        self._console.print(text, highlight=False, soft_wrap=True)
        return work_progress(self._title, total, "images", self._console)
