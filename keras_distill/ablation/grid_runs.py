"""Runs of a grid: each variant is trained with each seed, and measured."""

import contextlib
import json
import shutil
import time
from collections.abc import Iterator
from typing import Any

import filelock
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from keras_distill.ablation.child_process import run_logged
from keras_distill.ablation.grid import Grid, Run
from keras_distill.ablation.report import plain_figures, write_report
from keras_distill.errors import InputError
from keras_distill.runs.directory import RunDirectory

# Under keys of their own too, where readers of results.json look for them.
_OF_RETRIEVAL = ("recall", "map_at_r", "r_precision")
# Time for a training, whose ablation was killed, to write its checkpoint.
_ENDING_SECONDS = 60.0


def run_grid(grid: Grid, *, overwrite: bool) -> bool:
    """Does what is not done yet, and writes the report after each training.

    Args:
        grid: The grid.
        overwrite: Whether former runs are removed first.

    Returns:
        Whether all runs are complete.

    Raises:
        InputError: If another process works in the folder, or it cannot be written.
    """
    console = Console(highlight=False, soft_wrap=True)
    with _locked(grid):
        if overwrite:
            shutil.rmtree(grid.out / "runs", ignore_errors=True)
            (grid.out / "plan.json").unlink(missing_ok=True)
        grid.record()
        runs = grid.runs()
        # Seed by seed, so that all variants can be compared early.
        missing = sorted(
            (run for run in runs if not grid.is_complete(run)),
            key=lambda run: grid.seeds.index(run.seed),
        )
        if len(missing) < len(runs):
            console.print(f"{len(runs) - len(missing)} of {len(runs)} runs were done before.")
        write_report(grid.out, _read_results(grid))
        failed = _run_all(missing, grid, console)
    console.print(f"\n{(grid.out / 'table.md').read_text()}", markup=False)
    console.print(str(grid.out / "results.json"))
    return not failed


@contextlib.contextmanager
def _locked(grid: Grid) -> Iterator[None]:
    """Keeps other processes out of the folder of the grid, which is made if need be."""
    try:
        grid.out.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(grid.out / ".lock", timeout=0).acquire()
    except filelock.Timeout as error:
        raise InputError(f"--out={grid.out}: another process works there.") from error
    except OSError as error:
        raise InputError(f"--out={grid.out} cannot be written: {error.strerror}.") from error
    with lock:
        yield


def _run_all(missing: list[Run], grid: Grid, console: Console) -> list[Run]:
    """Completes the runs; returns those that failed."""
    failed = []
    progress = Progress(
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with progress:
        task = progress.add_task("", total=len(missing))
        for run in missing:
            name = f"{run.variant.name}, seed {run.seed}"
            progress.update(task, description=name)
            if not console.is_terminal:  # which has a bar
                console.print(f"{name}: training, see {run.log}")
            begun = time.perf_counter()
            wrong = _complete(run, grid)
            if wrong:
                failed.append(run)
            write_report(grid.out, _read_results(grid))
            console.print(f"{name}: {wrong or 'done'} ({time.perf_counter() - begun:.0f} s)")
            progress.advance(task)
    return failed


def _complete(run: Run, grid: Grid) -> str:
    """Does what is missing of one run; returns what went wrong, or nothing."""
    log = run.log
    if not run.folder.summary.exists():
        shutil.rmtree(run.evaluations, ignore_errors=True)  # of a student that is no more
        run.folder.path.mkdir(parents=True, exist_ok=True)
        _wait_until_free(run.folder)
        code = run_logged(run.train_command(), log)
        if code:
            return f"the training ended with exit code {code}, see {log}"
    for evaluation in grid.evaluations:
        if not run.evaluation_file(evaluation).exists():
            code = run_logged(run.evaluate_command(evaluation), log)
            if code:
                return f"the evaluation {evaluation.name} ended with exit code {code}, see {log}"
    return ""


def _wait_until_free(folder: RunDirectory) -> None:
    """Waits for a training that still writes its last checkpoint after its ablation was killed."""
    end = time.monotonic() + _ENDING_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(InputError):
            folder.lock()
            folder.unlock()
            return
        time.sleep(0.2)


def _read_results(grid: Grid) -> list[dict[str, Any]]:
    """Reads one record for each variant, seed and evaluation that is done."""
    results = []
    for run in grid.runs():
        for evaluation in grid.evaluations:
            file = run.evaluation_file(evaluation)
            if not (run.folder.summary.exists() and file.exists()):
                continue
            summary, measured = (
                json.loads(path.read_text()) for path in (run.folder.summary, file)
            )
            of_retrieval = {name: measured[name] for name in _OF_RETRIEVAL if name in measured}
            results.append(
                {
                    "variant": run.variant.name,
                    "evaluation": evaluation.name,
                    "seed": run.seed,
                    "figures": plain_figures(measured.get("figures", of_retrieval)),
                    **of_retrieval,
                    "parameters": summary["parameters"],
                    "training_seconds": summary.get("seconds"),
                    "run_dir": str(run.folder.path),
                }
            )
    return results
