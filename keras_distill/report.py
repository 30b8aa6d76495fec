r"""Shows where the recall of a distilled model went, in one page to defend it with.

Measures the way from the teacher to what answers in production, step by step on the same queries:
teacher, student, --export (a SavedModel, sent the bytes of the image files), each --format, and an
approximate index of the last one's vectors. What the steps lose adds up to the total; each loss
has its 95 % interval, so that noise is not taken for a fault. The page shows besides which queries
got worse, with both galleries, which classes did, and what was gained in size and time.

Data set, classes, image size and teacher are those of the run, from its flags.txt, unless flags
say otherwise. Times are of this machine: let nothing else run.

  python -m keras_distill.report --run=runs/student
  python -m keras_distill.report --run=runs/student --export=models/photos \
      --format=models/photos/litert/photos_int8.tflite --out=report

Writes report.html, which opens from the disk without a network, and report.json.
Exit codes: 0 done, 2 unusable flags or input.
"""

import json
import time
from pathlib import Path
from typing import Any

from keras_distill.command_line import Command
from keras_distill.data_flags import load_flagged_images
from keras_distill.errors import InputError
from keras_distill.evaluate import parse_ks
from keras_distill.publishing import published_file
from keras_distill.report_flags import check_report_flags, define_report_flags
from keras_distill.run_settings import inherit_settings

COMMAND = Command("keras_distill.report", __doc__)
define_report_flags(COMMAND)


def main(flags: Any) -> None:
    """Reports as the flags say."""
    inherited = inherit_settings(flags)
    check_report_flags(flags)
    out = Path(flags.out or Path(flags.run) / "report")
    if out.is_file():
        raise InputError(f"--out={out} is a file; give a folder.")
    _report(flags, inherited, out)


def _report(flags: Any, inherited: dict[str, str], out: Path) -> None:
    from rich.console import Console

    from keras_distill.flagged_chain import load_chain, measured_chain
    from keras_distill.ledger.contents import report_contents, rows_by_importance
    from keras_distill.ledger.cost import machine
    from keras_distill.ledger.ledger import Ledger
    from keras_distill.ledger.ledger_table import ledger_table
    from keras_distill.ledger.page import page_html
    from keras_distill.ledger.pictures import picture_uri

    begun = time.perf_counter()
    console = Console()
    if inherited:
        text = ", ".join(f"--{name}={value}" for name, value in inherited.items())
        said = f"From {flags.run}/flags.txt: {text}"
        console.print(said, highlight=False, markup=False, soft_wrap=True)
    (images,), skipped = load_flagged_images(flags, flags.split)
    models = load_chain(flags, images)
    ledger = Ledger(measured_chain(flags, models, images, console))
    with console.status("gathering what changed"):
        contents: dict[str, Any] = {
            "run": flags.run,
            "data": flags.dataset,
            "split": flags.split,
            "classes": len(images.classes),
            "ks": parse_ks(flags.ks),
            "settings_of_the_run": inherited,
            "batch_size": flags.batch_size,
            "machine": machine(),
            "skipped_images": skipped,
            **report_contents(ledger, images, most_queries=flags.queries),
        }
        for step in contents["steps"]:
            step |= {"data": flags.dataset, "split": flags.split}
        rows = rows_by_importance(contents)
        shown = rows[: flags.pictures]
        made = {row: picture_uri(images.root / images.paths[row]) for row in shown}
        pictures = {str(row): uri for row, uri in made.items() if uri is not None}
        contents["pictures"] = {"shown": len(pictures), "named": len(rows)}
        contents["date"] = time.strftime("%Y-%m-%d")
        contents["seconds"] = round(time.perf_counter() - begun, 1)
        html = page_html(contents, pictures)
    with published_file(out / "report.json") as temporary:
        temporary.write_text(json.dumps(contents, indent=1, allow_nan=False) + "\n")
    with published_file(out / "report.html") as temporary:
        temporary.write_text(html, encoding="utf-8")
    console.print(ledger_table(f"{flags.run} on {flags.dataset} ({flags.split})", ledger))
    console.print(
        f"{len(images)} queries of {len(images.classes)} classes in {contents['seconds']} s",
        highlight=False,
    )
    console.print(str(out / "report.html"), highlight=False, soft_wrap=True, markup=False)


if __name__ == "__main__":
    COMMAND.run(main)
