r"""Shows what this installation can do, and what each missing package disables.

  python -m keras_distill.doctor
  python -m keras_distill.doctor --dataset=folder:photos --out=runs --json

Exit codes: 0 training can run, 1 something that it needs is broken or missing, 2 unusable flags.
"""

import json
from dataclasses import dataclass

from keras_distill import __version__
from keras_distill.diagnosis.examination import examine
from keras_distill.diagnosis.installation import BROKEN, MISSING, OK, UNKNOWN, Finding
from keras_distill.settings.command import FAILURE, SUCCESS, Command
from keras_distill.settings.data import DATASETS, check_name
from keras_distill.settings.settings import Settings, setting

_COLOURS = {OK: "green", MISSING: "yellow", BROKEN: "red", UNKNOWN: "yellow"}


@dataclass(frozen=True, kw_only=True)
class DoctorSettings(Settings, group="Places"):
    """Settings of the command `doctor`."""

    dataset: str = setting("", f"Check this data set too: {', '.join(DATASETS)}, or folder:PATH.")
    data_dir: str = setting(
        "~/tensorflow_datasets", "Folder of data sets, where new ones are put, too."
    )
    out: str = setting("runs", "Folder that commands will write to.")
    json: bool = setting(False, "Print one JSON object instead of the table.", group="Output")

    def check(self) -> None:
        """Rejects the name of an unknown data set; a folder that is missing is a finding."""
        name, _, path = self.dataset.partition(":")
        if self.dataset and name not in DATASETS and not (name == "folder" and path):
            check_name("dataset", self.dataset, self.dataset)


COMMAND = Command("keras_distill.doctor", __doc__, DoctorSettings)


def main(settings: DoctorSettings) -> int:
    """Runs all checks and prints the findings; returns the exit code."""
    settings.check()
    findings = examine(settings.dataset, settings.data_dir, settings.out)
    sick = [f for f in findings if f.essential and f.state != OK]
    if settings.json:
        told = {
            "keras_distill": __version__,
            "can_train": not sick,
            "findings": [finding.as_dict() for finding in findings],
        }
        print(json.dumps(told, indent=2))
    else:
        _print(findings, sick)
    return FAILURE if sick else SUCCESS


def _print(findings: list[Finding], sick: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"keras_distill {__version__}")
    for heading in ("", "", "found", "without it"):
        table.add_column(heading, overflow="fold")
    for area in dict.fromkeys(finding.area for finding in findings):
        for finding in (f for f in findings if f.area == area):
            advice = "; ".join(text for text in (finding.disables, finding.remedy) if text)
            colour = _COLOURS[finding.state]
            found = finding.found if finding.state == OK else f"{finding.state} {finding.found}"
            table.add_row(area, finding.name, f"[{colour}]{_plain(found)}", _plain(advice))
        table.add_section()
    console = Console()
    console.print(table)
    names = ", ".join(finding.name for finding in sick)
    console.print(f"[red]training cannot run: {_plain(names)}" if sick else "training can run")


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


if __name__ == "__main__":
    COMMAND.run(main)
