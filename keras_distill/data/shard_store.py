"""Arrays on disk, with a row for each view of each image, in shards that are whole or absent."""

import functools
import json
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock

from keras_distill.data.shared_work import share_work
from keras_distill.errors import InputError
from keras_distill.publishing import TOO_MANY_FILES, published_file, remedy

# A shard holds at most this many rows and bytes: what a killed process loses.
_SHARD_ROWS = 1024
_SHARD_BYTES = 64 * 2**20
# Files that stay mapped, of all stores together, as each takes a descriptor: at most this many, and
# a quarter of what the process may open. To map a file again takes 30 µs.
_MOST_MAPS = 4096
# Errors of a shard that is absent, not of the process or the machine.
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class Shard(NamedTuple):
    """The part of one view that is written, and can be lost, at once."""

    view: int
    rows: range


class ShardStore:
    """Named arrays `(views, rows, *shape)` in memory-mapped shards.

    Several processes may read and write the same folder at the same time. However many shards there
    are, a few of them are open.

    Args:
        folder: Where the shards lie; made, with a `manifest.json`, if it is not there.
        rows: Rows of each view.
        outputs: Shape of a row by the name of the array.
        dtype: Type of all arrays.
        manifest: Provenance of the arrays, for people to read; must equal the one that the folder
            was made with.

    Raises:
        InputError: If the folder cannot be written, or has another provenance.
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
        self._whole: dict[tuple[str, int, int], _ArrayFile] = {}
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
        """Tells whether a shard is there and whole.

        Raises:
            InputError: If that cannot be known, such as with too many open files.
        """
        return all(
            self._file(name, shard.view, shard.rows.start) is not None for name in self.outputs
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

    def drop(self, shards: Iterable[Shard]) -> None:
        """Deletes shards, which are then missing."""
        for shard in shards:
            for name in self.outputs:
                self._whole.pop((name, shard.view, shard.rows.start), None)
                self._path(name, shard.view, shard.rows.start).unlink(missing_ok=True)

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
        size, row_list = self._shard_rows, rows.tolist()
        for view, start, places in self._by_shard(rows, views):
            file = self._file(name, view, start)
            shard = None if file is None else _mapped(file)
            if shard is None:
                self._whole.pop((name, view, start), None)
                raise KeyError(f"view {view} of row {row_list[places[0]]} is not in {self.folder}.")
            for place in places:
                out[place] = shard[row_list[place] % size]
        return out

    def _by_shard(
        self, rows: np.ndarray, views: np.ndarray
    ) -> Iterator[tuple[int, int, list[int]]]:
        """View and first row of each shard that is read, and the places of what lies there."""
        shards = views * -(-self.rows // self._shard_rows) + rows // self._shard_rows
        order = np.argsort(shards, kind="stable")
        if not len(order):
            return
        cuts = 1 + np.flatnonzero(np.diff(shards[order]))
        for places in np.split(order, cuts):
            row, view = int(rows[places[0]]), int(views[places[0]])
            yield view, row - row % self._shard_rows, places.tolist()

    def _file(self, name: str, view: int, start: int) -> "_ArrayFile | None":
        """The file of an array of a shard; `None` if it is absent or not whole."""
        key = (name, view, start)
        if key not in self._whole:
            shape = (min(self._shard_rows, self.rows - start), *self.outputs[name])
            file = _whole_file(self._path(name, view, start), shape, self.dtype)
            if file is None:
                return None
            self._whole[key] = file
        return self._whole[key]

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
            raise InputError(f"{str(path)!r} describes another cache; delete its folder.")


class _ArrayFile(NamedTuple):
    """A file that holds an array, as it was found; another that replaces it is not equal."""

    path: str
    shape: tuple[int, ...]
    dtype: str
    offset: int
    found: tuple[int, int]  # inode and time of change


def _whole_file(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> _ArrayFile | None:
    """Looks at the header and the size of a file."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            try:
                version = np.lib.format.read_magic(file)
                if version != (1, 0):
                    return None  # not by `write`
                header = np.lib.format.read_array_header_1_0(file)
            except Exception:  # damaged, for which NumPy has many kinds of errors
                return None
            offset = file.tell()
    except _ABSENT:
        return None
    except OSError as error:
        raise _unreadable(path, error) from error
    nbytes = int(np.prod(shape)) * dtype.itemsize
    if header != (shape, False, dtype) or found.st_size != offset + nbytes:
        return None
    return _ArrayFile(str(path), shape, dtype.str, offset, (found.st_ino, found.st_mtime_ns))


def _most_maps() -> int:
    try:
        import resource
    except ImportError:  # Windows, where the limit is 512 at least
        return 128
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(_MOST_MAPS, soft // 4) if soft != resource.RLIM_INFINITY else _MOST_MAPS


@functools.lru_cache(maxsize=_most_maps())
def _map(file: _ArrayFile) -> np.ndarray:
    """Maps a file; an array that nobody has any longer gives its descriptor back."""
    with open(file.path, "rb", buffering=0) as opened:
        mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    count = int(np.prod(file.shape))
    return np.frombuffer(mapped, file.dtype, count, file.offset).reshape(file.shape)


def _mapped(file: _ArrayFile) -> np.ndarray | None:
    """The array of a file; `None` if that is not whole any longer."""
    for attempt in range(2):
        try:
            return _map(file)
        except (ValueError, *_ABSENT):
            return None
        except OSError as error:
            if attempt or error.errno not in TOO_MANY_FILES:
                raise _unreadable(file.path, error) from error
        _map.cache_clear()  # something else has opened too many files
    raise AssertionError("a second attempt returns or raises")


def _unreadable(path: Path | str, error: OSError) -> InputError:
    return InputError(
        f"{str(path)!r} could not be read ({error.strerror or error}). "
        + remedy(error, "Check the disk, and who may read the file.")
    )
