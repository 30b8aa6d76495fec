"""Results of a search by words: a table, a drawing and JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keras_distill.data.word_vectors import load_word_vectors
from keras_distill.errors import InputError, renamed_arguments
from keras_distill.retrieval.neighbour_picture import draw_neighbours
from keras_distill.retrieval.vector_index import VectorIndex
from keras_distill.retrieval.word_rows import WordMatches, search_by_words


def find_by_words(
    index: VectorIndex,
    words: str,
    word_vectors: str,
    k: int = 10,
    *,
    picture: str = "",
    pictures_in: str = "",
) -> dict[str, Any]:
    """Finds the pictures that match words best, prints them, and draws them.

    Args:
        index: The index, of word-space vectors.
        words: The words, with commas between them.
        word_vectors: File of word vectors, see `load_word_vectors`.
        k: Number of pictures to find.
        picture: PNG file for a drawing of the pictures; none if empty.
        pictures_in: Folder of the pictures, if they are not where they were indexed.

    Returns:
        The search result as plain values.

    Raises:
        InputError: If the words have no vectors, as `search_by_words` does, or if the drawing
            cannot be written.
    """
    names = list(dict.fromkeys(word.strip() for word in words.split(",") if word.strip()))
    if not names:
        raise InputError(f"`words={words}` names none; give some, as dog,grass.")
    with renamed_arguments(path="word_vectors", names="words"):
        vectors = load_word_vectors(word_vectors, names)
    matches = search_by_words(index, vectors, k=k)
    return _shown(index, matches, names, picture, pictures_in)


def _shown(
    index: VectorIndex, matches: WordMatches, words: Sequence[str], picture: str, pictures_in: str
) -> dict[str, Any]:
    """Prints and draws the pictures; returns them as plain values."""
    paths, names = index.paths(matches.rows), [*index.class_names, ""]
    classes = [names[label] for label in index.labels(matches.rows)]
    scores = matches.scores.tolist()
    table = Table("rank", "score", "class", title=f"best for {escape(', '.join(words))}")
    table.add_column("picture", overflow="fold")
    for rank, (path, name, score) in enumerate(zip(paths, classes, scores, strict=True), 1):
        table.add_row(str(rank), f"{score:.4f}", escape(name), escape(path))
    console = Console()
    console.print(table)
    agreement = matches.agreement and asdict(matches.agreement)
    if agreement:
        console.print(
            f"{index.backend} found {agreement['share']:.1%} of the exact {agreement['k']} nearest "
            "vectors",
            highlight=False,
        )
    if picture:
        root = Path(pictures_in or index.root)
        captions = [f"{score:.3f} {path}" for score, path in zip(scores, paths, strict=True)]
        draw_neighbours(None, [root / path for path in paths], captions, Path(picture))
        console.print(picture, highlight=False, soft_wrap=True)
    return {
        "words": list(words),
        "index": str(index.folder),
        "backend": index.backend,
        "agreement": agreement,
        "neighbours": [
            {"picture": path, "class": name or None, "score": score}
            for path, name, score in zip(paths, classes, scores, strict=True)
        ],
    }
