"""Results of verification for a model card: figures, and the calibration of similarities."""

import json
from pathlib import Path
from typing import Any

from keras_distill.errors import InputError
from keras_distill.runs.directory import RunDirectory

_KEYS = (
    *("model", "data", "split", "images", "same_pairs", "different_pairs"),
    *("figures", "intervals", "intervals_over", "calibration"),
)


def read_verification(file: Path) -> dict[str, Any] | None:
    """Reads what `evaluate --protocol=verification --json` wrote.

    Args:
        file: The file.

    Returns:
        Its part for a model card, with `mirror`; `None` for any other file.

    Raises:
        InputError: If the file cannot be read.
    """
    try:
        whole = json.loads(file.read_text())
        if whole["protocol"] != "verification":
            return None
        result = {name: whole[name] for name in _KEYS}
        result["mirror"] = bool(whole.get("mirror"))
        for name in ("slope", "intercept"):
            float(result["calibration"][name])
    except OSError as error:
        raise InputError(f"{str(file)!r} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if whole.get("degrade"):
        result["data"] = f"{result['data']}, {whole['degrade']}"
        result["degrade"] = whole["degrade"]
    return result


def verification_in(run: RunDirectory, *, mirror: bool) -> dict[str, Any] | None:
    """Finds the newest result of verification in a run directory that is about its product.

    Args:
        run: The run.
        mirror: Whether the model averages the vectors of mirror images.

    Returns:
        The result, of images that were not degraded; `None` if there is none.
    """
    if not run.product.is_file():
        return None
    ours = {run.path.resolve(), run.product.resolve()}
    oldest = run.product.stat().st_mtime
    found = []
    for file in run.path.glob("*.json"):
        result, written = read_verification(file), file.stat().st_mtime
        if (
            result is not None
            and written >= oldest
            and Path(str(result["model"])).resolve() in ours
            and result["mirror"] == mirror
            and "degrade" not in result
        ):
            found.append((written, file.name, result))
    return max(found, key=lambda each: each[:2])[2] if found else None


def check_mirror(result: dict[str, Any], file: str, *, mirror: bool) -> None:
    """Refuses a result of other vectors than those of the model.

    Args:
        result: As of `read_verification`.
        file: Where it was read.
        mirror: Whether the model averages the vectors of mirror images.

    Raises:
        InputError: If the result was measured otherwise, so that its similarities are others.
    """
    if result["mirror"] != mirror:
        was, now = ("with", "without") if result["mirror"] else ("without", "with")
        raise InputError(
            f"`results={file}` was measured {was} `mirror`, and the model is exported {now}; "
            "its similarities are others. Evaluate again as you export."
        )
