r"""Chooses the images to label next: few labels that teach a model much.

  coverage             images to which all others are near on average: one of each crowd
  diversity            images that are far from each other (k-centre greedy), odd ones first: each
                       choice is farthest from all that were chosen and all that are --labelled
  uncertainty          images whose class a classifier is least certain of
  ranking_consistency  images whose more and more degraded copies a score model ranks wrongly
  random               the baseline; compare the others with it before you trust them

Labels are dear, and images are alike: a hundred that were chosen well often teach as much as a few
hundred at random. Choose, label, train, and choose again with --labelled and the new model.

  python -m keras_distill.select --model=runs/student --images=photos --budget=100 \
      --out=chosen.txt --sheet=chosen.png
  python -m keras_distill.embed --model=runs/student --images=photos --out=vectors
  python -m keras_distill.select --vectors=vectors --labelled=labelled.txt --budget=500 \
      --out=chosen.txt
  python -m keras_distill.select --by=uncertainty --model=runs/tags --images=photos --out=chosen.txt
  python -m keras_distill.select --by=ranking_consistency --model=runs/quality --images=photos \
      --ladder=jpeg:40,jpeg:20,jpeg:10 --out=chosen.txt

--out gets a path in each line, relative to the folder of the images, the first choice first: cut it
where you like. --vectors, which embed wrote, are read in parts: a million of 512 numbers take a
gigabyte of memory in all. The last line printed is a summary as JSON.

Exit codes: 0 done, 2 unusable flags or input, 4 some images could not be read; the others were
chosen from.
"""

import json
import time
from pathlib import Path

from keras_distill.publishing import published_file
from keras_distill.settings.command import SOME_REFUSED, SUCCESS, Command
from keras_distill.settings.selection import SelectSettings

COMMAND = Command("keras_distill.select", __doc__, SelectSettings)
_ON_SHEET = 100


def main(settings: SelectSettings) -> int:
    """Chooses as the settings say; returns the exit code."""
    settings.check()

    from rich.console import Console

    from keras_distill.selection.choosing import choose
    from keras_distill.selection.contact_sheet import draw_contact_sheet

    begun, console = time.perf_counter(), Console(stderr=True)
    choice = choose(settings, console)
    with published_file(Path(settings.out)) as temporary:
        temporary.write_text("".join(f"{path}\n" for path in choice.paths), encoding="utf-8")
    if settings.sheet:
        shown = [choice.root / path for path in choice.paths[:_ON_SHEET]]
        draw_contact_sheet(settings.sheet, shown, choice.captions()[:_ON_SHEET])
    summary = {"by": settings.by, "budget": settings.budget, **choice.summary()}
    summary |= {"root": str(choice.root), "out": settings.out, "sheet": settings.sheet or None}
    summary["seconds"] = round(time.perf_counter() - begun, 2)
    if settings.json:
        values = zip(choice.paths, choice.values, strict=True)
        details = {
            "choice": [{"path": path, choice.measure or "value": value} for path, value in values],
            "unreadable_images": choice.unreadable,
        }
        with published_file(Path(settings.json)) as temporary:
            temporary.write_text(json.dumps({**summary, **details}, indent=2) + "\n")
    if len(choice.paths) < settings.budget:
        told = f"There were only {len(choice.paths)} images to choose from."
        console.print(told, highlight=False, soft_wrap=True)
    for path in choice.unreadable[:3]:
        console.print(f"left out, as it cannot be read: {path}", highlight=False, soft_wrap=True)
    print(json.dumps(summary))
    return SOME_REFUSED if choice.unreadable else SUCCESS


if __name__ == "__main__":
    COMMAND.run(main)
