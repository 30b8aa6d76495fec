"""Run loop of all recipes: resume, checkpoints, signals, replicas, report and curves."""

import contextlib
import functools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from rich.console import Console

from keras_distill import __version__
from keras_distill.distribution.replicas import Replicas
from keras_distill.errors import InputError, as_flags, renamed
from keras_distill.methods.loss_scaling import SkippedSteps
from keras_distill.publishing import published_file
from keras_distill.runs.checkpoints import CheckpointFolder
from keras_distill.runs.directory import RunDirectory
from keras_distill.runs.stage import Stage, StageContext, Training, advising_overwrite
from keras_distill.settings.command import DIVERGED, INTERRUPTED, SUCCESS, TERMINATED
from keras_distill.settings.settings import fixed_values, names_of
from keras_distill.settings.training import TrainSettings
from keras_distill.training.best_epoch import BestEpoch
from keras_distill.training.divergence_guard import DivergenceGuard, TrainingDiverged
from keras_distill.training.early_stopping import EarlyStopping
from keras_distill.training.epoch_report import EpochReport
from keras_distill.training.gradient_norm import GradientNorm
from keras_distill.training.resumable_callbacks import ResumableCallbacks
from keras_distill.training.shared_stop_signals import SharedStopSignals
from keras_distill.training.stop_signals import StopSignals, TrainingInterrupted
from keras_distill.training.tensorboard_callbacks import check_profile, tensorboard_callbacks
from keras_distill.training.training_curves import draw_training


def run_stages(
    stages: Sequence[Stage],
    run: RunDirectory,
    settings: TrainSettings,
    replicas: Replicas,
    *,
    flags_text: str,
    resumes: bool,
) -> int:
    """Trains the stages of a recipe one after the other; a finished one is skipped.

    Args:
        stages: The stages. A single one has the run directory, several have a folder each in it.
        run: The run directory.
        settings: The settings.
        replicas: The replicas.
        flags_text: What to write into `flags.txt`.
        resumes: Whether the run is resumed.

    Returns:
        The exit code.

    Raises:
        InputError: If the settings or the input cannot be used.
    """
    console = Console(quiet=not replicas.is_chief)
    common = _Common(settings, replicas, console, flags_text)
    if len(stages) == 1:
        return _run_stage(stages[0], run, common, {}, resumes=resumes)
    products: dict[str, Path] = {}
    summaries = {}
    for stage in stages:
        folder = RunDirectory(
            run.path / stage.name, writes=replicas.is_chief, product=run.product.name
        )
        # The first stage removes a former run, once it is built.
        removes = not resumes and stage is stages[0]
        if folder.summary.exists() and not removes:
            console.print(f"stage {stage.name} is finished", highlight=False)
        else:
            console.print(f"stage {stage.name}", highlight=False)
            begin = _begin_run if removes else _resume_run
            code = _run_stage(
                stage,
                folder,
                common,
                products,
                resumes=folder.flags.exists() and not removes,
                before=functools.partial(begin, run, stages, common),
            )
            replicas.largest(0)  # until the first process has written the product
            if code != SUCCESS:
                return code
        products[stage.name] = folder.product
        summaries[stage.name] = str(folder.summary)
    if replicas.is_chief:
        with published_file(run.product) as temporary:
            shutil.copyfile(folder.product, temporary)
        run.write_summary({**folder.read_summary(), "run_dir": str(run.path), "stages": summaries})
        console.print(run.summary, highlight=False, soft_wrap=True)
    return SUCCESS


@dataclass(frozen=True)
class _Common:
    """What the stages of a run have in common."""

    settings: TrainSettings
    replicas: Replicas
    console: Console
    flags_text: str


def _begin_run(run: RunDirectory, stages: Sequence[Stage], common: _Common) -> None:
    """Begins a run of several stages, and removes those of a former one."""
    if common.replicas.is_chief:
        run.lock()
        for stage in stages:
            shutil.rmtree(run.path / stage.name, ignore_errors=True)
        run.begin(common.flags_text)


def _resume_run(run: RunDirectory, stages: Sequence[Stage], common: _Common) -> None:
    """Writes the flags of a run of several stages, which may name more epochs."""
    run.write_flags(common.flags_text)


@dataclass(frozen=True)
class _Loop:
    """One stage that is being trained."""

    context: StageContext
    training: Training
    batches: tf.data.Dataset | None
    settings: TrainSettings
    checkpoints: CheckpointFolder
    report: EpochReport
    best: BestEpoch | None
    stopping: EarlyStopping | None


def _run_stage(
    stage: Stage,
    run: RunDirectory,
    common: _Common,
    products: dict[str, Path],
    *,
    resumes: bool,
    before: Callable[[], None] | None = None,
) -> int:
    """Trains one stage; calls `before` once nothing can be refused any more."""
    settings, replicas = common.settings, common.replicas
    checkpoints = CheckpointFolder(
        run.checkpoints, keep=settings.keep_checkpoints, writes=replicas.is_chief
    )
    with advising_overwrite():
        newest = checkpoints.newest() if resumes else None
    context = StageContext(run, replicas, common.console, newest, products)
    if resumes:
        context.say(f"{run.path}: resuming after step {context.first_step}")
    replicas.check_agreement(
        {
            "the step to resume from": context.first_step,
            "the version": __version__,
            **{f"`{name}`": value for name, value in fixed_values(settings).items()},
        }
    )
    with replicas.strategy.scope():
        _set_up_keras(settings)
        training = stage.build(context)
        check_profile(settings, training.epochs * training.steps_per_epoch)
        # Before anything is written or removed, since the settings may be refused here.
        batches = training.batches(context.first_step) if training.epochs else None
        if before is not None:
            before()
        if resumes:
            run.resume(common.flags_text, context.first_step)
            checkpoints.remove_leftovers()
        else:
            run.begin(common.flags_text)
        if replicas.is_chief:
            training.on_begin()
        watchers = _watchers(training, settings, context)
        loop = _Loop(context, training, batches, settings, checkpoints, *watchers)
        best_checkpoint: Path | None = None
        summary = dict(training.summary)
        if training.epochs:
            code, callbacks = _fit(loop)
            if code != SUCCESS:
                return code
            best_checkpoint = callbacks.best_checkpoint
            if replicas.is_chief:
                summary |= _figures(loop, callbacks.step)
                for warning in summary.get("warnings", ()):
                    context.say(f"warning: {warning}")
        if not replicas.is_chief:
            return SUCCESS
        _write_product(run, training.product, best_checkpoint)
    training.on_end(run.product)
    run.write_summary(summary)
    context.say(str(run.summary))
    return SUCCESS


def _set_up_keras(settings: TrainSettings) -> None:
    keras.utils.set_random_seed(settings.seed)
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.config.set_dtype_policy(settings.mixed_precision)


def _watchers(
    training: Training, settings: TrainSettings, context: StageContext
) -> tuple[EpochReport, BestEpoch | None, EarlyStopping | None]:
    """The callbacks that follow the epochs: report, best epoch, early stopping."""
    report = EpochReport(
        context.run,
        context.console,
        epochs=training.epochs,
        steps_per_epoch=training.steps_per_epoch,
        batch_size=training.batch_size,
        monitor=training.monitor,
        hidden=GradientNorm.names,
    )
    validation, best, stopping = training.validation, None, None
    if validation is not None:
        best = BestEpoch(validation.metric, direction=validation.direction)
        if settings.patience:
            stopping = EarlyStopping(
                validation.metric,
                patience=settings.patience,
                min_delta=settings.min_delta,
                direction=validation.direction,
                say=context.say,
            )
    return report, best, stopping


def _fit(loop: _Loop) -> tuple[int, ResumableCallbacks]:
    """Trains; returns the exit code and the callbacks, which know how far it came."""
    context, training, settings, report = loop.context, loop.training, loop.settings, loop.report
    replicas, run = context.replicas, context.run
    validated = [] if training.validation is None else [training.validation.callback]
    watching = [each for each in (loop.best, loop.stopping) if each is not None]
    tensorboard = tensorboard_callbacks(settings, training, context, report)
    with StopSignals() as signals:
        callbacks = ResumableCallbacks(
            [
                DivergenceGuard(),
                SkippedSteps(),
                *training.callbacks,
                *validated,
                *watching,
                report,
                *tensorboard,
            ],
            model=training.model,
            checkpoints=loop.checkpoints,
            epochs=training.epochs,
            steps_per_epoch=training.steps_per_epoch,
            every_epochs=settings.checkpoint_every,
            every_steps=settings.checkpoint_steps,
            best=loop.best,
            student=training.product,
            provenance=training.provenance,
            signals=SharedStopSignals(signals, replicas),
        )
        try:
            training.model.fit(
                replicas.distribute(loop.batches),
                initial_epoch=callbacks.epoch,
                epochs=training.epochs,
                steps_per_epoch=training.steps_per_epoch,
                callbacks=callbacks,
                shuffle=False,
                verbose=0,
            )
        except TrainingDiverged as error:
            report.stop()
            kept = loop.checkpoints.newest()
            advice = renamed(str(error), {"global_clipnorm": "clip_norm"})
            kept_path = kept.path if kept else "none was saved"
            _advise(context, settings, f"{advice}\nThe last good checkpoint: {kept_path}.")
            return DIVERGED, callbacks
        except TrainingInterrupted as error:
            report.stop()
            without = " without `overwrite`" if settings.overwrite else ""
            _advise(context, settings, f"stopped by {error}; the same command{without} resumes it.")
            return INTERRUPTED if error.signal == error.signal.SIGINT else TERMINATED, callbacks
        finally:
            report.stop()
            if replicas.is_chief:
                with contextlib.suppress(InputError):  # a full disk has been reported already
                    draw_training(run, losses=training.model.metrics_names)
    return SUCCESS, callbacks


def _advise(context: StageContext, settings: TrainSettings, text: str) -> None:
    """Prints advice in the name of the command, with settings as its flags."""
    context.say(f"train: {as_flags(text, names_of(settings))}")


def _figures(loop: _Loop, steps: int) -> dict[str, Any]:
    """Values of a finished training for `summary.json`."""
    training, report, best = loop.training, loop.report, loop.best
    last = loop.context.run.read_metrics()[-1]
    figures: dict[str, Any] = {
        "seconds": round(report.seconds, 2),
        "images_per_second": round(steps * training.batch_size / report.training_seconds, 1),
        "loss": {name: last[name] for name in training.model.metrics_names},
    }
    best_value = None
    if training.validation is not None and best is not None and best.epoch is not None:
        best_value = best.value
        figures["validation"] = {
            **training.validation.figures(best.value),
            "epoch": best.epoch + 1,
        }
    if loop.stopping is not None:
        figures["stopped_after_epoch"] = loop.stopping.stopped
    return figures | dict(training.figures(last, best_value))


def _write_product(run: RunDirectory, product: Any, checkpoint: Path | None) -> None:
    """Writes the product, from the best checkpoint if there is one."""
    with published_file(run.product) as temporary:
        if checkpoint is not None:
            shutil.copyfile(checkpoint / "student.keras", temporary)
        else:
            product.save(temporary)
