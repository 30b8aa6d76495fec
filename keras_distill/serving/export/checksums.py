"""The SHA-256 sums of the files of a folder, as `sha256sum` writes and checks them."""

import hashlib
from pathlib import Path

SUMS_FILE = "SHA256SUMS"


def file_sums(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 sum of each file below a folder, by relative path, sorted.

    Args:
        folder: The folder; `SHA256SUMS` in it does not count.
    """
    sums = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != SUMS_FILE:
            with path.open("rb") as file:
                sums[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums


def write_sums(folder: Path) -> None:
    """Writes `SHA256SUMS`, which `sha256sum --check` reads."""
    lines = (f"{digest}  {name}\n" for name, digest in file_sums(folder).items())
    (folder / SUMS_FILE).write_text("".join(lines))


def checksum_faults(folder: Path) -> list[str]:
    """Compares the files of a folder with its `SHA256SUMS`.

    Args:
        folder: The folder; without that file there is no fault.

    Returns:
        A sentence for each file that is missing, of another content, or not listed.
    """
    if not (folder / SUMS_FILE).exists():
        return []
    lines = (folder / SUMS_FILE).read_text().splitlines()
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    found = file_sums(folder)
    return (
        [f"{name} is missing" for name in sorted(listed.keys() - found.keys())]
        + [f"{name} is not in {SUMS_FILE}" for name in sorted(found.keys() - listed.keys())]
        + [
            f"{name} was changed after the export"
            for name in sorted(listed.keys() & found.keys())
            if listed[name] != found[name]
        ]
    )
