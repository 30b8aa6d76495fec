"""Rows of an index of word-space vectors: several for each image, searched by inner product."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_distill.errors import InputError
from keras_distill.retrieval.index_parts import IndexEntries
from keras_distill.retrieval.neighbours import Agreement
from keras_distill.retrieval.vector_checks import checked_vectors
from keras_distill.retrieval.vector_index import VectorIndex

#: Key of the manifest of such an index.
WORD_FACTS = "words"
# Room for longer vectors of images that are added later.
_ROOM = 1.25
# Rows that approximate search fetches for each word, over the rows of the images that are wanted.
_FETCHED = 20


@dataclass(frozen=True)
class WordFacts:
    """How the vectors of an index of word-space vectors are stored.

    Attributes:
        rows: Vectors of each image.
        width: Width of the word vectors.
        reach: Length that no vector exceeds.
    """

    rows: int
    width: int
    reach: float

    @classmethod
    def of(cls, index: VectorIndex) -> "WordFacts | None":
        """Reads them from an index; `None` if it is one of embeddings."""
        facts = index.manifest.get(WORD_FACTS)
        return None if facts is None else cls(**facts)


def word_facts(words: np.ndarray) -> WordFacts:
    """Chooses how the vectors of images are stored.

    Args:
        words: Vectors of each image in word space, `(n, rows, width)`.

    Returns:
        The facts, with a quarter of room for longer vectors that are added later.
    """
    longest = float(np.linalg.norm(words, axis=2).max(initial=0.0))
    return WordFacts(words.shape[1], words.shape[2], max(_ROOM * longest, 1e-12))


def word_entries(
    words: np.ndarray,
    facts: WordFacts,
    paths: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    root: Path,
) -> IndexEntries:
    """Stores vectors so that the largest inner product is the smallest distance.

    A vector `a` becomes `(a / M, sqrt(1 - |a|^2 / M^2))`, of length 1, where `M` is the reach; a
    word `u` of length 1 becomes `(u, 0)`, so that their squared distance is `2 - 2 <a, u> / M`
    (Bachrach et al., RecSys 2014). Exact and approximate search work on them as on embeddings.

    Args:
        words: Vectors of each image, `(n, rows, width)`.
        facts: How they are stored.
        paths: As of `IndexEntries`, one for each image, like all arguments that follow.
        labels: As there.
        class_names: As there.
        root: As there.

    Returns:
        The entries, `rows` next to each other for each image.

    Raises:
        InputError: If vectors have another shape, or exceed the reach of the index.
    """
    if words.shape[1:] != (facts.rows, facts.width):
        raise InputError(
            f"`words` has the shape {words.shape}, and the index {facts.rows} vectors of width "
            f"{facts.width} an image; give the model that it was built with."
        )
    scaled = np.asarray(words, np.float64).reshape(-1, facts.width) / facts.reach
    squares = np.square(scaled).sum(axis=1)
    if not (squares <= 1.0).all():
        raise InputError(
            "the vectors of these images are too long for the index, whose longest has the length "
            f"{facts.reach / _ROOM:.4g}; build the index again, with all images."
        )
    rows = np.concatenate([scaled, np.sqrt(1.0 - squares)[:, None]], axis=1)
    return IndexEntries(
        rows.astype(np.float32),
        np.repeat(paths, facts.rows),
        np.repeat(labels, facts.rows),
        tuple(class_names),
        root,
        rows_per_image=facts.rows,
    )


@dataclass(frozen=True, eq=False)
class WordMatches:
    """Images that were found by words.

    Attributes:
        rows: The first row of each image in the index, int64 `(k,)`, the best image first.
        scores: Mean over the words of the image's score, float32 `(k,)`.
        agreement: Share of the nearest vectors that approximate search has found; `None` if all
            vectors were compared.
    """

    rows: np.ndarray
    scores: np.ndarray
    agreement: Agreement | None = None


def search_by_words(index: VectorIndex, vectors: np.ndarray, *, k: int = 10) -> WordMatches:
    """Finds the images that match words best.

    The score of an image for a word is the largest inner product of the word's vector, at length 1,
    with one of the image's vectors, as of `word_scores`; of several words it is the mean of their
    scores. Each image is found once, by its best vector. An index with ScaNN or FAISS fetches
    vectors for each word, and scores the images that they belong to exactly.

    Args:
        index: The index, of word-space vectors.
        vectors: Vectors of the words, float `(words, width)`.
        k: Number of images; fewer are returned if the index has fewer.

    Returns:
        The images.

    Raises:
        InputError: If the index has no such vectors, or the words do not fit it.
    """
    facts = WordFacts.of(index)
    if facts is None:
        raise InputError(
            f"`index={index.folder}` holds embeddings, which words cannot find; search it by "
            "`image`, or build one with a model of words."
        )
    vectors = checked_vectors("vectors", vectors)
    if vectors.shape[1] != facts.width:
        raise InputError(
            f"`word_vectors` has width {vectors.shape[1]}, the index {str(index.folder)!r} "
            f"{facts.width}; give the file that its model was trained with."
        )
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (lengths > 0).all():
        raise InputError("`word_vectors` has a vector of zeros, which finds nothing; leave it out.")
    if k < 1:
        raise InputError(f"`k={k}` must be at least 1.")
    units = vectors / lengths
    queries = np.pad(units, ((0, 0), (0, 1))).astype(np.float32)
    images, agreement = index.rows[:: facts.rows], None
    k = min(k, len(images))
    if index.backend == "exact":
        products = index.products(queries).reshape(-1, facts.rows, len(queries))
        products = products[images // facts.rows]
    else:
        found = index.search(queries, k=_FETCHED * k * facts.rows)
        agreement = found.agreement
        images = np.unique(found.indices // facts.rows) * facts.rows
        rows = (images[:, None] + np.arange(facts.rows)).ravel()
        products = (index.vectors(rows) @ queries.T).reshape(-1, facts.rows, len(queries))
    scores = np.asarray(products.max(axis=1).mean(axis=1) * facts.reach, np.float32)
    likely = np.flatnonzero(scores >= np.partition(scores, -k)[-k])
    order = likely[np.lexsort((images[likely], -scores[likely]))][:k]
    return WordMatches(images[order], scores[order], agreement)


def image_count(index: VectorIndex) -> int:
    """Returns the number of images of an index, whatever it holds of each."""
    facts: Any = WordFacts.of(index)
    return len(index) // (facts.rows if facts else 1)
