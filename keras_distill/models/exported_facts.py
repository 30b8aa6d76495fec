"""Facts that an exported model states in the JSON next to it."""

import json
from pathlib import Path
from typing import Any

#: In the folder of a SavedModel; a file has them in a .json of its name.
FACTS_FILE = Path("assets.extra", "distill.json")


def exported_facts(path: Path) -> dict[str, Any]:
    """Reads the facts of a model that `export` wrote.

    Args:
        path: Folder of a SavedModel, or a `.tflite` or `.onnx` file.

    Returns:
        The facts by name; none if the model was exported elsewhere.
    """
    file = path / FACTS_FILE if path.is_dir() else path.with_suffix(".json")
    try:
        facts = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}
