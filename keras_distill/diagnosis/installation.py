"""Checks of an installation that need no TensorFlow."""

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from keras_distill.errors import InputError, as_flags

OK, MISSING, BROKEN, UNKNOWN = "ok", "missing", "broken", "unknown"
LEAST_DISK_GB = 1.0
_FLAGS = ("dataset", "data_dir", "out")  # what the checks take from the command line


@dataclass(frozen=True)
class Finding:
    """Result of a check.

    Attributes:
        area: Its area, such as `packages`.
        name: Name of the checked thing.
        state: `ok`, `missing`, `broken`, or `unknown` where something else prevents the check.
        found: The version, device or number that was found.
        disables: Features that do not work without it; empty if none.
        remedy: Remedy, such as a pip command.
        essential: Whether training cannot run without it.
    """

    area: str
    name: str
    state: str
    found: str = ""
    disables: str = ""
    remedy: str = ""
    essential: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Returns the finding as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Package:
    """A package that a feature needs.

    Attributes:
        module: Module to import.
        distribution: Name for pip.
        disables: Features that do not work without it.
        remedy: Command that installs it.
        essential: Whether training cannot run without it.
    """

    module: str
    distribution: str
    disables: str
    remedy: str
    essential: bool = False


#: The feature that needs TensorFlow Addons.
ADDONS = "--task_loss=tfa:...: the losses of TensorFlow Addons"
_ALL = "everything: the package cannot be used"
_AGAIN = "pip install --force-reinstall keras_distill"
PACKAGES = (
    Package("numpy", "numpy", _ALL, _AGAIN, essential=True),
    Package("google.protobuf", "protobuf", _ALL, _AGAIN, essential=True),
    Package("tensorflow", "tensorflow", _ALL, _AGAIN, essential=True),
    Package("keras", "keras", _ALL, _AGAIN, essential=True),
    Package("absl", "absl-py", _ALL, _AGAIN, essential=True),
    Package("filelock", "filelock", "caches, index, embed, ablate", _AGAIN, essential=True),
    Package("grpc", "grpcio", "keras_distill.client", _AGAIN),
    Package("matplotlib", "matplotlib", "the pictures of train, evaluate and ablate", _AGAIN),
    Package("PIL", "pillow", "glyphs, and the pictures of index and report", _AGAIN),
    Package("tensorflow_datasets", "tensorflow-datasets", "--dataset=cub, cars196 and sop", _AGAIN),
    Package(
        "scann",
        "scann",
        "--backend=scann: large galleries are searched exactly, or by FAISS",
        "on Linux: pip install 'scann[tf]'; elsewhere: pip install 'keras_distill[faiss]'",
    ),
    Package("faiss", "faiss-cpu", "--backend=faiss", "pip install 'keras_distill[faiss]'"),
    Package(
        "ai_edge_litert.interpreter",
        "ai-edge-litert",
        "teachers and models that are .tflite files",
        "pip install 'keras_distill[litert]'",
    ),
    Package(
        "tensorflow_serving.apis.predict_pb2",
        "tensorflow-serving-api",
        "nothing here; the official stubs for clients of your own",
        "pip install 'keras_distill[serve]'",
    ),
    Package(
        "onnxruntime",
        "onnxruntime",
        "models and formats that are .onnx files",
        "pip install 'keras_distill[onnx]'",
    ),
    Package(
        "pyarrow",
        "pyarrow",
        "embed --format=parquet, and vectors of that format",
        "pip install 'keras_distill[parquet]'",
    ),
    Package(
        "apache_beam",
        "apache-beam",
        "embed_beam",
        "pip install 'keras_distill[beam]', best in an environment of its own",
    ),
)


def guarded(
    area: str, name: str, check: Callable[[], Finding], *, disables: str, essential: bool = False
) -> Finding:
    """Runs a check; an exception that it raises becomes a finding, too.

    Args:
        area: See `Finding`.
        name: See there.
        check: The check.
        disables: Features that do not work if it raises.
        essential: Whether training cannot run then.

    Returns:
        The finding.
    """
    try:
        return check()
    except (Exception, SystemExit) as error:  # a broken package may raise anything
        return Finding(area, name, BROKEN, _in_a_line(error), disables, "", essential)


def check_python() -> Finding:
    """Checks the version of Python."""
    supported = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Finding(
        "system",
        "python",
        OK if supported else BROKEN,
        f"{platform.python_version()} on {platform.platform(terse=True)}",
        "" if supported else "everything: no TensorFlow 2.20 for it",
        "" if supported else "use Python 3.11, 3.12 or 3.13",
        essential=True,
    )


def check_package(package: Package) -> Finding:
    """Checks a package by importing it.

    Args:
        package: The package.

    Returns:
        The finding: its version, that it is missing, or the error of its import.
    """

    def finding(state: str, found: str) -> Finding:
        well = state == OK
        return Finding(
            "packages",
            package.distribution,
            state,
            found,
            "" if well else package.disables,
            "" if well else package.remedy,
            package.essential,
        )

    try:
        if importlib.util.find_spec(package.module.partition(".")[0]) is None:
            return finding(MISSING, "")
        importlib.import_module(package.module)
    except (Exception, SystemExit) as error:  # a broken package may raise anything
        return finding(BROKEN, f"import {package.module}: {_in_a_line(error)}")
    try:
        return finding(OK, importlib.metadata.version(package.distribution))
    except importlib.metadata.PackageNotFoundError:
        return finding(OK, "of unknown version")


def check_addons() -> Finding:
    """Checks that TensorFlow Addons is installed; `check_addons_loss` checks that it works."""
    found = []
    for distribution in ("tensorflow-addons", "tf-keras"):
        try:
            found.append(importlib.metadata.version(distribution))
        except importlib.metadata.PackageNotFoundError:
            return Finding(
                "packages",
                "tensorflow-addons",
                MISSING,
                f"no {distribution}",
                ADDONS,
                "Python 3.11 only: pip install 'keras_distill[addons]'",
            )
    return Finding("packages", "tensorflow-addons", OK, f"{found[0]} with tf-keras {found[1]}")


def check_disk(argument: str, path: str, disables: str) -> Finding:
    """Checks the free disk space of a folder.

    Args:
        argument: Name of the finding.
        path: The folder; it need not exist yet.
        disables: What is written there.

    Returns:
        The free space; `broken` below a gigabyte.
    """
    place = Path(path).expanduser().absolute()
    there = next(parent for parent in (place, *place.parents) if parent.exists())
    free = shutil.disk_usage(there).free / 1e9
    found = f"{free:.1f} GB free in {there}"
    if not os.access(there, os.W_OK):
        return Finding(
            "system",
            argument,
            BROKEN,
            f"{there} is not writable",
            disables,
            "choose another folder",
        )
    if free < LEAST_DISK_GB:
        return Finding("system", argument, BROKEN, found, disables, "free some space")
    return Finding("system", argument, OK, found)


def check_memory() -> Finding:
    """Returns the memory that this process may use, a container's limit included."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    found = f"{total:.1f} GB"
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and limit.read_text().strip().isdecimal():
        found += f", of which this container may use {int(limit.read_text()) / 1e9:.1f} GB"
    return Finding("system", "memory", OK, found)


def check_cpu() -> Finding:
    """Returns the processors that this process may use, and their vector instructions."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    words: Iterable[str] = ()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text().splitlines()
        words = next((x.split() for x in lines if x.startswith(("flags", "Features"))), [])
    fast = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "asimd", "bf16")
    found = f"{count} usable; " + (", ".join(x for x in fast if x in words) or "features unknown")
    return Finding("system", "processors", OK, found)


def _in_a_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    named = as_flags(text, _FLAGS) if isinstance(error, InputError) else ""
    return (named or f"{type(error).__name__}: {text}")[:300]
