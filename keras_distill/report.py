r"""Shows where the recall of a distilled model went, in one page to defend it with.

Measures the way from the teacher to what answers in production, step by step on the same queries:
teacher, student, --export (a SavedModel, sent the bytes of the image files), and an approximate
index of the last one's vectors. What these lose adds up to the total; each loss has its 95 %
interval, so that noise is not taken for a fault. Each --format is a branch: it was made of the
student, and what it loses is measured against the student. The page shows as well which queries got
worse, with both galleries, which classes did, and what was gained in size and time.

Data set, classes, image size and teacher are those of the run, from its flags.txt, unless flags
say otherwise. Times are of this machine: let nothing else run.

  python -m keras_distill.report --run=runs/student
  python -m keras_distill.report --run=runs/student --export=models/photos \
      --format=models/photos/litert/photos_int8.tflite --out=report

Writes report.html, which opens from the disk without a network, and report.json.
Exit codes: 0 done, 2 unusable flags or input.
"""

import functools
import json
import time
from pathlib import Path
from typing import Any

from keras_distill.errors import InputError
from keras_distill.evaluate import parse_ks
from keras_distill.publishing import published_file
from keras_distill.runs.settings import inherit_settings, said_of_settings
from keras_distill.settings.command import Command
from keras_distill.settings.data import load_flagged_images
from keras_distill.settings.intervals import shown_intervals
from keras_distill.settings.report import check_report_flags, checked_run, define_report_flags

COMMAND = Command("keras_distill.report", __doc__)
define_report_flags(COMMAND)


def main(flags: Any) -> None:
    """Reports as the flags say."""
    run = checked_run(flags)
    inherited = inherit_settings(flags, run, ("dataset", "teacher", "image_size"))
    check_report_flags(flags)
    out = Path(flags.out or Path(flags.run) / "report")
    if out.is_file():
        raise InputError(f"--out={out} is a file; give a folder.")
    _report(flags, inherited, said_of_settings(flags, run, inherited), out)


def _report(flags: Any, inherited: dict[str, str], said: str, out: Path) -> None:
    from rich.console import Console

    from keras_distill.evaluation.metric_figures import MEANING
    from keras_distill.ledger.chain import load_chain, measured_chain
    from keras_distill.ledger.ledger_table import ledger_notes, ledger_table
    from keras_distill.ledger.page import page_html
    from keras_distill.runs.seen_classes import classes_seen_in_training, seen_warning

    begun = time.perf_counter()
    console = Console()
    say = functools.partial(console.print, highlight=False, markup=False, soft_wrap=True)
    if said:
        say(said)
    (images,), skipped = load_flagged_images(flags, flags.split)
    seen = classes_seen_in_training(flags.run, images)
    if seen:
        say(seen_warning(seen, len(images.classes)))
    models, formats = load_chain(flags, images)
    ledger = measured_chain(flags, models, formats, images, console)
    over = shown_intervals(flags, seen=bool(seen), classes=len(images.classes))
    with console.status("gathering what changed"):
        contents = _facts(flags, images) | {
            "settings_of_the_run": inherited,
            "classes_seen_in_training": seen,
            "intervals_shown": over,
            "interval_meaning": MEANING,
            "skipped_images": skipped,
        }
        contents, pictures = _with_ledger(flags, contents, ledger, images)
        contents["seconds"] = round(time.perf_counter() - begun, 1)
        html = page_html(contents, pictures)
    with published_file(out / "report.json") as temporary:
        temporary.write_text(json.dumps(contents, indent=1, allow_nan=False) + "\n")
    with published_file(out / "report.html") as temporary:
        temporary.write_text(html, encoding="utf-8")
    console.print(ledger_table(f"{flags.run} on {flags.dataset} ({flags.split})", ledger, over))
    for note in ledger_notes(ledger, over):
        say(note)
    say(f"{len(images)} queries of {len(images.classes)} classes in {contents['seconds']} s")
    say(str(out / "report.html"))


def _facts(flags: Any, images: Any) -> dict[str, Any]:
    """What is known before anything is measured."""
    from keras_distill.ledger.cost import machine

    return {
        "run": flags.run,
        "data": flags.dataset,
        "split": flags.split,
        "classes": len(images.classes),
        "ks": parse_ks(flags.ks),
        "batch_size": flags.batch_size,
        "machine": machine(),
        "date": time.strftime("%Y-%m-%d"),
    }


def _with_ledger(
    flags: Any, contents: dict[str, Any], ledger: Any, images: Any
) -> tuple[dict[str, Any], dict[str, str]]:
    """Adds what the ledger shows; returns the pictures for it too, by row."""
    from keras_distill.ledger.contents import report_contents, rows_by_importance
    from keras_distill.ledger.pictures import picture_uri

    contents = contents | report_contents(ledger, images, most_queries=flags.queries)
    for step in contents["steps"]:
        step |= {"data": flags.dataset, "split": flags.split}
    rows = rows_by_importance(contents)
    made = {row: picture_uri(images.root / images.paths[row]) for row in rows[: flags.pictures]}
    pictures = {str(row): uri for row, uri in made.items() if uri is not None}
    contents["pictures"] = {"shown": len(pictures), "named": len(rows)}
    return contents, pictures


if __name__ == "__main__":
    COMMAND.run(main)
