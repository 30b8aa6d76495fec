"""Base of the caches that hold one entry for each view of each image, on disk."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_distill import __version__
from keras_distill.data.begun_ahead import BegunAhead
from keras_distill.data.image_fingerprint import check_unchanged, images_fingerprint_once
from keras_distill.data.image_set import ImageSet
from keras_distill.data.mixed_sampler import partner_rows
from keras_distill.data.pipeline import view_batches
from keras_distill.data.shard_store import Shard, ShardStore
from keras_distill.data.view_changes import ViewChanges
from keras_distill.data.views import VIEWS_VERSION
from keras_distill.errors import InputError

_UNCHANGED = ViewChanges()


class ViewCache:
    """Base of the caches: a function of the views that `training_batches` shows.

    Views are a function of (seed, image id, view), and mixes of the images too, so an entry belongs
    to exactly the pixels of that view. The folder is named by a hash of everything that decides the
    entries: the images, the augmentation, the seed, the versions, and what a subclass adds. An
    entry is never used after one of them has changed. A subclass implements `compute`.

    Args:
        images: The images.
        folder: Folder of all caches; this one lies in a sub-folder.
        image_size: Height and width of a view, in pixels.
        views: Different views of an image; `None` for its centre alone.
        least_area: Least share of an image's area in a crop; see `random_views`.
        seed: Seed of the views.
        changes: Changes of the views.
        outputs: Shape of an entry by its name.
        dtype: Type of the entries.
        provenance: Whatever else decides the entries, by name. If they can be computed in several
            ways that round differently, the provenance of each way, the preferred one first: the
            way that has most of the entries is taken, so that none is computed twice or mixed.

    Raises:
        InputError: If the folder cannot be written, or the centre would be mixed.
    """

    #: Its name in messages.
    title = "cache"

    def __init__(
        self,
        images: ImageSet,
        folder: str | Path,
        *,
        image_size: int,
        views: int | None,
        least_area: float,
        seed: int,
        changes: ViewChanges = _UNCHANGED,
        outputs: Mapping[str, tuple[int, ...]],
        dtype: Any,
        provenance: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    ):
        if views is None and changes.mixup_alpha is not None:
            raise InputError(
                f"`mixup_alpha={changes.mixup_alpha:g}`: the centre of an image is never mixed; "
                "give a number of `views`."
            )
        self.images = images
        self.image_size = image_size
        self.views = views
        self.least_area = least_area
        self.seed = seed
        self.changes = changes
        self._root = Path(folder)
        self._outputs = outputs
        self._dtype = dtype
        ways = [provenance] if isinstance(provenance, Mapping) else list(provenance)
        self._manifests = [self._manifest(way) for way in ways]
        self.take(self._fullest())

    def take(self, way: int) -> None:
        """Turns to the entries that are computed in another way.

        Args:
            way: Its place in `provenance`.

        Raises:
            InputError: If its folder cannot be written.
        """
        self.way = way
        self.store = self._store(self._manifests[way])

    def _manifest(self, provenance: Mapping[str, Any]) -> dict[str, Any]:
        view = {"seed": self.seed, "least_area": self.least_area, **self.changes.provenance}
        return {
            "keras_distill": __version__,
            "tensorflow": tf.__version__,
            **provenance,
            "image_size": self.image_size,
            "images": images_fingerprint_once(self.images),
            "rows": len(self.images),
            "outputs": {name: list(shape) for name, shape in self._outputs.items()},
            "dtype": np.dtype(self._dtype).name,
            "views_version": VIEWS_VERSION,
            "view": "centre" if self.views is None else view,
        }

    def _place(self, manifest: Mapping[str, Any]) -> Path:
        name = hashlib.blake2b(json.dumps(manifest, sort_keys=True).encode(), digest_size=12)
        return self._root / name.hexdigest()

    def _store(self, manifest: Mapping[str, Any]) -> ShardStore:
        return ShardStore(
            self._place(manifest),
            rows=len(self.images),
            outputs=self._outputs,
            manifest=manifest,
            dtype=self._dtype,
        )

    def _fullest(self) -> int:
        """The way of which most entries are there, the preferred one of several."""
        if len(self._manifests) == 1:
            return 0
        present = []
        for manifest in self._manifests:
            found = 0
            if (self._place(manifest) / "manifest.json").exists():  # a store would make it
                views = self._range(None)
                missing = self._store(manifest).missing(views)
                found = len(self.images) * len(views) - sum(len(shard.rows) for shard in missing)
            present.append(found)
        return present.index(max(present))

    @property
    def folder(self) -> Path:
        """Where this cache lies."""
        return self.store.folder

    def nbytes(self, views: int | None = None) -> int:
        """Bytes that the cache takes with all, or with the first few, of its views."""
        return len(self.images) * self.store.row_bytes * len(self._range(views))

    def missing_rows(self, views: int | None = None) -> int:
        """Entries of all, or of the first few, views that are still to be computed."""
        return sum(len(shard.rows) for shard in self.store.missing(self._range(views)))

    def check_space(self, max_gb: float, views: int | None = None) -> None:
        """Refuses a cache that is too large, before any work is done.

        Args:
            max_gb: Most that the cache may take, in GB of 10^9 bytes.
            views: Views that will be filled; all by default.

        Raises:
            InputError: If it would take more, or more than is free on the disk.
        """
        need = self.nbytes(views)
        text = (
            f"the {self.title} needs {need / 1e9:.3g} GB ({len(self.images)} images x "
            f"{len(self._range(views))} views x {self.store.row_bytes} bytes)"
        )
        if need > max_gb * 1e9:
            raise InputError(
                f"{text}, more than `max_gb={max_gb:g}`; raise `max_gb`, choose fewer views, or "
                "turn the cache off."
            )
        missing = self.missing_rows(views) * self.store.row_bytes
        free = shutil.disk_usage(self.folder).free
        if missing > free:
            raise InputError(
                f"{text}, {missing / 1e9:.3g} GB of it still to be written, but {self.folder} has "
                f"{free / 1e9:.3g} GB free; free some space or put the cache elsewhere."
            )

    def fill(
        self,
        views: int | None = None,
        *,
        batch_size: int = 64,
        on_rows: Callable[[int], object] = lambda rows: None,
    ) -> None:
        """Computes what is missing.

        May be interrupted and called again, and by several processes at once, which then share the
        work: at most one shard is lost. Entries that were computed from other images, or by another
        model, than the cache was opened with are dropped.

        Args:
            views: Views to fill, from the first; all by default.
            batch_size: Images that are computed at once.
            on_rows: Called with the number of entries that have been added, for progress.

        Raises:
            InputError: If the disk is full, an entry cannot be computed, or images or the model
                have changed meanwhile.
        """
        self.prepare(views)
        written: list[Shard] = []
        missing = self.store.missing(self._range(views))
        ahead = BegunAhead(missing, lambda shard: self._batches(shard, batch_size))

        def entries(shard: Shard) -> dict[str, np.ndarray]:
            parts, begin = [], shard.rows.start
            for pixels, ids in ahead.items(shard):
                paths = self.images.paths[begin : begin + len(ids)]
                parts.append(self.compute(pixels, ids, paths))
                begin += len(ids)
                on_rows(len(ids))
            check_unchanged(self.images, self._seen(shard))
            written.append(shard)
            return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

        with ahead:
            self.store.fill(self._range(views), entries, on_rows)
        if written:
            try:
                self.check_source()
            except InputError:
                self.store.drop(written)
                raise

    def prepare(self, views: int | None = None) -> None:
        """Decides in which way missing entries are computed; `fill` does so too.

        Args:
            views: Views that will be filled; all by default.

        Raises:
            InputError: If they cannot be computed in the way that was asked for.
        """

    def check_source(self) -> None:
        """Checks that the source of the entries is still the one that the cache was opened with.

        Raises:
            InputError: If it has changed.
        """

    def compute(self, pixels: tf.Tensor, ids: tf.Tensor, paths: np.ndarray) -> dict[str, Any]:
        """Computes entries.

        Args:
            pixels: The views, uint8 `(batch, image_size, image_size, 3)`.
            ids: Ids of the images, int64 `(batch,)`.
            paths: Their relative paths, for error messages.

        Returns:
            Arrays `(batch, *shape)` by name.
        """
        raise ValueError(f"{type(self).__name__} must implement compute().")

    def read(self, name: str, rows: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
        """Reads entries in a tf.data pipeline.

        Args:
            name: Name of the entry.
            rows: Rows of `images`, int64 `(batch,)`.
            views: View of each, int64 `(batch,)`; ignored if there is only the centre.

        Returns:
            Tensor `(batch, *shape)` of the cache's type.
        """
        views = tf.zeros_like(views) if self.views is None else views % self.views
        entries = tf.numpy_function(
            lambda r, v: self.store.read(name, r, v), [rows, views], self.store.dtype, False
        )
        return tf.ensure_shape(entries, [None, *self.store.outputs[name]])

    def _range(self, views: int | None) -> range:
        most = self.views or 1
        return range(most if views is None else min(views, most))

    def _seen(self, shard: Shard) -> np.ndarray:
        """Rows of the images that the entries of a shard are computed from."""
        rows = np.arange(shard.rows.start, shard.rows.stop)
        if self.changes.mixup_alpha is None:
            return rows
        partners = partner_rows(len(self.images), view=shard.view, seed=self.seed)
        return np.union1d(rows, partners[rows])

    def _batches(self, shard: Shard, batch_size: int) -> tf.data.Dataset:
        return view_batches(
            self.images,
            image_size=self.image_size,
            view=None if self.views is None else shard.view,
            least_area=self.least_area,
            seed=self.seed,
            changes=self.changes,
            rows=shard.rows,
            batch_size=batch_size,
        )
