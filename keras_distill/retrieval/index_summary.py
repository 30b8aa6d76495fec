"""Summary of an index, for people and for programs."""

from typing import Any

from rich.console import Console
from rich.table import Table

from keras_distill.retrieval.vector_index import VectorIndex
from keras_distill.retrieval.word_rows import WordFacts, image_count

_HIDDEN = {"files", "class_names", "parts", "deleted", "asked_backend", "rows", "agreement"}


def index_summary(index: VectorIndex) -> dict[str, Any]:
    """Returns figures that describe an index: its size and its search backend.

    Args:
        index: The index.

    Returns:
        Plain values by name.
    """
    labels, facts = index.labels(index.rows), WordFacts.of(index)
    return {
        "index": str(index.folder),
        "pictures": image_count(index),
        "classes": len(set(labels[labels >= 0].tolist())),  # class_names keeps those deleted
        "backend": index.backend,
        "agreement": index.manifest["agreement"],
        "loose": index.loose,
        "most_loose": index.most_loose,
        **({} if facts is None else {"vectors_per_picture": facts.rows}),
        "megabytes": round(sum(index.manifest["files"].values()) / 1e6, 3),
    }


def show_summary(index: VectorIndex) -> dict[str, Any]:
    """Prints a table that describes an index.

    Args:
        index: The index.

    Returns:
        The summary, with the whole manifest.
    """
    shown = {name: value for name, value in index.manifest.items() if name not in _HIDDEN}
    table = Table(show_header=False, title=str(index.folder))
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in (index_summary(index) | shown).items():
        table.add_row(name, str(value))
    Console().print(table)
    return {**index_summary(index), "manifest": index.manifest}
