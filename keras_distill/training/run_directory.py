"""The folder that a training run leaves behind."""

import json
import shutil
from pathlib import Path
from typing import Any

from keras_distill.errors import InputError
from keras_distill.publishing import published_file


class RunDirectory:
    """Where the files of a run are.

    `flags.txt`, `metrics.jsonl`, `checkpoints/`, `tensorboard/`, `student.keras`, `summary.json`.

    Args:
        path: The folder.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.flags = self.path / "flags.txt"
        self.metrics = self.path / "metrics.jsonl"
        self.last_checkpoint = self.path / "checkpoints" / "last.keras"
        self.best_checkpoint = self.path / "checkpoints" / "best.keras"
        self.tensorboard = self.path / "tensorboard"
        self.student = self.path / "student.keras"
        self.summary = self.path / "summary.json"

    def check_free(self, *, overwrite: bool) -> None:
        """Raises `InputError` if there is a run already, unless it may be overwritten."""
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"--run_dir={self.path} is a file; give a folder.")
        if self.flags.exists() and not overwrite:
            raise InputError(
                f"--run_dir={self.path} holds a run already; give another folder, or --overwrite "
                "to replace it."
            )

    def begin(self, flags_text: str) -> None:
        """Removes what a former run left here and writes the flags of this one."""
        shutil.rmtree(self.last_checkpoint.parent, ignore_errors=True)
        shutil.rmtree(self.tensorboard, ignore_errors=True)
        for folder in self.path.glob("projected_teacher*/"):
            shutil.rmtree(folder)
        projections = [*self.path.glob("projected_teacher*"), *self.path.glob("teacher_pca*")]
        for file in (self.metrics, self.student, self.summary, *projections):
            file.unlink(missing_ok=True)
        with published_file(self.flags) as temporary:
            temporary.write_text(flags_text)

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Appends the record of one epoch to `metrics.jsonl`."""
        with self.metrics.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Writes `summary.json`."""
        with published_file(self.summary) as temporary:
            temporary.write_text(json.dumps(summary, indent=2) + "\n")
