"""Folder of vectors in shards that are whole or absent."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from keras_distill import __version__
from keras_distill.data.vector_format import (
    VectorRows,
    decode_rows,
    encode_errors,
    encode_rows,
    last_suffix,
)
from keras_distill.errors import InputError
from keras_distill.publishing import check_own_folder, published_file

FORMAT = 1
_OURS = ("manifest.json", "vectors", "errors", "errors.jsonl", "pictures", ".tmp-")
#: What decides the content, by its name in the manifest, and its name in messages.
_DECIDES = {
    "embedder": "the model",
    "pictures": "the pictures",
    "rows": "the number of pictures",
    "dim": "the width of the vectors",
    "shard_size": "`shard_size`",
    "file_format": "`file_format`",
}


@dataclass(frozen=True)
class VectorShards:
    """Vectors of a list of pictures on disk; made by `start_shards`, opened by `open_shards`.

    Shard `i` holds the pictures from `i * shard_size` on that could be embedded. Its files appear
    one by one, each whole; the shard counts when its last is there.

    Attributes:
        folder: Where they lie.
        manifest: Their provenance, and how many there are.
    """

    folder: Path
    manifest: dict[str, Any]

    @property
    def count(self) -> int:
        """Number of shards."""
        return -(-self.manifest["rows"] // self.manifest["shard_size"])

    @property
    def is_complete(self) -> bool:
        """Whether all shards are there and `finish` has summed them up."""
        return self.manifest["embedded"] is not None

    def rows(self, shard: int) -> range:
        """Returns the places of a shard's pictures in the list."""
        size = self.manifest["shard_size"]
        return range(shard * size, min((shard + 1) * size, self.manifest["rows"]))

    def has(self, shard: int) -> bool:
        """Tells whether a shard is there."""
        return Path(f"{self._stem(shard)}{last_suffix(self.manifest['file_format'])}").exists()

    def missing(self) -> list[int]:
        """Returns the shards that are not there."""
        return [shard for shard in range(self.count) if not self.has(shard)]

    def errors(self, shard: int) -> int:
        """Returns the number of a shard's pictures that have no embedding."""
        file = self._errors(shard)
        return file.read_bytes().count(b"\n") if file.exists() else 0

    def lock(self, shard: int) -> FileLock:
        """Returns the lock of a shard, which the system releases when a process dies."""
        return FileLock(f"{self._stem(shard)}.lock")

    def write(self, shard: int, rows: VectorRows) -> None:
        """Writes a shard.

        Args:
            shard: Its number.
            rows: The vectors, and the errors of the other pictures.

        Raises:
            InputError: If the disk is full.
        """
        files = {
            Path(f"{self._stem(shard)}{suffix}"): data
            for suffix, data in encode_rows(rows, self.manifest["file_format"]).items()
        }
        self._errors(shard).unlink(missing_ok=True)  # of a process that was killed before the rest
        if rows.errors:
            _write(self._errors(shard), encode_errors(rows.errors))
        for path, data in files.items():
            _write(path, data)

    def write_list(self, shard: int, text: str) -> None:
        """Writes the list of a shard's pictures for workers elsewhere; `finish` removes it."""
        _write(self._list(shard), text.encode())

    def read_list(self, shard: int) -> str:
        """Returns what `write_list` wrote."""
        return self._list(shard).read_text()

    def read(self) -> VectorRows:
        """Reads the vectors of all shards.

        Returns:
            The vectors, in the order of the pictures, without errors.

        Raises:
            InputError: If shards are missing or damaged.
        """
        if missing := self.missing():
            raise InputError(
                f"{str(self.folder)!r} lacks {len(missing)} of {self.count} shards; finish it by "
                "running the same `python -m keras_distill.embed` again."
            )
        names = tuple(self.manifest["class_names"])
        shards = [
            decode_rows(self._stem(shard), self.manifest["file_format"], names)
            for shard in range(self.count)
        ]
        return VectorRows(
            np.concatenate([shard.vectors for shard in shards]),
            [path for shard in shards for path in shard.paths],
            np.concatenate([shard.labels for shard in shards]),
            names,
        )

    def finish(self) -> "VectorShards":
        """Gathers the errors in `errors.jsonl` and counts, once all shards are there.

        Returns:
            The complete shards.

        Raises:
            InputError: If the disk is full.
        """
        count = 0
        with published_file(self.folder / "errors.jsonl") as temporary, temporary.open("wb") as out:
            for shard in range(self.count):
                if self._errors(shard).exists():
                    data = self._errors(shard).read_bytes()
                    count += data.count(b"\n")
                    out.write(data)
        for name in ("vectors", "errors"):  # what killed processes left
            for pattern in (".tmp-*", "*.lock"):
                for path in (self.folder / name).glob(pattern):
                    path.unlink(missing_ok=True)
        shutil.rmtree(self.folder / "pictures", ignore_errors=True)
        counts = {"embedded": self.manifest["rows"] - count, "errors": count}
        manifest = {**self.manifest, **counts}
        _write_manifest(self.folder, manifest)
        return VectorShards(self.folder, manifest)

    def _stem(self, shard: int) -> Path:
        return self.folder / "vectors" / f"{shard:06d}"

    def _list(self, shard: int) -> Path:
        return self.folder / "pictures" / f"{shard:06d}.jsonl"

    def _errors(self, shard: int) -> Path:
        return self.folder / "errors" / f"{shard:06d}.jsonl"


def start_shards(
    folder: Path, provenance: Mapping[str, Any], *, overwrite: bool = False
) -> VectorShards:
    """Begins a folder of vectors, or resumes one with the same provenance.

    Args:
        folder: The folder; made if it is not there.
        provenance: `embedder`, `image_size`, `pictures`, `rows`, `dim`, `shard_size`,
            `file_format`, `class_names`, and for people `model`, `mirror` and `root`.
        overwrite: Whether vectors of another provenance are removed.

    Returns:
        The shards.

    Raises:
        InputError: If the folder holds something else, or cannot be written.
    """
    check_own_folder(folder, _OURS)
    if (folder / "manifest.json").exists():
        found = open_shards(folder).manifest
        differs = [name for name in _DECIDES if found[name] != provenance[name]]
        if not differs:
            return VectorShards(folder, found)
        if not overwrite:
            told = [
                _DECIDES[name]
                if isinstance(found[name], str) and name != "file_format"
                else f"{_DECIDES[name]} ({found[name]} there, {provenance[name]} now)"
                for name in differs
            ]
            there, now = (bool(each.get("mirror")) for each in (found, provenance))
            if there != now:  # a reason why the model differs
                told.append(f"`mirror` ({there} there, {now} now)")
            raise InputError(
                f"`folder={folder}` holds vectors of another provenance: {', '.join(told)} differ. "
                "Give the same again, another folder, or `overwrite`."
            )
    if folder.is_dir():
        (folder / "manifest.json").unlink(missing_ok=True)  # nothing counts without it
        for name in ("vectors", "errors", "pictures"):
            shutil.rmtree(folder / name, ignore_errors=True)
        (folder / "errors.jsonl").unlink(missing_ok=True)
    manifest = {
        "format": FORMAT,
        "keras_distill": __version__,
        **provenance,
        "embedded": None,
        "errors": None,
    }
    _write_manifest(folder, manifest)
    return VectorShards(folder, manifest)


def open_shards(folder: Path) -> VectorShards:
    """Opens a folder of vectors.

    Args:
        folder: The folder.

    Returns:
        The shards; some may be missing.

    Raises:
        InputError: If it is none, or its manifest is damaged or of a later version.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        version, newer = manifest["keras_distill"], manifest["format"] > FORMAT
        lacking = {*_DECIDES, "class_names", "root", "embedded", "errors"} - manifest.keys()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"`folder={str(folder)!r}` holds no vectors ({error}); make them with "
            "`python -m keras_distill.embed`."
        ) from error
    if newer:
        raise InputError(
            f"`folder={str(folder)!r}` was made by keras_distill {version}, whose format this "
            "version does not know; update keras_distill."
        )
    if lacking:
        raise InputError(
            f"`folder={str(folder)!r}`: its manifest.json has no {min(lacking)!r}; it was not "
            "made by `python -m keras_distill.embed`, or is damaged."
        )
    return VectorShards(folder, manifest)


def holds_shards(folder: Path) -> bool:
    """Tells whether a folder holds shards of vectors, complete or not."""
    return (folder / "manifest.json").is_file() and (folder / "vectors").is_dir()


def _write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    _write(folder / "manifest.json", (json.dumps(manifest, indent=2) + "\n").encode())
    (folder / "vectors").mkdir(exist_ok=True)


def _write(path: Path, data: bytes) -> None:
    with published_file(path) as temporary, temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())  # or a power cut could leave the name without the content
