r"""Trains a small model: an embedder, a classifier, a score or a count.

--recipe names what is trained; `--recipe=NAME --help` lists the flags of another recipe than
distill. distill trains an embedder: without --teacher it learns from the labels alone, which makes
a teacher or a baseline; with --teacher it also learns to agree with the teacher. --epochs=0 writes
the model untrained, so that a pretrained backbone becomes a teacher with one command.

The run directory receives flags.txt, metrics.jsonl, training.png with its curves, checkpoints/,
tensorboard/, the model and summary.json, whose path is the last line printed. A training that
was stopped or killed is resumed from its last checkpoint when the same command is given again, and
ends as if it had not been stopped. SIGTERM and Ctrl-C end it with a checkpoint of the present step.

  python -m keras_distill.train --flagfile=configs/birds100_relative.flags
  python -m keras_distill.train --dataset=folder:photos --backbone=mobilenet --alpha=0.25 \
      --teacher=runs/teacher/student.keras --teacher_losses=absolute,relative:0.3

With --distribution=mirrored the batches are divided among all GPUs of the machine; with multiworker
among the GPUs of several processes, each started with the same flags and a TF_CONFIG of its own.
Worker 0 alone writes the run directory, which all must see.

Exit codes: 0 done, 2 unusable flags or input, or a full disk, 3 diverged (the last good checkpoint
is kept), 4 another worker was lost, 130 stopped by Ctrl-C, 143 by SIGTERM.
"""

import functools
import importlib
import sys
from pathlib import Path

from keras_distill.distribution.cluster import Cluster, read_cluster
from keras_distill.runs.continuation import continuation
from keras_distill.runs.directory import RunDirectory
from keras_distill.settings.command import SUCCESS, flag_files
from keras_distill.settings.recipes import train_command
from keras_distill.settings.training import TrainSettings


def main(settings: TrainSettings) -> int:
    """Trains as the settings say; returns the exit code."""
    settings.check()
    settings = settings.resolved()
    cluster = read_cluster() if settings.distribution == "multiworker" else None
    run = RunDirectory(
        settings.run_dir or Path("runs") / _default_name(settings),
        writes=cluster is None or cluster.is_chief,
        product=settings.product,
    )
    state = continuation(run, settings)
    if state == "finished":
        print(f"{run.path} is finished; --overwrite would train it again.\n{run.summary}")
        return SUCCESS
    try:
        if run.flags.exists():  # before the teachers are evaluated for hours
            run.lock()
        return _train(settings, run, cluster, resumes=state == "resume")
    finally:
        run.unlock()


def _train(
    settings: TrainSettings, run: RunDirectory, cluster: Cluster | None, *, resumes: bool
) -> int:
    from keras_distill.training.loop import run_stages
    from keras_distill.training.on_replicas import run_on_replicas

    recipe = importlib.import_module(f"keras_distill.recipes.{settings.recipe}")
    train = functools.partial(
        run_stages,
        recipe.stages(settings),
        run,
        settings,
        flags_text=COMMAND.text(settings, without="overwrite"),
        resumes=resumes,
    )
    return run_on_replicas(settings, cluster, train)


def _default_name(settings: TrainSettings) -> str:
    files = flag_files()
    if files:
        return files[-1].stem
    dataset = getattr(settings, "dataset", settings.recipe)
    kind, _, path = dataset.partition(":")
    if kind == "folder" or not path:
        return Path(path or kind).resolve().name
    return Path(path).stem  # of a file of labels


COMMAND = train_command(sys.argv[1:] if __name__ == "__main__" else (), __doc__)

if __name__ == "__main__":
    COMMAND.run(main)
