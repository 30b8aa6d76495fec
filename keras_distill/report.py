r"""Shows where the recall of a distilled model was lost, stage by stage, on one page.

Measures the stages from the teacher to production on the same queries: teacher, student, --export
(a SavedModel that is sent the bytes of the image files), and an approximate index of the last
model's vectors. The losses of the stages add up to the total; each has its 95 % interval, so that
noise is not taken for a fault. Each --format is a branch: it was made from the student, and its
loss is measured against the student. The page also shows which queries got worse, with both
galleries, which classes did, and what was gained in size and time.

Data set, classes, image size and teacher are taken from the flags.txt of the run, unless flags say
otherwise. Times are measured on this machine: let nothing else run.

  python -m keras_distill.report --run=runs/student
  python -m keras_distill.report --run=runs/student --export=models/photos \
      --format=models/photos/litert/photos_int8.tflite --out=report

Writes report.html, which opens from the disk without a network, and report.json.
Exit codes: 0 done, 2 unusable flags or input.
"""

import functools
import time
from pathlib import Path
from typing import Any

from keras_distill.errors import InputError
from keras_distill.runs.directory import RunDirectory
from keras_distill.runs.settings import inherit_settings, read_settings
from keras_distill.settings.command import Command
from keras_distill.settings.data import load_images
from keras_distill.settings.distill import DistillSettings
from keras_distill.settings.report import ReportSettings

COMMAND = Command("keras_distill.report", __doc__, ReportSettings)


def main(settings: ReportSettings) -> None:
    """Reports as the settings say."""
    run = _checked_run(settings.run)
    names = ("dataset", "teacher", "image_size")
    settings, inherited, said = inherit_settings(settings, run, names)
    settings.check()
    out = Path(settings.out or Path(settings.run) / "report")
    if out.is_file():
        raise InputError(f"--out={out} is a file; give a folder.")
    _report(settings, inherited, said, out)


def _checked_run(path: str) -> RunDirectory:
    """Returns the run to report on, which must hold an embedder, a student."""
    if not path:
        raise InputError("--run is required: the run directory of a student.")
    run = RunDirectory(path)
    if not run.product.is_file():
        raise InputError(
            f"--run={path} is no run directory with a student.keras; train writes one."
        )
    if run.flags.is_file() and (recipe := read_settings(run).recipe) != DistillSettings.recipe:
        raise InputError(
            f"--run={path} is of the recipe {recipe}; report is for embedders, of the recipe "
            f"{DistillSettings.recipe}."
        )
    return run


def _report(settings: ReportSettings, inherited: dict[str, Any], said: str, out: Path) -> None:
    from rich.console import Console

    from keras_distill.ledger.chain import load_chain, measured_chain
    from keras_distill.ledger.ledger_table import ledger_notes, ledger_table
    from keras_distill.ledger.report_files import report_and_pictures, write_report
    from keras_distill.runs.seen_classes import classes_seen_in_training, seen_warning

    begun = time.perf_counter()
    console = Console()
    say = functools.partial(console.print, highlight=False, markup=False, soft_wrap=True)
    if said:
        say(said)
    (images,), skipped = load_images(settings, settings.split)
    seen = classes_seen_in_training(settings.run, images)
    if seen:
        say(seen_warning(seen, len(images.classes)))
    models, formats = load_chain(settings, images)
    ledger = measured_chain(settings, models, formats, images, console)
    over = settings.shown_intervals(seen=bool(seen), classes=len(images.classes))
    facts = {
        "settings_of_the_run": {name: str(value) for name, value in inherited.items()},
        "classes_seen_in_training": seen,
        "intervals_shown": over,
        "skipped_images": skipped,
    }
    with console.status("gathering what changed"):
        contents, pictures = report_and_pictures(settings, ledger, images, facts)
        contents["seconds"] = round(time.perf_counter() - begun, 1)
        write_report(out, contents, pictures)
    console.print(
        ledger_table(f"{settings.run} on {settings.dataset} ({settings.split})", ledger, over)
    )
    for note in ledger_notes(ledger, over):
        say(note)
    say(f"{len(images)} queries of {len(images.classes)} classes in {contents['seconds']} s")
    say(str(out / "report.html"))


if __name__ == "__main__":
    COMMAND.run(main)
