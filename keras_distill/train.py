r"""Trains an embedder, from a teacher or without one.

Without --teacher it learns from the labels alone: that is how a teacher or a baseline is made.
With --teacher it also learns to agree with the teacher. --epochs=0 writes the embedder as it
stands, so that a pretrained trunk becomes a teacher with one command.

The run directory receives flags.txt, metrics.jsonl, training.png with its curves, checkpoints/,
tensorboard/, student.keras and summary.json, whose path is the last line printed. A training that
was stopped or killed goes on from its last checkpoint when the same command is given again, and
ends as if it had not been stopped. SIGTERM and Ctrl-C end it with a checkpoint of the present step.

  python -m keras_distill.train --flagfile=configs/birds100_relative.flags
  python -m keras_distill.train --dataset=folder:photos --trunk=mobilenet --alpha=0.25 \
      --teacher=runs/teacher/student.keras --teacher_losses=absolute,relative:0.3

With --distribution=mirrored the batches are dealt to all GPUs of the machine; with multiworker to
those of several processes, each started with the same flags and a TF_CONFIG of its own. Worker 0
alone writes the run directory, which all must see.

Exit codes: 0 done, 2 unusable flags or input, or a full disk, 3 diverged (the last good checkpoint
is kept), 4 another worker was lost, 130 stopped by Ctrl-C, 143 by SIGTERM.
"""

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_distill.distribution.cluster import read_cluster
from keras_distill.errors import InputError
from keras_distill.runs.continuation import continuation
from keras_distill.runs.directory import RunDirectory
from keras_distill.settings.command import (
    DIVERGED,
    INTERRUPTED,
    SUCCESS,
    TERMINATED,
    Command,
    flag_files,
)
from keras_distill.settings.data import load_training_images
from keras_distill.settings.teacher_losses import teacher_loss_weights
from keras_distill.settings.teachers import FEATURE_LOSSES
from keras_distill.settings.training import check_train_flags, define_train_flags

COMMAND = Command("keras_distill.train", __doc__)
AGAIN = ("the same command", "the same command without --overwrite")
define_train_flags(COMMAND)


def main(flags: Any) -> int:
    """Trains as the flags say; returns the exit code."""
    weights = check_flags(flags)
    cluster = read_cluster() if flags.distribution == "multiworker" else None
    run = RunDirectory(
        flags.run_dir or Path("runs") / _default_name(flags),
        writes=cluster is None or cluster.is_chief,
    )
    what = continuation(run, flags, define_train_flags)
    if what == "finished":
        print(f"{run.path} is finished; --overwrite would train anew.\n{run.summary}")
        return SUCCESS
    try:
        if run.flags.exists():  # before the teachers are asked for hours
            run.lock()
        from keras_distill.training.on_replicas import run_on_replicas

        train = functools.partial(_train, flags, weights, run, goes_on=what == "go on")
        return run_on_replicas(flags, cluster, train)
    finally:
        run.unlock()


def check_flags(flags: Any) -> dict[str, dict[str, float]]:
    """Rejects what cannot work before anything slow is loaded.

    Args:
        flags: The parsed flags.

    Returns:
        For each teacher the weights of its losses by name.

    Raises:
        InputError: If a flag is of no use.
    """
    check_train_flags(flags)
    weights = teacher_loss_weights(flags)
    if not any(weights.values()) and flags.task_loss == "none" and flags.epochs:
        raise InputError(
            "--task_loss=none leaves nothing to learn from; give --teacher and --teacher_losses."
        )
    learnt = {loss for own in weights.values() for loss in own}
    if flags.task_loss == "none" and learnt and learnt <= FEATURE_LOSSES and flags.embedding_dim:
        raise InputError(
            f"--task_loss=none with {' and '.join(sorted(learnt))} alone leaves the embedding as "
            "it was drawn; add a loss on embeddings, such as relative, or --embedding_dim=0."
        )
    if flags.memory and flags.task_loss == "none":
        raise InputError(f"--memory={flags.memory} has no effect with --task_loss=none.")
    path = flags.trunk_weights
    if path not in ("imagenet", "none") and not Path(path).exists():
        raise InputError(f"--trunk_weights={path} does not exist.")
    return weights


def _default_name(flags: Any) -> str:
    files = flag_files()
    return files[-1].stem if files else Path(flags.dataset.removeprefix("folder:")).resolve().name


def _train(
    flags: Any,
    weights: dict[str, dict[str, float]],
    run: RunDirectory,
    replicas: Any,
    *,
    goes_on: bool,
) -> int | Callable[[], int]:
    import keras
    import tensorflow as tf
    from rich.console import Console

    from keras_distill.data.pipeline import training_batches
    from keras_distill.methods.distiller import Distiller
    from keras_distill.methods.loss_scaling import SkippedSteps
    from keras_distill.models.embedder import build_embedder
    from keras_distill.models.fused_batch_norm import synchronize_batch_norm
    from keras_distill.recipes import results as run_results
    from keras_distill.recipes.caches import fill_caches, open_image_cache
    from keras_distill.recipes.course import build_course
    from keras_distill.recipes.losses import build_task_loss
    from keras_distill.recipes.optimizer import build_flagged_optimizer
    from keras_distill.recipes.teachers import open_teachers, prepare_teachers
    from keras_distill.recipes.watching import check_profile, watching_callbacks
    from keras_distill.runs.checkpoints import CheckpointFolder
    from keras_distill.runs.provenance import check_ingredients
    from keras_distill.training.divergence_guard import DivergenceGuard, TrainingDiverged
    from keras_distill.training.epoch_report import EpochReport
    from keras_distill.training.gradient_norm import GradientNorm
    from keras_distill.training.on_replicas import check_replicas
    from keras_distill.training.optimizer import add_l2_penalty
    from keras_distill.training.resumable_callbacks import ResumableCallbacks
    from keras_distill.training.shared_stop_signals import SharedStopSignals
    from keras_distill.training.stop_signals import StopSignals, TrainingInterrupted
    from keras_distill.training.training_curves import draw_training

    console = Console(quiet=not replicas.is_chief)
    say = functools.partial(console.print, highlight=False, soft_wrap=True)
    keeps = {"keep": flags.keep_checkpoints, "writes": replicas.is_chief}
    checkpoints = CheckpointFolder(run.checkpoints, **keeps, afresh="--overwrite")
    newest = checkpoints.newest() if goes_on else None
    first_step = newest.step if newest else 0
    if goes_on:
        say(f"{run.path}: going on after step {first_step}")
    train, validation, skipped = load_training_images(flags)
    unlabelled = int((train.labels < 0).sum())
    labelled = len(train) - unlabelled

    keras.utils.set_random_seed(flags.seed)
    if flags.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.config.set_dtype_policy(flags.mixed_precision)
    student = build_embedder(
        flags.trunk,
        image_size=flags.image_size,
        alpha=flags.alpha,
        embedding_dim=flags.embedding_dim,
        trunk_weights=flags.trunk_weights,
        trunk_layer=flags.trunk_layer,
    )
    image_size, width = student.input_shape[1], student.output_shape[1]
    if flags.l2:
        add_l2_penalty(student, flags.l2)
    labelled_per_batch = flags.classes_per_batch * flags.images_per_class
    unlabelled_per_batch = flags.unlabelled_per_batch if unlabelled else 0
    batch_size = labelled_per_batch + unlabelled_per_batch
    check_replicas(replicas, flags, train, unlabelled_per_batch, first_step)
    steps_per_epoch = flags.steps_per_epoch or max(round(labelled / labelled_per_batch), 1)
    check_profile(flags, flags.epochs * steps_per_epoch)
    summary = run_results.setup_figures(flags, run, student, train, validation, skipped) | {
        "steps_per_epoch": steps_per_epoch,
        "batch_size": batch_size,
        "replicas": replicas.count,
        "unlabelled_per_batch": unlabelled_per_batch,
    }
    say(
        f"{labelled} images of {len(train.classes)} classes"
        f"{f' and {unlabelled} unlabelled' if unlabelled else ''}; student {flags.trunk}, "
        f"{student.count_params():,} parameters, {image_size} pixels -> {width} dimensions; "
        f"{replicas.devices}"
    )
    run_results.say_warnings(say, summary)
    task_loss = build_task_loss(flags, train.classes)
    image_cache = open_image_cache(flags, train, image_size=image_size)
    if image_cache is not None:  # before the teachers are asked for hours
        image_cache.check_space(flags.cache_max_gb, flags.epochs, argument="--cache_max_gb")
    opened = open_teachers(flags, train)
    made_of = check_ingredients(flags, train, validation, student, opened, replicas, newest)
    teachers = prepare_teachers(
        flags, train, opened, student=student, weights=weights, console=console
    )
    if image_cache is not None and flags.epochs:
        fill_caches({"images": image_cache}, flags.epochs, flags, console)
    if flags.epochs:  # before anything is written, for it may refuse the flags
        cached_image = None if image_cache is None else image_cache.lookup
        make_batches = functools.partial(
            training_batches,
            train,
            image_size=image_size,
            steps_per_epoch=steps_per_epoch,
            classes_per_batch=flags.classes_per_batch,
            images_per_class=flags.images_per_class,
            unlabelled_per_batch=unlabelled_per_batch,
            least_area=flags.crop_area,
            degrade=flags.degrade,
            views=teachers.views if image_cache is None else image_cache.views,
            seed=flags.seed,
        )
        batches = make_batches(
            teacher_image_size=teachers.image_sizes(image_size, degraded=bool(flags.degrade)),
            cached_image=cached_image,
            teacher_embedding=teachers.lookup(),
            teacher_features=teachers.lookup_features(),
            first_step=first_step,
            replicas=replicas.count,
            own_replicas=replicas.own,
        )
    if goes_on:
        run.go_on(COMMAND.text(without="overwrite"), first_step)
        checkpoints.remove_leftovers()
    else:
        run.begin(COMMAND.text(without="overwrite"))
    for path in teachers.save_projections(run.path) if replicas.is_chief else ():
        say(f"projected teacher: {path}")
    if flags.epochs:
        distiller = Distiller(
            student,
            teacher=teachers.single(teachers.teachers),
            task_loss=task_loss,
            teacher_losses=teachers.single(teachers.losses) or (),
            task_loss_weight=flags.task_weight,
            teacher_loss_weights={
                f"{teacher}_{name}" if teacher else name: weight
                for teacher, own in weights.items()
                for name, weight in own.items()
            },
            student_projection=teachers.single(teachers.student_projections),
        )
        distiller.compile(
            build_flagged_optimizer(flags, distiller, steps_per_epoch),
            jit_compile=flags.jit_compile,
        )
        if flags.sync_batch_norm:
            synchronize_batch_norm(distiller)
        # Before the first step, which would otherwise be traced twice.
        distiller.optimizer.build(distiller.trainable_variables)
        course = build_course(
            flags,
            distiller,
            validation=validation,
            batches=make_batches(cached_image=cached_image),
            say=say,
            replicas=replicas,
        )
        report = EpochReport(
            run,
            console,
            epochs=flags.epochs,
            steps_per_epoch=steps_per_epoch,
            batch_size=batch_size,
            monitor=course.monitor,
            hidden=GradientNorm.names,
        )
        watching = watching_callbacks(
            flags,
            run,
            report,
            steps_per_epoch=steps_per_epoch,
            first_step=first_step,
            batches=make_batches,
            teachers=teachers.teachers,
            image_size=image_size,
            replicas=replicas,
        )
        with StopSignals() as signals:
            callbacks = ResumableCallbacks(
                [DivergenceGuard(), SkippedSteps(), *course.callbacks, report, *watching],
                model=distiller,
                checkpoints=checkpoints,
                epochs=flags.epochs,
                steps_per_epoch=steps_per_epoch,
                every_epochs=flags.checkpoint_every,
                every_steps=flags.checkpoint_steps,
                best=course.best,
                student=course.student,
                made_of=made_of,
                signals=SharedStopSignals(signals, replicas),
            )
            try:
                distiller.fit(
                    replicas.distribute(batches),
                    initial_epoch=callbacks.epoch,
                    epochs=flags.epochs,
                    steps_per_epoch=steps_per_epoch,
                    callbacks=callbacks,
                    shuffle=False,
                    verbose=0,
                )
            except TrainingDiverged as error:
                report.stop()
                kept = checkpoints.newest()
                say(
                    f"train: {error}\n"
                    f"The last good checkpoint: {kept.path if kept else 'none was saved'}."
                )
                return DIVERGED
            except TrainingInterrupted as error:
                report.stop()
                say(f"train: stopped by {error}; {AGAIN[flags.overwrite]} goes on from there.")
                return INTERRUPTED if error.signal == error.signal.SIGINT else TERMINATED
            finally:
                report.stop()
                if replicas.is_chief:
                    with contextlib.suppress(InputError):  # a full disk has been told of already
                        draw_training(run, losses=distiller.metrics_names)
    if not replicas.is_chief:
        return SUCCESS
    if flags.epochs:
        images_seen = callbacks.step * batch_size
        summary |= run_results.training_figures(
            run, distiller, course, report, validation, images_seen
        )
        run_results.say_warnings(say, summary)
    run_results.write_student(
        run,
        course.student if flags.epochs else student,
        callbacks.best_checkpoint if flags.epochs else None,
    )

    def finish() -> int:
        run_results.write_results(flags, run, summary, train if validation is None else validation)
        say(run.summary)
        return SUCCESS

    return finish


if __name__ == "__main__":
    COMMAND.run(main)
