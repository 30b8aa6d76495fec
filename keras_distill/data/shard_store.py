"""Arrays on disk with a row for each view of each image, in shards that are whole or absent."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock

from keras_distill.data.shared_work import share_work
from keras_distill.errors import InputError
from keras_distill.publishing import published_file

# A shard holds at most this many rows and bytes: what a killed process loses.
_SHARD_ROWS = 1024
_SHARD_BYTES = 64 * 2**20


class Shard(NamedTuple):
    """The part of one view that is written, and can be lost, at once."""

    view: int
    rows: range


class ShardStore:
    """Named arrays `(views, rows, *shape)` in memory-mapped shards.

    Several processes may read and write the same folder at the same time.

    Args:
        folder: Where the shards lie; made, with a `manifest.json`, if it is not there.
        rows: Rows of each view.
        outputs: Shape of a row by the name of the array.
        dtype: Type of all arrays.
        manifest: What the arrays were made of, for people to read; must be what it was when the
            folder was made.

    Raises:
        InputError: If the folder cannot be written, or was made of something else.
    """

    def __init__(
        self,
        folder: Path,
        *,
        rows: int,
        outputs: Mapping[str, tuple[int, ...]],
        manifest: Mapping[str, Any],
        dtype: Any = np.float16,
    ):
        self.folder = folder
        self.rows = rows
        self.outputs = dict(outputs)
        self.dtype = np.dtype(dtype)
        largest = max(self.row_bytes // len(self.outputs), 1)
        self._shard_rows = max(min(_SHARD_ROWS, _SHARD_BYTES // largest), 1)
        self._maps: dict[tuple[str, int, int], np.ndarray] = {}
        self._write_manifest(dict(manifest))

    @property
    def row_bytes(self) -> int:
        """Bytes that one view of one image takes."""
        values = sum(int(np.prod(shape)) for shape in self.outputs.values())
        return values * self.dtype.itemsize

    def missing(self, views: range) -> list[Shard]:
        """Returns the shards of some views that are not there yet."""
        starts = range(0, self.rows, self._shard_rows)
        shards = (
            Shard(view, range(start, min(start + self._shard_rows, self.rows)))
            for view in views
            for start in starts
        )
        return [shard for shard in shards if not self.has(shard)]

    def has(self, shard: Shard) -> bool:
        """Tells whether a shard is there and whole."""
        return all(
            self._map(name, shard.view, shard.rows.start) is not None for name in self.outputs
        )

    def lock(self, shard: Shard) -> FileLock:
        """Returns the lock of a shard, which the system releases when a process dies."""
        return FileLock(self.folder / f"view{shard.view:04d}-{shard.rows.start:08d}.lock")

    def write(self, shard: Shard, arrays: Mapping[str, np.ndarray]) -> None:
        """Writes a shard.

        Args:
            shard: The shard.
            arrays: Arrays `(len(shard.rows), *shape)` by name.

        Raises:
            InputError: If the disk is full.
        """
        for name, shape in self.outputs.items():
            array = np.ascontiguousarray(arrays[name], self.dtype)
            if array.shape != (len(shard.rows), *shape):
                raise ValueError(
                    f"{name} has shape {array.shape}, not {(len(shard.rows), *shape)}."
                )
            with (
                published_file(self._path(name, shard.view, shard.rows.start)) as temporary,
                temporary.open("wb") as file,
            ):
                np.save(file, array)
                file.flush()
                os.fsync(file.fileno())  # or a power cut could leave the name without the content

    def fill(
        self,
        views: range,
        compute: Callable[[Shard], Mapping[str, np.ndarray]],
        on_rows: Callable[[int], object] = lambda rows: None,
    ) -> None:
        """Computes and writes the shards that are missing.

        May be interrupted and called again, and by several processes at once, which then share the
        work: at most one shard is lost.

        Args:
            views: The views to fill.
            compute: Computes the arrays of a shard, as `write` takes them.
            on_rows: Called with the rows of a shard that another process has written.

        Raises:
            InputError: If the disk is full.
        """
        share_work(
            self.missing(views),
            lock=self.lock,
            is_done=self.has,
            work=lambda shard: self.write(shard, compute(shard)),
            on_found=lambda shard: on_rows(len(shard.rows)),
        )

    def read(self, name: str, rows: np.ndarray, views: np.ndarray) -> np.ndarray:
        """Returns `(n, *shape)`: the given views of the given rows.

        Args:
            name: Name of the array.
            rows: Rows, int `(n,)`.
            views: View of each, int `(n,)`.

        Raises:
            KeyError: If one of them has not been written.
        """
        out = np.empty((len(rows), *self.outputs[name]), self.dtype)
        size = self._shard_rows
        for i, (row, view) in enumerate(zip(rows.tolist(), views.tolist(), strict=True)):
            start = row - row % size
            shard = self._maps.get((name, view, start))
            if shard is None:
                shard = self._map(name, view, start)
            if shard is None:
                raise KeyError(f"view {view} of row {row} is not in {self.folder}.")
            out[i] = shard[row - start]
        return out

    def _map(self, name: str, view: int, start: int) -> np.ndarray | None:
        key = (name, view, start)
        if key not in self._maps:
            shape = (min(self._shard_rows, self.rows - start), *self.outputs[name])
            try:
                mapped = np.load(self._path(name, view, start), mmap_mode="r", allow_pickle=False)
                whole = mapped.shape == shape and mapped.dtype == self.dtype
            except Exception:  # absent, or damaged, for which NumPy has many kinds of errors
                return None
            if not whole:
                return None
            self._maps[key] = np.asarray(mapped)  # indexing a memmap itself is ten times slower
        return self._maps[key]

    def _path(self, name: str, view: int, start: int) -> Path:
        return self.folder / f"view{view:04d}" / f"{name.replace('/', '.')}-{start:08d}.npy"

    def _write_manifest(self, manifest: dict[str, Any]) -> None:
        path = self.folder / "manifest.json"
        if not path.exists():
            with published_file(path) as temporary:
                temporary.write_text(json.dumps(manifest, indent=2) + "\n")
        try:
            found = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise InputError(
                f"{str(path)!r} cannot be read ({error}); delete its folder."
            ) from error
        if found != json.loads(json.dumps(manifest)):
            raise InputError(f"{str(path)!r} tells of another cache; delete its folder.")
