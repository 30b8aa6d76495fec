r"""Measures how well a model retrieves, tells labels or classes, or verifies pairs of images.

The protocol is that of the model's run, or --protocol: retrieval, where every image of the split is
a query against all others (the paper's: exact Euclidean neighbours of unit vectors, the query left
out); multilabel; accuracy, for classifiers of one class an image; verification, whether two images
show the same: by --pairs, or all pairs of the split; regression, of scores; or counting.

Prints a table, each value with its 95 % bootstrap interval; --json writes the figures, as
fractions, to a file, and --picture draws what the protocol has to show. Warns of figures that mean
little: embeddings that are all alike, or recall that cannot be told from chance. --degrade
degrades queries, gallery or both first.

If --model is a run, data set, classes and --degrade are taken from the run unless flags say
otherwise, and classes that it was trained on are named. Flag files of train can be given too.

With --gallery_model, --model (the student) embeds the queries and --gallery_model (its teacher) the
gallery: can the student query an index that the teacher built? The JSON's usual keys then hold the
student in the teacher's gallery, and "asymmetric" this and each model alone.

  python -m keras_distill.evaluate --model=runs/relative
  python -m keras_distill.evaluate --model=student.keras --dataset=folder:photos \
      --test_classes=50:75 --ks=1,2,4,8 --json=recall.json
  python -m keras_distill.evaluate --model=runs/absolute --gallery_model=runs/teacher --dataset=cub
  python -m keras_distill.evaluate --model=runs/faces/embedder.keras --pairs=pairs.csv

Exit codes: 0 done, 2 unusable flags or input.
"""

import functools
import importlib
import json
from pathlib import Path
from typing import Any

from keras_distill.errors import InputError
from keras_distill.publishing import published_file
from keras_distill.runs.evaluation_settings import completed_by_run, run_of_flag_files
from keras_distill.settings.data import load_images
from keras_distill.settings.evaluation import EvaluateSettings, evaluate_command

COMMAND = evaluate_command(__doc__)


def main(settings: EvaluateSettings) -> None:
    """Evaluates as the settings say."""
    settings = settings.replace(model=settings.model or run_of_flag_files())
    if not settings.model:
        raise InputError("--model is required: a .keras file, a run directory, or a SavedModel.")
    if not Path(settings.model).exists():
        raise InputError(f"--model={settings.model} does not exist.")
    settings, said = completed_by_run(settings)
    settings.check()
    if settings.per_class and not settings.json and settings.protocol != "accuracy":
        raise InputError("--per_class needs --json, the file to list the classes in.")
    result = _evaluate(settings, said)
    if settings.json:
        with published_file(Path(settings.json)) as temporary:
            temporary.write_text(json.dumps(result, indent=2) + "\n")


def _evaluate(settings: EvaluateSettings, said: str) -> dict[str, Any]:
    from rich.console import Console

    console = Console()
    say = functools.partial(console.print, highlight=False, markup=False, soft_wrap=True)
    if said:
        say(said)
    own = {
        "retrieval": _measure_retrieval,
        "multilabel": _measure_labels,
        "verification": _measure_pairs,
    }
    result = own.get(str(settings.protocol), _measure)(settings, console)
    console.print(result.table)
    for line in (*result.notes, *(f"warning: {warning}" for warning in result.warnings)):
        say(line)
    return {
        "model": settings.model,
        "data": settings.pairs or settings.dataset,
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


def _measure(settings: EvaluateSettings, console: Any) -> Any:
    protocol = importlib.import_module(f"keras_distill.evaluation.{settings.protocol}_protocol")
    return protocol.evaluate(settings, console)


def _measure_pairs(settings: EvaluateSettings, console: Any) -> Any:
    from keras_distill.evaluation import verification_protocol
    from keras_distill.runs.seen_classes import classes_seen_in_training

    seen = functools.partial(classes_seen_in_training, settings.model)
    return verification_protocol.evaluate(settings, seen, console)


if __name__ == "__main__":
    COMMAND.run(main)
