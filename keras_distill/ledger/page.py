"""HTML page of a report: one file that loads nothing else."""

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

# In this order: each uses the ones before.
_SCRIPTS = (
    "elements.js",
    "charts.js",
    "ledger.js",
    "queries.js",
    "classes.js",
    "map.js",
    "page.js",
)


def page_html(contents: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """Fills the page.

    Args:
        contents: The contents, see `report_and_pictures`.
        pictures: `data:` URIs by row.

    Returns:
        The HTML: style, scripts, figures and pictures in one file.
    """
    folder = resources.files("keras_distill.ledger") / "template"

    def read(name: str) -> str:
        return (folder / name).read_text(encoding="utf-8")

    # "<" would end the script element in "</script>"; JSON has it only inside strings.
    data = json.dumps({"report": contents, "pictures": pictures}, allow_nan=False)
    parts = {
        "/* STYLE */": read("page.css"),
        "/* SCRIPT */": "\n".join(read(name) for name in _SCRIPTS),
        "{}": data.replace("<", "\\u003c"),
    }
    html = read("page.html")
    for mark, text in parts.items():
        before, found, after = html.partition(f">{mark}<")
        assert found, f"page.html lacks {mark}"
        html = f"{before}>{text}<{after}"
    return html
