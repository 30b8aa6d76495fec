r"""Measures how well an embedder retrieves images of classes that it was not trained on.

Every image of the split is a query against all others (the paper's protocol: exact Euclidean
neighbours of unit vectors, the query left out). Prints a table, each value with its 95 % bootstrap
interval, and with --json writes the figures, as fractions, for machines. Warns if the embeddings
are all alike, if Recall@K cannot be told from chance, and if classes have too few images to mean
anything. --degrade makes queries, gallery or both worse first.

Where --model is a run, data set, classes and --degrade are those of the run unless flags say
otherwise, and classes that it was trained on are named. A flag file of train is read too: what only
train knows is passed over.

With --gallery_model, the queries are those of --model, the student, and the gallery is what
--gallery_model, its teacher, made of the same images: can the student ask an index that the teacher
built? Both alone stand beside it, and the cosine of the two for the same image. In the JSON the
usual keys then hold the student in the teacher's gallery, and "asymmetric" holds all three.

  python -m keras_distill.evaluate --model=runs/relative
  python -m keras_distill.evaluate --model=student.keras --dataset=folder:photos \
      --test_classes=50:75 --ks=1,2,4,8 --json=recall.json
  python -m keras_distill.evaluate --model=runs/absolute --gallery_model=runs/teacher --dataset=cub

Exit codes: 0 done, 2 unusable flags or input.
"""

import functools
import json
import time
from pathlib import Path
from typing import Any

from keras_distill.data.degradations import SYNTAX, parse_degradations
from keras_distill.errors import InputError
from keras_distill.evaluation.metric_figures import MEANING, figures
from keras_distill.evaluation.metric_tables import (
    asymmetric_figures,
    asymmetric_sentences,
    metrics_table,
)
from keras_distill.publishing import published_file
from keras_distill.runs.settings import inherit_settings, run_of, said_of_settings
from keras_distill.settings.command import Command, flag_files
from keras_distill.settings.data import check_data_flags, define_data_flags, load_flagged_images
from keras_distill.settings.intervals import define_interval_flag, shown_intervals
from keras_distill.settings.training import define_train_flags
from keras_distill.teachers.preprocessing import PREPROCESSINGS

COMMAND = Command("keras_distill.evaluate", __doc__, other_flags=define_train_flags)
COMMAND.string(
    "Model",
    "model",
    "",
    "A .keras file, a run directory, or a SavedModel folder. Required, unless --flagfile is "
    "flags.txt of a run.",
)
COMMAND.integer("Model", "image_size", None, "Pixels a side, for a model that takes any size.", 1)
COMMAND.string(
    "Gallery model",
    "gallery_model",
    "",
    "What embeds the gallery, where it is not --model: a .keras file, such as "
    "projected_teacher.keras of a run, a run directory, a SavedModel, a .tflite or .onnx file, "
    "or a table of vectors.",
)
COMMAND.string(
    "Gallery model", "gallery_output", "", "Its layer or output; as --teacher_output of train."
)
COMMAND.string("Gallery model", "gallery_signature", "", "Its signature, of a SavedModel.")
COMMAND.integer(
    "Gallery model", "gallery_image_size", None, "Pixels a side, if it takes any size.", 1
)
COMMAND.choice(
    "Gallery model",
    "gallery_preprocessing",
    "0_255",
    PREPROCESSINGS,
    f"What it expects of pixels: {', '.join(PREPROCESSINGS)}. Embedders made here take 0_255.",
)
define_data_flags(COMMAND)
COMMAND.choice(
    "Evaluation", "split", "test", ["test", "validation", "train"], "Which classes to evaluate on."
)
COMMAND.string("Evaluation", "ks", "1,2,4,8", "The K of Recall@K, e.g. 1,10,100,1000 for SOP.")
COMMAND.string("Evaluation", "map_ks", "", "The K of mAP@K, e.g. 10,100; none if empty.")
COMMAND.integer("Evaluation", "batch_size", 64, "Images embedded at once.", 1)
COMMAND.string(
    "Evaluation", "degrade", "", f"What makes the images worse, in this order: some of {SYNTAX}."
)
COMMAND.choice(
    "Evaluation",
    "degrade_side",
    "both",
    ["queries", "gallery", "both"],
    "Which images --degrade makes worse; a query's own image is never in its gallery. With "
    "--gallery_model, what each model sees of them is made worse, at its own size, and the cosine "
    "compares the student's query with the teacher's gallery.",
)
define_interval_flag(COMMAND)
COMMAND.string("Output", "json", "", "File for the figures as JSON.")
COMMAND.boolean("Output", "per_class", False, "List the figures of each class too, in --json.")


def main(flags: Any) -> None:
    """Evaluates as the flags say."""
    if not flags.model:
        flags.model = _run_of_flag_files()
    if not flags.model:
        raise InputError("--model is required: a .keras file, a run directory, or a SavedModel.")
    if not Path(flags.model).exists():
        raise InputError(f"--model={flags.model} does not exist.")
    said = _inherit(flags)
    check_flags(flags)
    if flags.per_class and not flags.json:
        raise InputError("--per_class needs --json, the file to list the classes in.")
    result = _evaluate(flags, said)
    if flags.json:
        with published_file(Path(flags.json)) as temporary:
            temporary.write_text(json.dumps(result, indent=2) + "\n")


def _run_of_flag_files() -> str:
    """The run whose flags.txt is the last flag file, if it has a student."""
    runs = [str(file.parent) for file in flag_files() if file.name == "flags.txt"]
    return next((run for run in reversed(runs) if (Path(run) / "student.keras").is_file()), "")


def _inherit(flags: Any) -> str:
    """Takes from the run of the model what the flags leave open; returns what is to be said."""
    run = run_of(flags.model)
    if run is None:
        return ""
    inherited = inherit_settings(flags, run, ("dataset", "degrade"))
    return said_of_settings(flags, run, inherited)


def check_flags(flags: Any) -> None:
    """Rejects what cannot work, whatever the model, before anything slow is loaded.

    Args:
        flags: The parsed flags.

    Raises:
        InputError: If a flag is of no use.
    """
    check_data_flags(flags)
    parse_ks(flags.ks)
    parse_map_ks(flags.map_ks)
    if flags.gallery_model and not Path(flags.gallery_model).exists():
        raise InputError(f"--gallery_model={flags.gallery_model} does not exist.")
    for name in ("output", "signature", "image_size", "preprocessing"):
        if flags[f"gallery_{name}"].present and not flags.gallery_model:
            raise InputError(f"--gallery_{name} needs --gallery_model.")
    if flags.split == "validation" and not flags.validation_classes:
        raise InputError("--split=validation needs --validation_classes.")
    if flags.json and Path(flags.json).is_dir():
        raise InputError(f"--json={flags.json} is a folder; give a file.")
    parse_degradations(flags.degrade, argument="--degrade")
    if flags.degrade_side != "both" and not flags.degrade:
        raise InputError(f"--degrade_side={flags.degrade_side} needs --degrade, some of {SYNTAX}.")


def parse_ks(value: str, *, flag: str = "ks") -> list[int]:
    """Reads `--ks`.

    Args:
        value: Positive integers, such as `"1,2,4,8"`.
        flag: Name of the flag, for the error message.

    Returns:
        The numbers, ascending, each once.

    Raises:
        InputError: If it is anything else.
    """
    try:
        ks = sorted({int(part) for part in value.split(",")})
    except ValueError:
        ks = [0]
    if ks[0] < 1:
        raise InputError(f"--{flag}={value} must be positive integers, such as 1,2,4,8.")
    return ks


def parse_map_ks(value: str) -> list[int]:
    """Reads `--map_ks`, which may be empty; else as `parse_ks`."""
    return parse_ks(value, flag="map_ks") if value else []


def _evaluate(flags: Any, said: str) -> dict[str, Any]:
    from rich.console import Console

    from keras_distill.embedding.model_embeddings import load_gallery_model, load_student
    from keras_distill.evaluation.asymmetric import check_equal_widths
    from keras_distill.evaluation.retrieval_warnings import chance_recall, retrieval_warnings
    from keras_distill.runs.seen_classes import classes_seen_in_training, seen_warning

    console = Console()
    say = functools.partial(console.print, highlight=False, markup=False, soft_wrap=True)
    if said:
        say(said)
    (images,), skipped = load_flagged_images(flags, flags.split)
    seen = classes_seen_in_training(flags.model, images)
    if seen:
        say(seen_warning(seen, len(images.classes)))
    student, teacher = load_student(flags, images), load_gallery_model(flags, images)
    if teacher is not None:
        check_equal_widths(student.model.embedding_dim, teacher.model.embedding_dim)

    begun = time.perf_counter()
    over = shown_intervals(flags, seen=bool(seen), classes=len(images.classes))
    class_names = images.class_names if flags.per_class else None
    sides = student.embed_sides(flags, images, console)
    title = f"{flags.model} on {flags.dataset} ({flags.split})"
    if teacher is None:
        columns, measured, closing = _measured(flags, sides, class_names)
    else:
        teachers_sides = teacher.embed_sides(flags, images, console)
        columns, measured, closing = _measured_asymmetrically(
            flags, sides, teachers_sides, class_names, over
        )
        sides = sides[0], teachers_sides[1], sides[2]
        title += f", with the gallery of {flags.gallery_model}"
    seconds = time.perf_counter() - begun

    if flags.degrade:
        title += f", {flags.degrade} on {flags.degrade_side}"
    console.print(metrics_table(title, columns, over))
    metrics = next(iter(columns.values()))
    say(f"Intervals over {over} tell {MEANING[over]}.")
    say(f"{closing}{metrics.queries} queries of {len(images.classes)} classes in {seconds:.1f} s")
    warnings = retrieval_warnings(metrics, *sides[:2])
    for warning in warnings:
        say(f"warning: {warning}")
    return {
        "model": flags.model,
        "data": flags.dataset,
        "split": flags.split,
        "queries": metrics.queries,
        "gallery": metrics.gallery,
        "classes": len(images.classes),
        "classes_seen_in_training": seen,
        "protocol": "leave-one-out",
        "backend": "exact",
        "degrade": flags.degrade or None,
        "degrade_side": flags.degrade_side if flags.degrade else None,
        **measured,
        "chance": {"recall": {str(k): chance_recall(sides[2], k) for k in metrics.recall}},
        "warnings": warnings,
        "intervals_shown": over,
        "seconds": round(seconds, 3),
        "index": {"dim": sides[0].shape[1], "metric": "euclidean", "dtype": "float32"},
        "skipped_images": skipped,
    }


def _ks(flags: Any) -> dict[str, list[int]]:
    return {"ks": parse_ks(flags.ks), "map_ks": parse_map_ks(flags.map_ks)}


def _measured(flags: Any, sides: Any, class_names: Any) -> tuple[dict[str, Any], Any, str]:
    """Measures one model: the columns of the table, the figures, and what else to say."""
    from keras_distill.evaluation.retrieval_metrics import retrieval_metrics

    queries, gallery, labels = sides
    metrics = retrieval_metrics(
        queries,
        labels,
        **_ks(flags),
        gallery_embeddings=gallery,
        gallery_labels=labels,
        leave_one_out=True,
    )
    return {"": metrics}, figures(metrics, class_names), ""


def _measured_asymmetrically(
    flags: Any, sides: Any, teachers_sides: Any, class_names: Any, over: str
) -> tuple[dict[str, Any], Any, str]:
    """Measures the student in the teacher's gallery, and both alone; returns as `_measured`."""
    from keras_distill.evaluation.asymmetric import asymmetric_metrics

    pair = asymmetric_metrics(sides[:2], teachers_sides[:2], sides[2], **_ks(flags))
    columns = {
        "student → teacher": pair.asymmetric,
        "student → student": pair.student,
        "teacher → teacher": pair.teacher,
    }
    asymmetric = asymmetric_figures(pair, class_names)
    measured = {
        **asymmetric["student_to_teacher"],
        "asymmetric": {"gallery_model": flags.gallery_model, **asymmetric},
    }
    return columns, measured, asymmetric_sentences(pair, over) + "\n"


if __name__ == "__main__":
    COMMAND.run(main)
