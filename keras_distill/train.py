r"""Trains an embedder, from a teacher or without one.

Without --teacher it learns from the labels alone: that is how a teacher or a baseline is made.
With --teacher it also learns to agree with the teacher. --epochs=0 writes the embedder as it
stands, so that a pretrained trunk becomes a teacher with one command.

The run directory receives flags.txt, metrics.jsonl, checkpoints/, tensorboard/, student.keras and
summary.json, whose path is the last line printed.

  python -m keras_distill.train --flagfile=configs/birds100_relative.flags
  python -m keras_distill.train --dataset=folder:photos --trunk=mobilenet --alpha=0.25 \
      --teacher=runs/teacher/student.keras --teacher_losses=absolute,relative:0.3

Exit codes: 0 done, 2 unusable flags or input, 3 diverged (the last good checkpoint is kept).
"""

import math
import time
from pathlib import Path
from typing import Any

from keras_distill.command_line import DIVERGED, Command, flag_files
from keras_distill.data_flags import check_data_flags, define_data_flags, load_flagged_dataset
from keras_distill.errors import InputError
from keras_distill.losses.paper_weights import paper_weight
from keras_distill.models.trunks import TRUNKS
from keras_distill.training.run_directory import RunDirectory

TEACHER_LOSSES = ("absolute", "relative")

COMMAND = Command("keras_distill.train", __doc__)
define_data_flags(COMMAND)

COMMAND.choice("Student", "trunk", "mobilenet", list(TRUNKS), f"One of {', '.join(TRUNKS)}.")
COMMAND.number("Student", "alpha", 1.0, "Width multiplier of a MobileNet trunk, e.g. 0.25.")
COMMAND.integer("Student", "image_size", None, "Pixels a side; the trunk's own if not given.", 32)
COMMAND.integer("Student", "embedding_dim", 512, "Width of the embedding; 0 for no head.", 0)
COMMAND.string(
    "Student",
    "trunk_weights",
    "imagenet",
    "imagenet (fetched by Keras), none, or the path of a .weights.h5 file.",
)
COMMAND.string(
    "Student", "trunk_layer", "", "End the trunk after this layer; a wrong name lists them."
)

COMMAND.string(
    "Teacher",
    "teacher",
    "",
    "A .keras file, a run directory, or a SavedModel folder; empty to learn from labels alone.",
)
COMMAND.string(
    "Teacher",
    "teacher_losses",
    "relative",
    "Losses against the teacher with their weights, such as absolute:1,relative:0.3; a weight "
    "left out is the paper's for the data set.",
)

COMMAND.choice(
    "Loss",
    "task_loss",
    "batch_hard_triplet",
    ["batch_hard_triplet", "semi_hard_triplet", "none"],
    "Loss on the labels: batch-hard for pretrained trunks, semi-hard to start from random weights, "
    "none to learn from the teacher alone.",
)
COMMAND.number("Loss", "margin", 0.2, "Margin of the triplet loss; the paper's code has 0.")
COMMAND.number("Loss", "task_weight", 1.0, "Weight of the loss on the labels.")

COMMAND.integer("Training", "epochs", 20, "Epochs; 0 writes the embedder as it stands.", 0)
COMMAND.integer(
    "Training", "steps_per_epoch", 0, "Batches in an epoch; 0 for images / batch size.", 0
)
COMMAND.integer("Training", "classes_per_batch", 8, "Classes in a batch.", 2)
COMMAND.integer("Training", "images_per_class", 8, "Images of each class in a batch.", 1)
COMMAND.number(
    "Training", "crop_area", 0.08, "Least share of an image's area in a random crop, up to 1."
)
COMMAND.number("Training", "learning_rate", 3e-4, "Highest learning rate of Adam.")
COMMAND.choice(
    "Training", "schedule", "cosine", ["cosine", "constant"], "Course of the learning rate."
)
COMMAND.integer("Training", "warmup_steps", 0, "Steps in which the rate rises from 0.", 0)
COMMAND.number("Training", "weight_decay", 0.0, "Decoupled weight decay, as in AdamW.")
COMMAND.number("Training", "l2", 0.0, "L2 penalty on all weights; the paper's code has 2e-4.")
COMMAND.integer("Training", "seed", 0, "Seed of weights, batches and crops.", 0, 2**32 - 1)
COMMAND.choice(
    "Training",
    "mixed_precision",
    "float32",
    ["float32", "mixed_bfloat16", "mixed_float16"],
    "Precision of the student's layers; losses and the embedding stay float32.",
)
COMMAND.boolean("Training", "jit_compile", False, "Compile the step with XLA; slow on CPUs.")
COMMAND.integer(
    "Training", "validate_every", 1, "Epochs between two Recall@1 on --validation_classes.", 1
)

COMMAND.integer("Training", "checkpoint_every", 1, "Epochs between two checkpoints.", 1)

COMMAND.string(
    "Output", "run_dir", "", "Folder of the run; runs/NAME of the flag file or data set if empty."
)
COMMAND.boolean("Output", "overwrite", False, "Replace a run that is in --run_dir already.")


def main(flags: Any) -> int:
    """Trains as the flags say; returns the exit code."""
    check_data_flags(flags)
    weights = parse_teacher_losses(flags.teacher_losses, flags.dataset) if flags.teacher else {}
    if not weights and flags.task_loss == "none" and flags.epochs:
        raise InputError(
            "--task_loss=none leaves nothing to learn from; give --teacher and --teacher_losses."
        )
    if not 0.0 < flags.crop_area <= 1.0:
        raise InputError(f"--crop_area={flags.crop_area} must be above 0 and at most 1.")
    for name in ("teacher", "trunk_weights"):
        path = flags[name].value
        if path not in ("", "imagenet", "none") and not Path(path).exists():
            raise InputError(f"--{name}={path} does not exist.")
    run = RunDirectory(flags.run_dir or Path("runs") / _default_name(flags))
    run.check_free(overwrite=flags.overwrite)
    return _train(flags, weights, run)


def parse_teacher_losses(value: str, dataset: str) -> dict[str, float]:
    """Reads `--teacher_losses`.

    Args:
        value: Such as `"absolute:1,relative"`.
        dataset: Name of the data set, for the weights left out.

    Returns:
        The weights by name.

    Raises:
        InputError: If a name or a weight is of no use.
    """
    weights = {}
    for part in filter(None, value.split(",")):
        name, _, weight = part.partition(":")
        if name not in TEACHER_LOSSES or name in weights:
            raise InputError(
                f"--teacher_losses={value}: {name!r} is "
                f"{'there twice' if name in weights else 'unknown'}; give some of "
                f"{', '.join(TEACHER_LOSSES)}, each once."
            )
        try:
            weights[name] = float(weight) if weight else paper_weight(dataset, name)
        except ValueError:
            weights[name] = math.nan
        if not 0 <= weights[name] < math.inf:
            raise InputError(
                f"--teacher_losses={value}: {weight!r} is not a weight; give a number, 0 or more."
            )
    return weights


def _default_name(flags: Any) -> str:
    files = flag_files()
    return files[-1].stem if files else Path(flags.dataset.removeprefix("folder:")).resolve().name


def _train(flags: Any, weights: dict[str, float], run: RunDirectory) -> int:
    import keras
    from rich.console import Console

    from keras_distill.data.pipeline import evaluation_batches, training_batches
    from keras_distill.data.readable_images import drop_unreadable
    from keras_distill.losses.absolute_teacher import AbsoluteTeacher
    from keras_distill.losses.batch_hard_triplet import BatchHardTriplet
    from keras_distill.losses.relative_teacher import RelativeTeacher
    from keras_distill.losses.semi_hard_triplet import SemiHardTriplet
    from keras_distill.models.embedder import build_embedder
    from keras_distill.teachers.loading import load_teacher
    from keras_distill.training.distiller import Distiller
    from keras_distill.training.divergence_guard import DivergenceGuard, TrainingDiverged
    from keras_distill.training.epoch_report import EpochReport
    from keras_distill.training.optimizer import add_l2_penalty, build_optimizer
    from keras_distill.training.recall_validation import VALIDATION_RECALL, RecallValidation
    from keras_distill.training.student_checkpoint import StudentCheckpoint, save_model

    console = Console()
    dataset = load_flagged_dataset(flags)
    train = dataset.train
    skipped: list[str] = []
    validation = dataset.validation
    if flags.dataset.startswith("folder:"):
        train, skipped = drop_unreadable(train, strict=flags.strict_images)
        if validation is not None:
            validation, more = drop_unreadable(validation, strict=flags.strict_images)
            skipped += more

    keras.utils.set_random_seed(flags.seed)
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
    teacher = load_teacher(flags.teacher) if flags.teacher else None
    if teacher is not None and "absolute" in weights and teacher.embedding_dim not in (None, width):
        raise InputError(
            f"--teacher_losses={flags.teacher_losses}: the absolute teacher needs equal widths, "
            f"but the teacher's embedding has {teacher.embedding_dim} and the student's {width}; "
            f"give --embedding_dim={teacher.embedding_dim}, or --teacher_losses=relative."
        )
    batch_size = flags.classes_per_batch * flags.images_per_class
    steps_per_epoch = flags.steps_per_epoch or max(round(len(train) / batch_size), 1)
    summary: dict[str, Any] = {
        "run_dir": str(run.path),
        "student": str(run.student),
        "teacher": flags.teacher or None,
        "dataset": flags.dataset,
        "images": {"train": len(train), "validation": 0 if validation is None else len(validation)},
        "skipped_images": skipped,
        "parameters": student.count_params(),
        "embedding_dim": width,
        "image_size": image_size,
        "epochs": flags.epochs,
        "steps_per_epoch": steps_per_epoch,
        "batch_size": batch_size,
        "seed": flags.seed,
    }
    console.print(
        f"{len(train)} images of {len(train.classes)} classes; student {flags.trunk}, "
        f"{student.count_params():,} parameters, {image_size} pixels -> {width} dimensions",
        highlight=False,
        soft_wrap=True,
    )
    teacher_size = None if teacher is None else teacher.image_size
    if flags.epochs:  # before anything is written, for it may refuse the flags
        batches = training_batches(
            train,
            image_size=image_size,
            steps_per_epoch=steps_per_epoch,
            classes_per_batch=flags.classes_per_batch,
            images_per_class=flags.images_per_class,
            teacher_image_size=None if teacher_size == image_size else teacher_size,
            least_area=flags.crop_area,
            seed=flags.seed,
        )
    run.begin(COMMAND.text())
    if flags.epochs:
        task_losses = {
            "batch_hard_triplet": BatchHardTriplet,
            "semi_hard_triplet": SemiHardTriplet,
        }
        available = {"absolute": AbsoluteTeacher, "relative": RelativeTeacher}
        distiller = Distiller(
            student,
            teacher=teacher,
            task_loss=None
            if flags.task_loss == "none"
            else task_losses[flags.task_loss](flags.margin),
            teacher_losses=[available[name]() for name in weights],
            task_loss_weight=flags.task_weight,
            teacher_loss_weights=weights,
        )
        distiller.compile(
            build_optimizer(
                learning_rate=flags.learning_rate,
                schedule=flags.schedule,
                steps=flags.epochs * steps_per_epoch,
                warmup_steps=flags.warmup_steps,
                weight_decay=flags.weight_decay,
            ),
            jit_compile=flags.jit_compile,
        )
        # Before the first step, which would otherwise be traced twice.
        distiller.optimizer.build(distiller.trainable_variables)
        checkpoint = StudentCheckpoint(
            student,
            last=run.last_checkpoint,
            best=run.best_checkpoint,
            monitor=VALIDATION_RECALL,
            every=flags.checkpoint_every,
        )
        report = EpochReport(
            run,
            console,
            epochs=flags.epochs,
            steps_per_epoch=steps_per_epoch,
            batch_size=batch_size,
        )
        callbacks: list[keras.callbacks.Callback] = [DivergenceGuard()]
        if validation is not None:
            held_out = evaluation_batches(validation, image_size=image_size)
            callbacks.append(
                RecallValidation(student, held_out, flags.epochs, flags.validate_every)
            )
        callbacks += [
            checkpoint,
            report,
            keras.callbacks.TensorBoard(run.tensorboard, write_graph=False),
        ]
        begun = time.perf_counter()
        try:
            history = distiller.fit(
                batches,
                epochs=flags.epochs,
                steps_per_epoch=steps_per_epoch,
                callbacks=callbacks,
                shuffle=False,
                verbose=0,
            ).history
        except TrainingDiverged as error:
            report.stop()
            kept = run.last_checkpoint
            console.print(
                f"train: {error}\n"
                f"The last good checkpoint: {kept if kept.exists() else 'none was saved'}.",
                highlight=False,
                soft_wrap=True,
            )
            return DIVERGED
        finally:
            report.stop()
        images_seen = flags.epochs * steps_per_epoch * batch_size
        summary |= {
            "seconds": round(time.perf_counter() - begun, 2),
            "images_per_second": round(images_seen / report.training_seconds, 1),
            "loss": {name: values[-1] for name, values in history.items() if "val" not in name},
        }
        if checkpoint.best_epoch is not None:
            student = keras.models.load_model(run.best_checkpoint, compile=False)
            summary["validation"] = {
                "recall": {"1": checkpoint.best_value},
                "epoch": checkpoint.best_epoch + 1,
            }
    save_model(student, run.student)
    run.write_summary(summary)
    console.print(run.summary, highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    COMMAND.run(main)
