"""Stage of a ledger: the vectors of the images, their neighbours and metrics."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_distill.errors import InputError
from keras_distill.evaluation.retrieval_metrics import (
    RetrievalMetrics,
    needed_depth,
    neighbour_metrics,
)
from keras_distill.retrieval.exact_search import nearest_neighbours
from keras_distill.retrieval.neighbours import Agreement
from keras_distill.retrieval.searcher import Searcher

# The page notes lengths that differ from 1 by more than this, as in VectorTable.
_UNIT = 1e-3
_AGREEMENT_QUERIES = 1000


@dataclass(frozen=True, eq=False)
class LedgerStage:
    """Stage of a ledger; each image is a query, and all others are its gallery.

    Attributes:
        name: Its name for people, such as `student`.
        model: Path of the model that made the vectors.
        vectors: The vectors, unchanged, float32 `(n, dim)`.
        neighbours: Row at each rank, nearest first, int64 `(n, depth)`; -1 where nothing was found.
        distances: Their Euclidean distances, float32 `(n, depth)`; NaN where nothing was found.
        metrics: Metrics of the neighbours.
        backend: Search backend: `exact`, `scann` or `faiss`.
        agreement: Agreement with exact search, if the search is not exact.
        settings: Settings of the search.
        cost: Cost, by the names of `model_cost` or `index_cost`.
    """

    name: str
    model: str
    vectors: np.ndarray = field(repr=False)
    neighbours: np.ndarray = field(repr=False)
    distances: np.ndarray = field(repr=False)
    metrics: RetrievalMetrics
    backend: str = "exact"
    agreement: Agreement | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    cost: Mapping[str, Any] = field(default_factory=dict)

    @functools.cached_property
    def finite(self) -> np.ndarray:
        """Whether each vector is finite, bool `(n,)`."""
        return np.isfinite(self.vectors).all(axis=1)

    @functools.cached_property
    def lengths(self) -> tuple[float, float]:
        """The least and the greatest length of the finite vectors; NaN if there are none."""
        vectors = self.vectors[self.finite].astype(np.float64)
        lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
        return (float(lengths.min()), float(lengths.max())) if len(lengths) else (np.nan, np.nan)

    @functools.cached_property
    def first_match(self) -> np.ndarray:
        """Rank from 1 of the first neighbour of the query's class, `(n,)`; 0 if not in the list."""
        labels = self.metrics.labels
        match = (labels[self.neighbours] == labels[:, None]) & (self.neighbours >= 0)
        return np.where(match.any(axis=1), match.argmax(axis=1) + 1, 0)

    @property
    def notes(self) -> list[str]:
        """Notes that are needed to read the figures, as sentences."""
        notes = []
        if lost := int((~self.finite).sum()):
            notes.append(
                f"{lost} of {len(self.vectors)} vectors are not finite: these queries find "
                "nothing, and no query finds them."
            )
        low, high = self.lengths
        if max(abs(low - 1), abs(high - 1)) > _UNIT:
            notes.append(
                f"Vectors are not of length 1, but from {low:.3g} to {high:.3g}: measured by "
                "Euclidean distance without normalisation."
            )
        if self.cost.get("mirror"):
            notes.append("Averages the vectors of each image and its mirror image.")
        if times := self.cost.get("runtime_milliseconds"):
            by_threads = ", ".join(f"{ms:.3g} ms with {count}" for count, ms in times.items())
            notes.append(f"One image in its own runtime, by number of threads: {by_threads}.")
        if self.agreement is not None:
            share, k = 100 * self.agreement.share, self.agreement.k
            queries = self.agreement.queries
            notes.append(f"Finds {share:.2f} % of the exact {k} nearest, on {queries} queries.")
            if not self.settings.get("num_leaves", 1):
                notes.append("ScaNN compares with every row: a tree pays off from 20,000 rows on.")
        return notes


def exact_stage(
    name: str,
    model: str,
    vectors: np.ndarray,
    labels: np.ndarray,
    *,
    ks: Sequence[int],
    cost: Mapping[str, Any] | None = None,
) -> LedgerStage:
    """Measures a stage by exact search of its vectors, of any length.

    Args:
        name: See `LedgerStage`, also for the other arguments.
        model: See there.
        vectors: See there.
        labels: Classes of the images, integers `(n,)`.
        ks: The K of Recall@K.
        cost: See there.

    Returns:
        The stage.

    Raises:
        InputError: If there are fewer than two images, or the K are not positive.
    """
    depth = _depth(labels, ks)

    def search(finite: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        return nearest_neighbours(finite, k=k)

    neighbours, distances = _found_among_finite(vectors, depth, search)
    metrics = neighbour_metrics(neighbours, labels, ks=ks)
    return LedgerStage(name, model, vectors, neighbours, distances, metrics, cost=cost or {})


def index_stage(
    name: str,
    before: LedgerStage,
    build: Callable[[np.ndarray], Searcher],
    *,
    ks: Sequence[int],
    cost: Callable[[Searcher, np.ndarray, int], Mapping[str, Any]] | None = None,
) -> LedgerStage:
    """Measures an index of the vectors of the stage before.

    Args:
        name: Its name for people.
        before: The stage whose vectors it holds.
        build: Builds the searcher of vectors, float32 `(m, dim)`.
        ks: The K of Recall@K.
        cost: Measures the cost of the search, given the searcher, its gallery, and the number of
            neighbours.

    Returns:
        The stage.

    Raises:
        InputError: If the index cannot be built.
    """
    labels = before.metrics.labels
    gallery = np.ascontiguousarray(before.vectors[before.finite], np.float32)
    if len(gallery) < 2:
        raise InputError(
            f"the index would be empty: the stage {before.name} gave {len(gallery)} finite vectors."
        )
    searcher = build(gallery)
    agreements = []
    depth = _depth(labels, ks)

    def search(finite: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        found = searcher.search(finite, k=k, leave_one_out=True, sample=_AGREEMENT_QUERIES)
        agreements.append(found.agreement)
        return found.indices, found.distances

    neighbours, distances = _found_among_finite(before.vectors, depth, search)
    return LedgerStage(
        name,
        before.model,
        before.vectors,
        neighbours,
        distances,
        neighbour_metrics(neighbours, labels, ks=ks),
        backend=searcher.backend,
        agreement=agreements[0],
        settings=searcher.settings,
        cost={} if cost is None else cost(searcher, gallery, depth),
    )


def _depth(labels: np.ndarray, ks: Sequence[int]) -> int:
    if len(labels) < 2:
        raise InputError(f"there is nothing to search: {len(labels)} images; give more classes.")
    return needed_depth(labels, ks=ks)


def _found_among_finite(
    vectors: np.ndarray,
    depth: int,
    search: Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Searches the finite vectors, each among the others; the rest finds and is found nowhere."""
    rows = np.flatnonzero(np.isfinite(vectors).all(axis=1))
    neighbours = np.full((len(vectors), depth), -1, np.int64)
    distances = np.full((len(vectors), depth), np.nan, np.float32)
    k = min(depth, len(rows) - 1)
    if k > 0:
        try:
            found, far = search(np.ascontiguousarray(vectors[rows], np.float32), k)
        except InputError as error:
            raise error.renamed(queries="vectors") from error
        neighbours[rows, :k], distances[rows, :k] = rows[found], far
    return neighbours, distances
