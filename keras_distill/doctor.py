r"""Tells what this installation can do, and what each missing piece disables.

  python -m keras_distill.doctor
  python -m keras_distill.doctor --dataset=folder:photos --out=runs --json

Exit codes: 0 training can run, 1 something that it needs is broken or missing, 2 unusable flags.
"""

import json
from functools import partial
from typing import Any

from keras_distill.diagnosis.installation import (
    ADDONS,
    BROKEN,
    MISSING,
    OK,
    PACKAGES,
    UNKNOWN,
    Finding,
    check_addons,
    check_cpu,
    check_disk,
    check_memory,
    check_package,
    check_python,
    guarded,
)
from keras_distill.settings.command import FAILURE, SUCCESS, Command
from keras_distill.settings.data import DATASETS, check_name
from keras_distill.version import __version__

COMMAND = Command("keras_distill.doctor", __doc__)
_PLACES = "Places"
COMMAND.string(
    _PLACES, "dataset", "", f"Look at this data set too: {', '.join(DATASETS)}, or folder:PATH."
)
COMMAND.string(
    _PLACES, "data_dir", "~/tensorflow_datasets", "Folder where data sets lie, or are put."
)
COMMAND.string(_PLACES, "out", "runs", "Folder that shall be written to.")
COMMAND.boolean("Output", "json", False, "Print one JSON object instead of the table.")

_COLOURS = {OK: "green", MISSING: "yellow", BROKEN: "red", UNKNOWN: "yellow"}


def main(flags: Any) -> int:
    """Looks at everything and tells."""
    if flags.dataset:
        name, _, path = flags.dataset.partition(":")
        if name not in DATASETS and not (name == "folder" and path):
            check_name("dataset", flags.dataset, flags.dataset)
    findings = examine(flags.dataset, flags.data_dir, flags.out)
    sick = [f for f in findings if f.essential and f.state != OK]
    if flags.json:
        told = {
            "keras_distill": __version__,
            "can_train": not sick,
            "findings": [finding.as_dict() for finding in findings],
        }
        print(json.dumps(told, indent=2))
    else:
        _print(findings, sick)
    return FAILURE if sick else SUCCESS


def examine(dataset: str, data_dir: str, out: str) -> list[Finding]:
    """Runs all checks; none raises.

    Args:
        dataset: Name of a data set to look at, or empty.
        data_dir: Where data sets lie.
        out: Folder that shall be written to.

    Returns:
        What was found.
    """
    training = "training and everything that embeds"
    findings = [
        check_python(),
        guarded("system", "processors", check_cpu, disables=""),
        guarded("system", "memory", check_memory, disables=""),
    ]
    for argument, path, what in (
        (f"--out={out}", out, "what the commands write"),
        (f"--data_dir={data_dir}", data_dir, "data sets that are downloaded or drawn"),
    ):
        free = partial(check_disk, argument, path, what)
        findings.append(guarded("system", argument, free, disables=what))
    findings += [check_package(package) for package in PACKAGES]
    addons = guarded("packages", "tensorflow-addons", check_addons, disables=ADDONS)
    if any(f.state != OK for f in findings if f.name in ("numpy", "tensorflow", "keras")):
        return [
            *findings,
            addons,
            Finding("devices", "gpu, precision, data", UNKNOWN, "TensorFlow cannot be asked"),
        ]

    def asked(check: str, *arguments: Any) -> Any:
        def run() -> Finding:
            import keras_distill.diagnosis.tensorflow as checks

            return getattr(checks, check)(*arguments)

        return run

    if addons.state == OK:
        look = asked("check_addons_loss", addons)
        addons = guarded("packages", "tensorflow-addons", look, disables=ADDONS)
    findings.append(addons)
    findings.append(guarded("devices", "gpu", asked("check_devices"), disables="GPUs"))
    findings.append(
        guarded(
            "devices",
            "a step of training",
            asked("check_training"),
            disables=training,
            essential=True,
        )
    )
    for name in ("bfloat16", "float16"):
        flag = f"--mixed_precision=mixed_{name}"
        findings.append(guarded("precision", flag, asked("check_precision", name), disables=flag))
    if dataset:
        findings.append(
            guarded(
                "data",
                f"--dataset={dataset}",
                asked("check_dataset", dataset, data_dir),
                disables="training on this data set",
                essential=True,
            )
        )
    return findings


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
