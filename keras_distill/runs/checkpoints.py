"""Checkpoints on disk: a folder each, whole or absent, with checksums."""

import functools
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from keras_distill.errors import InputError
from keras_distill.publishing import published_folder

#: Keys of provenance in messages; former versions wrote these in place of the keys.
_CALLED = {
    "train_images": "the training images",
    "validation_images": "the validation images",
    "train_content": "the content of the training images",
    "validation_content": "the content of the validation images",
}
_MANIFEST, _STATE, _ARRAYS = "manifest.json", "state.json", "arrays.npz"


def provenance_name(key: str) -> str:
    """Returns what messages call a key of provenance: words, or an argument in backquotes."""
    return _CALLED.get(key, f"`{key}`")


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint.

    Attributes:
        step: Steps that had been made.
        path: Its folder.
    """

    step: int
    path: Path

    def state(self) -> dict[str, Any]:
        """Reads the values that are not arrays."""
        return json.loads((self.path / _STATE).read_text())

    def arrays(self) -> dict[str, np.ndarray]:
        """Reads the arrays by name."""
        with np.load(self.path / _ARRAYS, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}

    def check_provenance(self, provenance: Mapping[str, Any]) -> None:
        """Refuses to resume from here with other images, models or settings than before.

        Values that another version did not record cannot be compared, which a warning says.

        Args:
            provenance: Values that must be the same, by stable keys; see `ResumableCallbacks`.

        Raises:
            InputError: If something differs.
        """
        before = _stored_provenance(self.state())
        if unknown := sorted(_CALLED.get(k, k) for k in provenance.keys() - before.keys()):
            _warn_once(
                f"{self.path} was written by another version, which did not record "
                f"{', '.join(unknown)}: make sure that it is the same as when the run was begun."
            )
        for name, value in provenance.items():
            if before.get(name, value) != value:
                raise InputError(
                    f"{provenance_name(name)} differs from what {str(self.path)!r} was "
                    f"trained with: {value}, not {before[name]}. Put back what was there, or "
                    "begin again in another folder."
                )

    def damage(self) -> str:
        """Compares the files with their checksums; returns what is wrong, or nothing."""
        try:
            digests = json.loads((self.path / _MANIFEST).read_text())["sha256"]
            for name, digest in digests.items():
                if _sha256(self.path / name) != digest:
                    return f"{name} does not match its checksum"
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            return str(error) or type(error).__name__
        return ""


class CheckpointFolder:
    """A folder of checkpoints, `step-000123` and so on, in each `arrays.npz` and `state.json`.

    A checkpoint appears by a rename, with the SHA-256 of its files, and the older ones are removed
    only after that: whenever a process dies, a whole one is there.

    Args:
        path: The folder; need not exist.
        keep: Number of checkpoints to keep, the newest.
        writes: Whether this process writes here; in one that does not, `save` does nothing.

    Raises:
        ValueError: If none would be kept.
    """

    def __init__(self, path: str | Path, *, keep: int = 2, writes: bool = True):
        if keep < 1:
            raise ValueError(f"keep={keep} must be at least 1.")
        self.path = Path(path)
        self._keep = keep
        self._writes = writes
        self._damage: dict[Path, str] = {}  # of those that were looked at

    def all(self) -> list[Checkpoint]:
        """Lists the checkpoints, damaged ones too, from the newest to the oldest."""
        folders = self.path.iterdir() if self.path.is_dir() else ()
        found = [
            Checkpoint(int(match[1]), folder)
            for folder in folders
            if (match := re.fullmatch(r"step-(\d+)", folder.name))
        ]
        return sorted(found, key=lambda checkpoint: -checkpoint.step)

    def newest(self) -> Checkpoint | None:
        """Finds the newest checkpoint that is whole, and warns of damaged ones.

        Returns:
            The checkpoint, or `None` if there is none at all.

        Raises:
            InputError: If there are checkpoints and all of them are damaged.
        """
        found = self.all()
        for checkpoint in found:
            path = checkpoint.path
            if path not in self._damage:
                self._damage[path] = checkpoint.damage()
                if self._damage[path]:
                    logging.warning(
                        "Passing over a damaged checkpoint, %s: %s.", path, self._damage[path]
                    )
            if not self._damage[path]:
                return checkpoint
        if found:
            raise InputError(
                f"all checkpoints in {str(self.path)!r} are damaged; begin again in another folder."
            )
        return None

    def save(
        self,
        step: int,
        arrays: Mapping[str, np.ndarray],
        state: Mapping[str, Any],
        *,
        write_more: Callable[[Path], None] = lambda folder: None,
        also_keep: Collection[int | None] = (),
    ) -> Checkpoint:
        """Writes a checkpoint, and removes those that are not to be kept.

        Args:
            step: Steps that have been made. Checkpoints of later steps belong to an abandoned
                training, and are removed.
            arrays: The arrays by name.
            state: All other values to keep, for JSON.
            write_more: Writes further files into the folder that it is given.
            also_keep: Steps of older checkpoints to keep.

        Returns:
            The checkpoint.

        Raises:
            InputError: If it cannot be written; those before it are intact then.
        """
        before = next((c for c in self.all() if c.step < step), None)
        saved = Checkpoint(step, self.path / f"step-{step:06d}")
        if not self._writes:
            return saved
        shutil.rmtree(saved.path, ignore_errors=True)
        self._damage.pop(saved.path, None)
        try:
            with published_folder(saved.path, keep_existing=False) as folder:
                np.savez(folder / _ARRAYS, **dict[str, Any](arrays))
                (folder / _STATE).write_text(json.dumps(state, indent=1) + "\n")
                write_more(folder)
                digests = {file.name: _sha256(file) for file in folder.iterdir()}
                (folder / _MANIFEST).write_text(json.dumps({"sha256": digests}, indent=1) + "\n")
        except InputError as error:
            raise InputError(f"{error} {self._advice(arrays, before)}") from error
        earlier = [checkpoint for checkpoint in self.all() if checkpoint.step <= step]
        kept = {checkpoint.step for checkpoint in earlier[: self._keep]} | set(also_keep)
        for checkpoint in self.all():
            if checkpoint.step not in kept:
                shutil.rmtree(checkpoint.path, ignore_errors=True)
        return saved

    def remove_leftovers(self) -> None:
        """Removes what killed processes left half-written; nobody may be writing here."""
        for folder in self.path.glob(".tmp-step-*") if self._writes else ():
            shutil.rmtree(folder, ignore_errors=True)

    def _advice(self, arrays: Mapping[str, np.ndarray], before: Checkpoint | None) -> str:
        needed = sum(array.nbytes for array in arrays.values()) / 1e6
        disk = self.path if self.path.is_dir() else Path.cwd()
        free = shutil.disk_usage(disk).free / 1e6
        advice = f"A checkpoint takes {needed:.3g} MB or more; {free:.3g} MB of the disk are free."
        if before is None:
            return advice
        return (
            f"{advice} {str(before.path)!r} is intact: remove old runs or caches, and start the "
            f"same command again, which resumes from step {before.step}."
        )


def _stored_provenance(state: Mapping[str, Any]) -> dict[str, Any]:
    """Provenance in a checkpoint; former versions had sentences for keys."""
    if "provenance" in state:
        return dict(state["provenance"])
    former = {sentence: key for key, sentence in _CALLED.items()}
    found = {}
    for name, value in state["made_of"].items():
        flag, _, given = name.partition("=")
        if flag == "--teacher":
            named, equals, _ = given.partition("=")
            name = f"teacher/{named}" if equals else "teacher"
        elif flag == "--backbone_weights":
            name = "backbone_weights"
        found[former.get(name, name)] = value
    return found


@functools.cache
def _warn_once(message: str) -> None:
    logging.warning("%s", message)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
