r"""Trains variants of one training with several seeds, and compares them in one table.

All variants start from the flags in --base; each --variant adds its own. The command can be stopped
at any time and called again, also with more variants, seeds or evaluations: what is complete is not
repeated, and a training that was cut off goes on from its last checkpoint. --out receives table.md,
table.csv, results.json and recall.png, written anew after each training, and runs/VARIANT/SEED.

  python -m keras_distill.ablate --flagfile=configs/birds100_ablation.flags
  python -m keras_distill.ablate --base=student.flags --seeds=0,1,2 --out=runs/margins \
      --variant="small: --margin=0.1" --variant="large: --margin=0.3" \
      --evaluation="good:" --evaluation="blurred: --degrade=blur:2"

Exit codes: 0 done, 1 a training or evaluation failed, 2 unusable flags or input, 130 stopped by
Ctrl-C, 143 by SIGTERM.
"""

import contextlib
import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_distill.ablation.grid import Grid, Run
from keras_distill.ablation.report import write_report
from keras_distill.errors import InputError
from keras_distill.settings.command import FAILURE, SUCCESS, Command, flag_files

COMMAND = Command("keras_distill.ablate", __doc__)
COMMAND.string(
    "Grid", "base", "", "Flag file of keras_distill.train that all variants share. Required."
)
COMMAND.strings(
    "Grid",
    "variant",
    'A training as "NAME: FLAGS", where FLAGS of keras_distill.train are added to --base, or none. '
    "Required, once for each variant.",
)
COMMAND.string("Grid", "seeds", "0,1", "Seeds, with each of which every variant is trained.")
COMMAND.strings(
    "Grid",
    "evaluation",
    'A measurement as "NAME: FLAGS", where FLAGS are of keras_distill.evaluate, such as '
    "--split=validation or --degrade=blur:2; by default one of the test classes. The data set is "
    "the variant's.",
)
COMMAND.string("Grid", "ks", "1,2,4,8", "The K of Recall@K; the first one is drawn.")
COMMAND.string("Output", "out", "", "Folder; runs/NAME of the flag file or of --base if empty.")
COMMAND.boolean("Output", "overwrite", False, "Forget what is in --out and begin anew.")
COMMAND.boolean("Output", "dry_run", False, "Only print the commands that would be run.")


def main(flags: Any) -> int:
    """Runs the grid as the flags say; returns the exit code."""
    if not flags.base:
        raise InputError("--base is required: a flag file of keras_distill.train.")
    if not Path(flags.base).is_file():
        raise InputError(f"--base={flags.base} does not exist.")
    out = Path(flags.out or Path("runs") / (flag_files() or [Path(flags.base)])[-1].stem)
    if out.exists() and not out.is_dir():
        raise InputError(f"--out={out} is a file; give a folder.")
    grid = Grid.of(flags, out)
    if flags.dry_run:
        for run in grid.runs():
            commands = [run.train_command(), *map(run.evaluate_command, grid.evaluations)]
            print("\n".join(map(shlex.join, commands)))
        return SUCCESS
    return _run(grid, overwrite=flags.overwrite)


def _run(grid: Grid, *, overwrite: bool) -> int:
    """Does what is not done yet, and writes the report after each training."""
    import filelock
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(highlight=False, soft_wrap=True)
    try:
        grid.out.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(grid.out / ".lock", timeout=0).acquire()
    except filelock.Timeout as error:
        raise InputError(f"--out={grid.out}: another process works there.") from error
    except OSError as error:
        raise InputError(f"--out={grid.out} cannot be written: {error.strerror}.") from error
    failed = []
    with lock:
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
                progress.update(task, description=f"{run.variant.name}, seed {run.seed}")
                begun = time.perf_counter()
                wrong = _complete(run, grid)
                if wrong:
                    failed.append(run)
                write_report(grid.out, _read_results(grid))
                console.print(
                    f"{run.variant.name}, seed {run.seed}: {wrong or 'done'} "
                    f"({time.perf_counter() - begun:.0f} s)"
                )
                progress.advance(task)
    console.print(f"\n{(grid.out / 'table.md').read_text()}", markup=False)
    console.print(str(grid.out / "results.json"))
    return FAILURE if failed else SUCCESS


def _complete(run: Run, grid: Grid) -> str:
    """Does what is missing of one run; returns what went wrong, or nothing."""
    log = run.folder.path / "console.log"
    if not run.folder.summary.exists():
        shutil.rmtree(run.evaluations, ignore_errors=True)  # of a student that is no more
        run.folder.path.mkdir(parents=True, exist_ok=True)
        code = _logged(run.train_command(), log)
        if code:
            return f"the training ended with exit code {code}, see {log}"
    for evaluation in grid.evaluations:
        if not run.evaluation_file(evaluation).exists():
            code = _logged(run.evaluate_command(evaluation), log)
            if code:
                return f"the evaluation {evaluation.name} ended with exit code {code}, see {log}"
    return ""


def _logged(command: list[str], log: Path) -> int:
    """Runs a command; what stops this one asks that one to stop, and waits until it has."""
    with log.open("a") as file, _exit_by_exception():
        file.write(f"$ {shlex.join(command)}\n")
        file.flush()
        # In a group of its own: a terminal's Ctrl-C would be the first of two signals, and a
        # training that is asked twice ends without a checkpoint.
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, process_group=0)
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            process.kill()  # if that was not waited for


@contextlib.contextmanager
def _exit_by_exception() -> Iterator[None]:
    """Lets SIGTERM and a terminal that closes raise SystemExit, unless they are ignored."""
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in former.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


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
            results.append(
                {
                    "variant": run.variant.name,
                    "evaluation": evaluation.name,
                    "seed": run.seed,
                    "recall": measured["recall"],
                    "map_at_r": measured["map_at_r"],
                    "r_precision": measured["r_precision"],
                    "parameters": summary["parameters"],
                    "training_seconds": summary.get("seconds"),
                    "run_dir": str(run.folder.path),
                }
            )
    return results


if __name__ == "__main__":
    COMMAND.run(main)
