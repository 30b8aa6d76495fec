r"""Trains variants of one training with several seeds, and compares them in one table.

All variants start from the flags in --base, of any recipe; each --variant adds its own. The command
can be stopped at any time and called again, also with more variants, seeds or evaluations: what is
complete is not repeated, and a training that was cut off is resumed from its last checkpoint. --out
receives table.md, table.csv, results.json and recall.png (figures.png of other protocols than
retrieval), written after each training, and runs/VARIANT/SEED.

  python -m keras_distill.ablate --flagfile=configs/birds100_ablation.flags
  python -m keras_distill.ablate --base=student.flags --seeds=0,1,2 --out=runs/margins \
      --variant="small: --margin=0.1" --variant="large: --margin=0.3" \
      --evaluation="good:" --evaluation="blurred: --degrade=blur:2"

Exit codes: 0 done, 1 a training or evaluation failed, 2 unusable flags or input, 130 stopped by
Ctrl-C, 143 by SIGTERM.
"""

import shlex
from pathlib import Path

from keras_distill.ablation.grid import Grid
from keras_distill.errors import InputError
from keras_distill.settings.ablation import AblateSettings
from keras_distill.settings.command import FAILURE, SUCCESS, Command, flag_files

COMMAND = Command("keras_distill.ablate", __doc__, AblateSettings)


def main(settings: AblateSettings) -> int:
    """Runs the grid as the settings say; returns the exit code."""
    settings.check()
    out = Path(settings.out or Path("runs") / (flag_files() or [Path(settings.base)])[-1].stem)
    if out.exists() and not out.is_dir():
        raise InputError(f"--out={out} is a file; give a folder.")
    grid = Grid.of(settings, out)
    if settings.dry_run:
        for run in grid.runs():
            commands = [run.train_command(), *map(run.evaluate_command, grid.evaluations)]
            print("\n".join(map(shlex.join, commands)))
        return SUCCESS
    from keras_distill.ablation.grid_runs import run_grid

    return SUCCESS if run_grid(grid, overwrite=settings.overwrite) else FAILURE


if __name__ == "__main__":
    COMMAND.run(main)
