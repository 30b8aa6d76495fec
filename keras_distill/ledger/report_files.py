"""Files of a report: report.json and report.html."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_distill.data.image_set import ImageSet
from keras_distill.evaluation.metric_figures import MEANING
from keras_distill.ledger.contents import report_contents, rows_by_importance
from keras_distill.ledger.cost import machine
from keras_distill.ledger.ledger import Ledger
from keras_distill.ledger.page import page_html
from keras_distill.ledger.pictures import picture_uri
from keras_distill.publishing import published_file
from keras_distill.settings.evaluation import parse_ks
from keras_distill.settings.report import ReportSettings


def report_and_pictures(
    settings: ReportSettings, ledger: Ledger, images: ImageSet, facts: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Gathers the contents and pictures of a report.

    Args:
        settings: The settings.
        ledger: The ledger.
        images: The images that it was measured on.
        facts: Other keys of the report, plain values.

    Returns:
        The content of `report.json`, see `report_contents`; and the pictures that the page shows,
        as data URIs by row.
    """
    contents = {
        "run": settings.run,
        "data": settings.dataset,
        "split": settings.split,
        "classes": len(images.classes),
        "ks": parse_ks(settings.ks),
        "batch_size": settings.batch_size,
        "machine": machine(),
        "date": time.strftime("%Y-%m-%d"),
        "interval_meaning": MEANING,
        **facts,
        **report_contents(ledger, images, most_queries=settings.queries),
    }
    for stage in contents["steps"]:
        stage |= {"data": settings.dataset, "split": settings.split}
    rows = rows_by_importance(contents)
    made = {row: picture_uri(images.root / images.paths[row]) for row in rows[: settings.pictures]}
    pictures = {str(row): uri for row, uri in made.items() if uri is not None}
    contents["pictures"] = {"shown": len(pictures), "named": len(rows)}
    return contents, pictures


def write_report(out: Path, contents: Mapping[str, Any], pictures: Mapping[str, str]) -> None:
    """Writes `report.json` and `report.html`.

    Args:
        out: Folder, which need not exist.
        contents: The contents, see `report_and_pictures`.
        pictures: The pictures, see `report_and_pictures`.
    """
    html = page_html(contents, pictures)
    with published_file(out / "report.json") as temporary:
        temporary.write_text(json.dumps(contents, indent=1, allow_nan=False) + "\n")
    with published_file(out / "report.html") as temporary:
        temporary.write_text(html, encoding="utf-8")
