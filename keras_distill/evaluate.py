r"""Measures how well an embedder retrieves images of classes that it was not trained on.

Every image of the split is a query against all others (the paper's protocol: exact Euclidean
neighbours of unit vectors, the query left out). Prints a table, and with --json writes the figures,
as fractions, for machines. --degrade makes queries, gallery or both worse first.

  python -m keras_distill.evaluate --model=runs/relative --dataset=cub
  python -m keras_distill.evaluate --model=student.keras --dataset=folder:photos \
      --test_classes=50:75 --ks=1,2,4,8 --json=recall.json

Exit codes: 0 done, 2 unusable flags or input.
"""

import json
import time
from pathlib import Path
from typing import Any

from keras_distill.command_line import Command
from keras_distill.data.degradations import SYNTAX, parse_degradations
from keras_distill.data_flags import check_data_flags, define_data_flags, load_flagged_images
from keras_distill.errors import InputError
from keras_distill.publishing import published_file

COMMAND = Command("keras_distill.evaluate", __doc__)
COMMAND.string(
    "Model", "model", "", "A .keras file, a run directory, or a SavedModel folder. Required."
)
COMMAND.integer("Model", "image_size", None, "Pixels a side, for a model that takes any size.", 1)
define_data_flags(COMMAND)
COMMAND.choice(
    "Evaluation", "split", "test", ["test", "validation", "train"], "Which classes to evaluate on."
)
COMMAND.string("Evaluation", "ks", "1,2,4,8", "The K of Recall@K, e.g. 1,10,100,1000 for SOP.")
COMMAND.integer("Evaluation", "batch_size", 64, "Images embedded at once.", 1)
COMMAND.string(
    "Evaluation", "degrade", "", f"What makes the images worse, in this order: some of {SYNTAX}."
)
COMMAND.choice(
    "Evaluation",
    "degrade_side",
    "both",
    ["queries", "gallery", "both"],
    "Which images --degrade makes worse; a query's own image is never in its gallery.",
)
COMMAND.string("Output", "json", "", "File for the figures as JSON.")


def main(flags: Any) -> None:
    """Evaluates as the flags say."""
    if not flags.model:
        raise InputError("--model is required: a .keras file, a run directory, or a SavedModel.")
    if not Path(flags.model).exists():
        raise InputError(f"--model={flags.model} does not exist.")
    check_flags(flags)
    result = _evaluate(flags, parse_ks(flags.ks))
    if flags.json:
        with published_file(Path(flags.json)) as temporary:
            temporary.write_text(json.dumps(result, indent=2) + "\n")


def check_flags(flags: Any) -> None:
    """Rejects what cannot work, whatever the model, before anything slow is loaded.

    Args:
        flags: The parsed flags.

    Raises:
        InputError: If a flag is of no use.
    """
    check_data_flags(flags)
    parse_ks(flags.ks)
    if flags.split == "validation" and not flags.validation_classes:
        raise InputError("--split=validation needs --validation_classes.")
    if flags.json and Path(flags.json).is_dir():
        raise InputError(f"--json={flags.json} is a folder; give a file.")
    parse_degradations(flags.degrade, argument="--degrade")
    if flags.degrade_side != "both" and not flags.degrade:
        raise InputError(f"--degrade_side={flags.degrade_side} needs --degrade, some of {SYNTAX}.")


def parse_ks(value: str) -> list[int]:
    """Reads `--ks`.

    Args:
        value: Positive integers, such as `"1,2,4,8"`.

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
        raise InputError(f"--ks={value} must be positive integers, such as 1,2,4,8.")
    return ks


def _evaluate(flags: Any, ks: list[int]) -> dict[str, Any]:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from keras_distill.data.pipeline import evaluation_batches
    from keras_distill.retrieval.embedding import embed
    from keras_distill.retrieval.metrics import retrieval_metrics
    from keras_distill.teachers.loading import load_teacher

    console = Console()
    (images,), skipped = load_flagged_images(flags, flags.split)
    embedder = load_teacher(flags.model, argument="model")
    embedder.check_covers(images)
    image_size = embedder.image_size or flags.image_size
    if embedder.needs_ids:
        image_size = image_size or 1  # a table looks at no pixels
    if image_size is None:
        raise InputError(f"--model={flags.model} takes images of any size; give --image_size.")
    if flags.image_size not in (None, image_size):
        raise InputError(f"--image_size={flags.image_size}: the model takes {image_size} pixels.")

    if flags.degrade and embedder.needs_ids:
        raise InputError(
            f"--degrade={flags.degrade}: {flags.model} is a table of vectors, which looks at no "
            "pixels; give a model."
        )
    parse_degradations(flags.degrade, argument="--degrade", image_size=image_size)

    def embedded(degrade: str) -> tuple[Any, Any]:
        batches = evaluation_batches(
            images, image_size=image_size, batch_size=flags.batch_size, degrade=degrade
        )
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task("embedding", total=len(images))
            return embed(embedder, batches, on_batch=lambda rows: progress.advance(task, rows))

    begun = time.perf_counter()
    embeddings, labels = embedded("" if flags.degrade_side == "gallery" else flags.degrade)
    gallery = None
    if flags.degrade_side != "both":
        gallery, _ = embedded("" if flags.degrade_side == "queries" else flags.degrade)
    metrics = retrieval_metrics(
        embeddings,
        labels,
        ks=ks,
        gallery_embeddings=gallery,
        gallery_labels=None if gallery is None else labels,
        leave_one_out=True,
    )
    seconds = time.perf_counter() - begun

    title = f"{flags.model} on {flags.dataset} ({flags.split})"
    if flags.degrade:
        title += f", {flags.degrade} on {flags.degrade_side}"
    table = Table(title=title)
    values = {f"R@{k}": recall for k, recall in metrics.recall.items()}
    values |= {"MAP@R": metrics.map_at_r, "R-precision": metrics.r_precision}
    for heading in values:
        table.add_column(heading, justify="right")
    table.add_row(*(f"{value:.4f}" for value in values.values()))
    console.print(table)
    console.print(
        f"{metrics.queries} queries of {len(images.classes)} classes in {seconds:.1f} s",
        highlight=False,
    )
    return {
        "model": flags.model,
        "data": flags.dataset,
        "split": flags.split,
        "queries": metrics.queries,
        "gallery": metrics.gallery,
        "classes": len(images.classes),
        "protocol": "leave-one-out",
        "backend": "exact",
        "degrade": flags.degrade or None,
        "degrade_side": flags.degrade_side if flags.degrade else None,
        "recall": {str(k): recall for k, recall in metrics.recall.items()},
        "map_at_r": metrics.map_at_r,
        "r_precision": metrics.r_precision,
        "seconds": round(seconds, 3),
        "index": {"dim": embeddings.shape[1], "metric": "euclidean", "dtype": "float32"},
        "skipped_images": skipped,
    }


if __name__ == "__main__":
    COMMAND.run(main)
