"""Examination of an installation: all checks in their order."""

from functools import partial
from typing import Any

from keras_distill.diagnosis.installation import (
    ADDONS,
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

_TRAINING = "training and everything that embeds"


def examine(dataset: str, data_dir: str, out: str) -> list[Finding]:
    """Runs all checks; none raises.

    Args:
        dataset: Name of a data set to check, or empty.
        data_dir: Folder of data sets.
        out: Folder that commands will write to.

    Returns:
        The findings.
    """
    findings = _system(data_dir, out) + [check_package(package) for package in PACKAGES]
    addons = guarded("packages", "tensorflow-addons", check_addons, disables=ADDONS)
    if any(f.state != OK for f in findings if f.name in ("numpy", "tensorflow", "keras")):
        return [
            *findings,
            addons,
            Finding("devices", "gpu, precision, data", UNKNOWN, "TensorFlow does not work"),
        ]
    if addons.state == OK:
        look = _by_tensorflow("check_addons_loss", addons)
        addons = guarded("packages", "tensorflow-addons", look, disables=ADDONS)
    return [*findings, addons, *_devices(), *(_data(dataset, data_dir) if dataset else [])]


def _system(data_dir: str, out: str) -> list[Finding]:
    findings = [
        check_python(),
        guarded("system", "processors", check_cpu, disables=""),
        guarded("system", "memory", check_memory, disables=""),
    ]
    for argument, path, what in (
        (f"--out={out}", out, "the output of commands"),
        (f"--data_dir={data_dir}", data_dir, "data sets that are downloaded or drawn"),
    ):
        free = partial(check_disk, argument, path, what)
        findings.append(guarded("system", argument, free, disables=what))
    return findings


def _devices() -> list[Finding]:
    step = _by_tensorflow("check_training")
    findings = [
        guarded("devices", "gpu", _by_tensorflow("check_devices"), disables="GPUs"),
        guarded("devices", "a step of training", step, disables=_TRAINING, essential=True),
    ]
    for name in ("bfloat16", "float16"):
        flag = f"--mixed_precision=mixed_{name}"
        check = _by_tensorflow("check_precision", name)
        findings.append(guarded("precision", flag, check, disables=flag))
    return findings


def _data(dataset: str, data_dir: str) -> list[Finding]:
    return [
        guarded(
            "data",
            f"--dataset={dataset}",
            _by_tensorflow("check_dataset", dataset, data_dir),
            disables="training on this data set",
            essential=True,
        )
    ]


def _by_tensorflow(check: str, *arguments: Any) -> Any:
    """Returns a check that loads TensorFlow when it is called."""

    def run() -> Finding:
        import keras_distill.diagnosis.tensorflow as checks

        return getattr(checks, check)(*arguments)

    return run
