"""The flags of a report."""

from pathlib import Path
from typing import Any

from keras_distill.errors import InputError
from keras_distill.evaluate import parse_ks
from keras_distill.runs.directory import RunDirectory
from keras_distill.settings.command import Command
from keras_distill.settings.data import check_data_flags, define_data_flags
from keras_distill.settings.intervals import define_interval_flag
from keras_distill.teachers.preprocessing import PREPROCESSINGS


def define_report_flags(command: Command) -> None:
    """Adds all flags of a report to a command."""
    command.string("Run", "run", "", "Run directory of the student. Required.")
    group = "Steps"
    command.string(
        group,
        "teacher",
        "",
        "A .keras file, a run directory, a SavedModel, or the folder of its versions, a .tflite or "
        ".onnx file, or a table of vectors; by default the run's own. --teacher= leaves it out.",
    )
    command.string(group, "teacher_output", "", "Its layer or output, as of train.")
    command.string(group, "teacher_signature", "", "Its signature, of a SavedModel.")
    command.integer(group, "teacher_image_size", None, "Pixels a side, if it takes any size.", 1)
    command.choice(
        group,
        "teacher_preprocessing",
        "0_255",
        PREPROCESSINGS,
        f"What it expects of pixels: {', '.join(PREPROCESSINGS)}. Embedders made here take 0_255.",
    )
    command.integer(
        group, "image_size", None, "Pixels a side, for a student or format that takes any size.", 1
    )
    command.string(
        group, "export", "", "The exported SavedModel, or the folder of its versions: the latest."
    )
    command.strings(
        group,
        "format",
        "The same student in another format, such as a .tflite or .onnx file, to compare with it; "
        "several times.",
    )
    command.choice(
        group,
        "backend",
        "auto",
        ["auto", "scann", "faiss", "exact", "none"],
        "The index at the end, of the export's vectors, or else the student's. auto is scann, or "
        "faiss where ScaNN is not installed; none ends the chain with the last model.",
    )
    command.string(
        group,
        "scann",
        "",
        "How ScaNN searches, as LEAVES:SEARCHED:REORDERED, such as 300:30:200; by default from the "
        "number of images.",
    )
    define_data_flags(command)
    command.choice(
        "Evaluation",
        "split",
        "test",
        ["test", "validation", "train"],
        "Which classes to evaluate on.",
    )
    command.string("Evaluation", "ks", "1,2,4,8", "The K of Recall@K, e.g. 1,10,100,1000 for SOP.")
    command.integer("Evaluation", "batch_size", 64, "Images embedded at once.", 1)
    define_interval_flag(command)
    group = "Output"
    command.string(group, "out", "", "Folder for report.html and report.json; RUN/report if empty.")
    command.integer(
        group,
        "pictures",
        1500,
        "Most images that the page holds as thumbnails, of about 5 kB each; the worst queries come "
        "first.",
        0,
    )
    command.integer(
        group, "queries", 2000, "Most queries to list that got worse, and better, at each step.", 1
    )


def checked_run(flags: Any) -> RunDirectory:
    """Returns the run that a report is about.

    Args:
        flags: The parsed flags.

    Returns:
        The run directory, which has a student.

    Raises:
        InputError: If there is none.
    """
    if not flags.run:
        raise InputError("--run is required: the run directory of a student.")
    run = RunDirectory(flags.run)
    if not run.product.is_file():
        raise InputError(
            f"--run={flags.run} is no run directory with a student.keras; train writes one."
        )
    return run


def check_report_flags(flags: Any) -> None:
    """Rejects what cannot work before anything slow is loaded.

    Args:
        flags: The parsed flags.

    Raises:
        InputError: If a flag is of no use.
    """
    from keras_distill.retrieval.backends import check_backend  # loads NumPy

    check_data_flags(flags)
    parse_ks(flags.ks)
    if flags.split == "validation" and not flags.validation_classes:
        raise InputError("--split=validation needs --validation_classes.")
    for name in ("teacher", "export"):
        if flags[name].value and not Path(flags[name].value).exists():
            raise InputError(f"--{name}={flags[name].value} does not exist.")
    for path in flags.format or []:
        if not Path(path).exists():
            raise InputError(f"--format={path} does not exist.")
    for name in ("output", "signature", "image_size", "preprocessing"):
        if flags[f"teacher_{name}"].present and not flags.teacher:
            raise InputError(f"--teacher_{name} needs a teacher; the run has none, give --teacher.")
    if flags.backend not in ("auto", "none"):
        check_backend(flags.backend, argument="--backend")
    if flags.scann:
        if flags.backend not in ("auto", "scann"):
            raise InputError(f"--scann={flags.scann} has no effect on --backend={flags.backend}.")
        parse_scann(flags.scann)


def parse_scann(value: str) -> tuple[int, int, int]:
    """Reads `--scann`.

    Args:
        value: `LEAVES:SEARCHED:REORDERED`.

    Returns:
        The three numbers.

    Raises:
        InputError: If it is anything else.
    """
    parts = value.split(":")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) for part in parts):
        raise InputError(
            f"--scann={value} is not LEAVES:SEARCHED:REORDERED, three positive integers, such as "
            "300:30:200."
        )
    leaves, searched, reordered = map(int, parts)
    if searched > leaves:
        raise InputError(f"--scann={value} searches {searched} leaves of {leaves}; give fewer.")
    return leaves, searched, reordered
