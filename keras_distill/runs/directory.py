"""Run directory on disk."""

import contextlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import filelock

from keras_distill.errors import InputError
from keras_distill.publishing import published_file

_PRODUCTS = ("student.keras", "model.keras")


class RunDirectory:
    """The files of a run.

    `flags.txt`, `metrics.jsonl`, `training.png`, `checkpoints/`, `tensorboard/`, `summary.json`,
    and the product, `student.keras` or `model.keras`.

    Args:
        run_dir: The folder.
        product: File name of the product; by default the one that is there, or `student.keras`.
        writes: Whether this process writes here. Otherwise the methods that write do nothing.
    """

    def __init__(self, run_dir: str | Path, *, writes: bool = True, product: str = ""):
        self.path = Path(run_dir)
        if not product:
            product = next((n for n in _PRODUCTS if (self.path / n).exists()), _PRODUCTS[0])
        self._writes = writes
        self.flags = self.path / "flags.txt"
        self.metrics = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self.curves = self.path / "training.png"
        self.product = self.path / product
        self.summary = self.path / "summary.json"
        self._lock = filelock.FileLock(self.path / ".lock", timeout=0)

    def check(self) -> None:
        """Checks that the folder can be made and written, and leaves nothing behind.

        Raises:
            InputError: If it cannot.
        """
        if not self._writes:
            return
        missing = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            for folder in missing:
                with contextlib.suppress(OSError):  # another process has begun there
                    folder.rmdir()

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(
            f"`run_dir={str(self.path)!r}` could not be written ({error.strerror}); choose "
            "another place."
        )

    def lock(self) -> None:
        """Locks the run against other processes, until `unlock` or the end of this one.

        Raises:
            InputError: If another process works here, or the folder cannot be made.
        """
        if self._lock.is_locked or not self._writes:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except filelock.Timeout as error:
            raise InputError(f"`run_dir={self.path}`: another process trains there.") from error
        except OSError as error:
            raise self._unwritable(error) from error

    def unlock(self) -> None:
        """Unlocks the run."""
        self._lock.release()

    def begin(self, flags_text: str) -> None:
        """Removes the files of a former run and writes the flags of this one."""
        if not self._writes:
            return
        self.lock()
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        shutil.rmtree(self.tensorboard, ignore_errors=True)
        for folder in self.path.glob("projected_teacher*/"):
            shutil.rmtree(folder)
        projections = [*self.path.glob("projected_teacher*"), *self.path.glob("teacher_pca*")]
        for file in (self.metrics, self.curves, self.product, self.summary, *projections):
            file.unlink(missing_ok=True)
        self.write_flags(flags_text)

    def resume(self, flags_text: str, step: int) -> None:
        """Removes the records after a step, and writes the flags, which may name more epochs."""
        if not self._writes:
            return
        self.lock()
        self.summary.unlink(missing_ok=True)
        kept = [record for record in self.read_metrics() if record["step"] <= step]
        with published_file(self.metrics) as temporary:
            temporary.write_text("".join(json.dumps(record) + "\n" for record in kept))
        self.write_flags(flags_text)

    def finished_stages(self) -> list[str]:
        """Names of the stages, with a folder each in this one, whose training is finished."""
        if self.checkpoints.exists():  # a stage itself
            return []
        found = (file.parent for file in sorted(self.path.glob("*/summary.json")))
        return [folder.name for folder in found if (folder / self.flags.name).exists()]

    def read_metrics(self) -> list[dict[str, Any]]:
        """Reads the records of the epochs; a line that a full disk cut off is skipped."""
        records = []
        for line in self.metrics.read_text().splitlines() if self.metrics.exists() else ():
            with contextlib.suppress(ValueError):
                records.append(json.loads(line))
        return records

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Appends the record of one epoch to `metrics.jsonl`."""
        if self._writes:
            with self.metrics.open("a") as file:
                file.write(json.dumps(record) + "\n")

    def read_summary(self) -> dict[str, Any]:
        """Reads `summary.json`."""
        return json.loads(self.summary.read_text())

    def write_flags(self, text: str) -> None:
        """Writes `flags.txt`."""
        if not self._writes:
            return
        with published_file(self.flags) as temporary:
            temporary.write_text(text)

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Writes `summary.json`."""
        if not self._writes:
            return
        with published_file(self.summary) as temporary:
            temporary.write_text(json.dumps(summary, indent=2) + "\n")
