r"""Measures how well an embedder retrieves images of classes that it was not trained on.

Every image of the split is a query against all others (the paper's protocol: exact Euclidean
neighbours of unit vectors, the query left out). Prints a table, each value with its 95 % bootstrap
interval; --json writes the figures, as fractions, to a file. Warns if the embeddings are all alike,
if Recall@K cannot be told from chance, and if classes have too few images for meaningful figures.
--degrade degrades queries, gallery or both first. Other products have other protocols: the labels
of images, scores against human ones (--scores), or counts (--points).

If --model is a run, data set, classes and --degrade are taken from the run unless flags say
otherwise, and classes that it was trained on are named. Flag files of train can be given too.

With --gallery_model, --model (the student) embeds the queries and --gallery_model (its teacher) the
gallery: can the student query an index that the teacher built? The figures of each model alone are
shown next to it, and the cosine of the two embeddings of the same image. In the JSON, the usual
keys then hold the student in the teacher's gallery, and "asymmetric" holds all three.

  python -m keras_distill.evaluate --model=runs/relative
  python -m keras_distill.evaluate --model=student.keras --dataset=folder:photos \
      --test_classes=50:75 --ks=1,2,4,8 --json=recall.json
  python -m keras_distill.evaluate --model=runs/absolute --gallery_model=runs/teacher --dataset=cub

Exit codes: 0 done, 2 unusable flags or input.
"""

import functools
import importlib
import json
from pathlib import Path
from typing import Any

from keras_distill.errors import InputError
from keras_distill.publishing import published_file
from keras_distill.runs.directory import RunDirectory
from keras_distill.runs.settings import inherit_settings, read_settings, run_of
from keras_distill.settings.command import flag_files
from keras_distill.settings.data import load_images
from keras_distill.settings.evaluation import EvaluateSettings, evaluate_command, protocol_of

COMMAND = evaluate_command(__doc__)


def main(settings: EvaluateSettings) -> None:
    """Evaluates as the settings say."""
    settings = settings.replace(model=settings.model or _run_of_flag_files())
    if not settings.model:
        raise InputError("--model is required: a .keras file, a run directory, or a SavedModel.")
    if not Path(settings.model).exists():
        raise InputError(f"--model={settings.model} does not exist.")
    settings, said = _with_run(settings)
    settings.check()
    result = _evaluate(settings, said)
    if settings.json:
        with published_file(Path(settings.json)) as temporary:
            temporary.write_text(json.dumps(result, indent=2) + "\n")


def _run_of_flag_files() -> str:
    """The run whose flags.txt is the last flag file, if it has a student."""
    runs = [str(file.parent) for file in flag_files() if file.name == "flags.txt"]
    return next((run for run in reversed(runs) if RunDirectory(run).product.is_file()), "")


def _with_run(settings: EvaluateSettings) -> tuple[EvaluateSettings, str]:
    """Takes settings that are not given from the model's run; returns a line about them too."""
    run = run_of(settings.model)
    if run is None:
        return settings.replace(protocol=settings.protocol or protocol_of(settings)), ""
    protocol = settings.protocol or protocol_of(read_settings(run))
    settings = settings.replace(protocol=protocol)
    settings, _, said = inherit_settings(settings, run, ("dataset", "degrade", "word_vectors"))
    return settings, said


def _evaluate(settings: EvaluateSettings, said: str) -> dict[str, Any]:
    from rich.console import Console

    console = Console()
    say = functools.partial(console.print, highlight=False, markup=False, soft_wrap=True)
    if said:
        say(said)
    own = {"retrieval": _measure_retrieval, "multilabel": _measure_labels}
    measure = own.get(str(settings.protocol), _measure_regression)
    result = measure(settings, console)
    console.print(result.table)
    for line in (*result.notes, *(f"warning: {warning}" for warning in result.warnings)):
        say(line)
    return {
        "model": settings.model,
        "data": settings.dataset,
        "split": settings.split,
        "protocol": settings.protocol,
        "figures": result.figures,
        "intervals": result.intervals,
        **result.more,
        "warnings": result.warnings,
    }


def _measure_retrieval(settings: EvaluateSettings, console: Any) -> Any:
    from keras_distill.evaluation import retrieval_protocol
    from keras_distill.runs.seen_classes import classes_seen_in_training, seen_warning

    (images,), skipped = load_images(settings, settings.split)
    if seen := classes_seen_in_training(settings.model, images):
        warning = seen_warning(seen, len(images.classes))
        console.print(warning, highlight=False, markup=False, soft_wrap=True)
    return retrieval_protocol.evaluate(settings, images, seen, skipped, console)


def _measure_labels(settings: EvaluateSettings, console: Any) -> Any:
    from keras_distill.evaluation import multilabel_protocol
    from keras_distill.runs.origin import trained_labels

    return multilabel_protocol.evaluate(settings, trained_labels(settings.model), console)


def _measure_regression(settings: EvaluateSettings, console: Any) -> Any:
    protocol = importlib.import_module(f"keras_distill.evaluation.{settings.protocol}_protocol")
    return protocol.evaluate(settings, console)


if __name__ == "__main__":
    COMMAND.run(main)
