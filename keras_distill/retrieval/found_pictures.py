"""Search results of an index: a table, a drawing and JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from keras_distill.retrieval.neighbour_picture import draw_neighbours
from keras_distill.retrieval.neighbours import Neighbours
from keras_distill.retrieval.vector_index import VectorIndex


@dataclass(frozen=True)
class FoundPicture:
    """A picture that was found.

    Attributes:
        path: Its path relative to the folder of the pictures.
        class_name: Its class; empty for none.
        distance: Euclidean distance of its embedding from the embedding of the query.
    """

    path: str
    class_name: str
    distance: float


def found_pictures(index: VectorIndex, neighbours: Neighbours) -> list[FoundPicture]:
    """Returns the pictures that are nearest to the first query.

    Args:
        index: The index.
        neighbours: What a search of it returned.

    Returns:
        The pictures, nearest first.
    """
    rows, distances = neighbours.indices[0], neighbours.distances[0].tolist()
    names = [*index.class_names, ""]
    classes = [names[label] for label in index.labels(rows)]
    return [
        FoundPicture(path, name, distance)
        for path, name, distance in zip(index.paths(rows), classes, distances, strict=True)
    ]


def show_found(
    index: VectorIndex,
    neighbours: Neighbours,
    query: str,
    *,
    picture: str = "",
    pictures_in: str = "",
) -> dict[str, Any]:
    """Prints the pictures that were found, and draws them.

    Args:
        index: The index.
        neighbours: What a search of it returned.
        query: File of the picture that was searched by.
        picture: PNG file for a drawing of the pictures; none if empty.
        pictures_in: Folder of the pictures, if they are not where they were indexed.

    Returns:
        The search result as plain values.

    Raises:
        InputError: If the drawing cannot be written.
    """
    found = found_pictures(index, neighbours)
    console = Console()
    console.print(_table(query, found))
    agreement = neighbours.agreement and asdict(neighbours.agreement)
    if agreement:
        console.print(
            f"{index.backend} found {agreement['share']:.1%} of the exact {agreement['k']} nearest",
            highlight=False,
        )
    if picture:
        root = Path(pictures_in or index.root)
        captions = [f"{each.distance:.3f} {each.class_name or each.path}" for each in found]
        draw_neighbours(Path(query), [root / each.path for each in found], captions, Path(picture))
        console.print(picture, highlight=False, soft_wrap=True)
    return {
        "image": query,
        "index": str(index.folder),
        "backend": index.backend,
        "agreement": agreement,
        "neighbours": [
            {"picture": each.path, "class": each.class_name or None, "distance": each.distance}
            for each in found
        ],
    }


def _table(query: str, found: Sequence[FoundPicture]) -> Table:
    table = Table("rank", "distance", "class", title=f"nearest to {Path(query)}")
    table.add_column("picture", overflow="fold")
    for rank, each in enumerate(found, 1):
        table.add_row(str(rank), f"{each.distance:.4f}", each.class_name, each.path)
    return table
