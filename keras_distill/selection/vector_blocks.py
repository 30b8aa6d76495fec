"""Vectors in blocks: an array, or shards on disk of which one is in memory at a time."""

import bisect
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from keras_distill.data.vector_format import decode_rows
from keras_distill.data.vector_shards import VectorShards
from keras_distill.errors import InputError

_ROWS = 4096


class VectorBlocks(Protocol):
    """Vectors that can be read again and again, in blocks."""

    def __len__(self) -> int:
        """Returns the number of vectors."""

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yields the row of the first vector and the vectors of each block, float32 `(b, dim)`."""

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Returns the vectors of some rows, float32 `(k, dim)`."""


class ArrayBlocks:
    """Vectors in memory.

    Args:
        vectors: Floats `(n, dim)`.

    Raises:
        InputError: If they are not a matrix, or not finite.
    """

    def __init__(self, vectors: np.ndarray):
        self._vectors = np.asarray(vectors, np.float32)
        if self._vectors.ndim != 2:
            raise InputError(f"`vectors` has the shape {self._vectors.shape}, not (images, dim).")
        if not np.isfinite(self._vectors).all():
            raise InputError("`vectors` holds values that are not finite.")

    def __len__(self) -> int:
        return len(self._vectors)

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """See `VectorBlocks`."""
        for begin in range(0, len(self), _ROWS):
            yield begin, self._vectors[begin : begin + _ROWS]

    def take(self, rows: np.ndarray) -> np.ndarray:
        """See `VectorBlocks`."""
        return self._vectors[rows]


class ShardBlocks:
    """Vectors that `python -m keras_distill.embed` wrote, read anew in each pass.

    Attributes:
        paths: Relative paths of the images.
        root: Folder of the images.

    Args:
        shards: The shards.

    Raises:
        InputError: If some are missing or damaged.
    """

    def __init__(self, shards: VectorShards):
        if missing := shards.missing():
            raise InputError(
                f"`vectors={shards.folder}` lacks {len(missing)} of {shards.count} shards; finish "
                "it by running the same `python -m keras_distill.embed` again."
            )
        self._shards = shards
        self.root = Path(shards.manifest["root"])
        self.paths: list[str] = []
        self._begins: list[int] = []
        for shard in range(shards.count):
            self._begins.append(len(self.paths))
            self.paths += self._paths_of(shard)
        if not self.paths:
            raise InputError(f"`vectors={shards.folder}` holds no vectors.")

    def __len__(self) -> int:
        return len(self.paths)

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """See `VectorBlocks`."""
        for shard, begin in enumerate(self._begins):
            vectors = self._vectors_of(shard)
            if len(vectors):
                yield begin, vectors

    def take(self, rows: np.ndarray) -> np.ndarray:
        """See `VectorBlocks`."""
        rows = np.asarray(rows)
        places = np.array([bisect.bisect_right(self._begins, row) - 1 for row in rows.tolist()])
        taken = np.empty((len(rows), self._shards.manifest["dim"]), np.float32)
        for shard in np.unique(places).tolist():
            chosen = places == shard
            taken[chosen] = self._vectors_of(shard)[rows[chosen] - self._begins[shard]]
        return taken

    def _stem(self, shard: int) -> Path:
        return self._shards.folder / "vectors" / f"{shard:06d}"

    def _paths_of(self, shard: int) -> list[str]:
        if self._shards.manifest["file_format"] != "npy":
            return self._decoded(shard).paths
        file = Path(f"{self._stem(shard)}.ids.txt")
        try:
            return file.read_text(encoding="utf-8").split("\n")[:-1]
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{str(file)!r} cannot be read: {error}; embed again.") from error

    def _vectors_of(self, shard: int) -> np.ndarray:
        if self._shards.manifest["file_format"] != "npy":
            return self._decoded(shard).vectors
        # Mapped: the pages stay in the cache of the system, which may drop them.
        try:
            return np.load(f"{self._stem(shard)}.npy", mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(
                f"{self._stem(shard)}.npy is damaged ({error}); delete it and embed again."
            ) from error

    def _decoded(self, shard: int):  # type: ignore[no-untyped-def]
        names = tuple(self._shards.manifest["class_names"])
        return decode_rows(self._stem(shard), self._shards.manifest["file_format"], names)
