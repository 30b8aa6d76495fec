"""Retrieval metrics: Recall@K, P@K, mAP@K, MAP@R and R-precision, per query and on average."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from keras_distill.errors import InputError
from keras_distill.evaluation.bootstrap import mean_intervals
from keras_distill.retrieval.exact_search import neighbour_blocks

_QUERY_BLOCK = 1024


@dataclass(frozen=True)
class RetrievalMetrics:
    """Retrieval metrics of a set of queries; all values are fractions.

    A match is a neighbour of the query's class. R is the number of the query's matches in the
    gallery, P(i) the share of matches among the first i ranks.

    Attributes:
        recall: For each K, the share of queries with a neighbour of their class among K.
        precision_at_k: For each K, the mean over queries of P(K), which is also called purity@K;
            at most R / K where a class has fewer images.
        map_at_k: For each K, the mean over queries of AP@K: the sum of P(i) over the first K
            ranks that hold a match, divided by min(K, R). A perfect ranking has 1. Other
            definitions in use divide by R, which puts 1 out of reach where K < R, or by the number
            of matches found, so that matches further down lower it.
        map_at_r: Mean over queries of AP@R, which is AP@K with K = R of each query, defined in "A
            Metric Learning Reality Check" (arXiv 2003.08505).
        r_precision: Mean over queries of P(R).
        queries: Number of queries.
        gallery: Number of gallery rows.
        labels: Class of each query, `(queries,)`.
        per_query: By name (`R@1`, `P@10`, `mAP@10`, `MAP@R`, `R-precision`), the value of each
            query, float64 `(queries,)`; NaN where it does not count because the query has no match.
    """

    recall: dict[int, float]
    precision_at_k: dict[int, float]
    map_at_k: dict[int, float]
    map_at_r: float
    r_precision: float
    queries: int
    gallery: int
    labels: np.ndarray = field(compare=False, repr=False)
    per_query: dict[str, np.ndarray] = field(compare=False, repr=False)

    @functools.cached_property
    def means(self) -> dict[str, float]:
        """The mean over queries of each measure, by the names of `per_query`."""
        return {name: _mean(values) for name, values in self.per_query.items()}

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The 95 % bootstrap interval of each mean over queries, by the names of `per_query`.

        They come from 1,000 resamples of the queries; `mean_intervals` computes others from
        `per_query`.
        """
        return self.intervals_over["queries"]

    @functools.cached_property
    def intervals_over(self) -> dict[str, dict[str, tuple[float, float]]]:
        """The 95 % bootstrap intervals by resampled unit, `queries` or `classes`, and by name.

        They come from 1,000 resamples each; `mean_intervals` says what they mean.
        """
        return measure_intervals(self.per_query, self.labels)

    def by_class(self) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """Returns the means over the queries of each class.

        Returns:
            The classes, sorted, `(c,)`; the number of their queries, `(c,)`; and by the names of
            `per_query` their means, float64 `(c,)`, NaN where no query of the class counts.
        """
        classes, place, sizes = np.unique(self.labels, return_inverse=True, return_counts=True)
        means = {}
        for name, values in self.per_query.items():
            counted = np.isfinite(values)
            sums = np.bincount(place, np.where(counted, values, 0), len(classes))
            counts = np.bincount(place, counted, len(classes))
            means[name] = sums / np.where(counts, counts, np.nan)
        return classes, sizes, means


def measure_intervals(
    per_query: Mapping[str, np.ndarray], labels: np.ndarray
) -> dict[str, dict[str, tuple[float, float]]]:
    """Computes intervals of means over queries, by resampling queries and classes.

    Args:
        per_query: Value of each query by measure, float `(n,)`; NaN where it does not count.
        labels: Class of each query, integers `(n,)`.

    Returns:
        The 95 % interval of each measure, by the resampled unit, `queries` and `classes`.
    """
    values = np.stack(list(per_query.values()), axis=1)
    bounds = {
        "queries": mean_intervals(values),
        "classes": mean_intervals(values, classes=labels),
    }
    return {
        resampled: dict(zip(per_query, map(tuple, pairs.tolist()), strict=True))
        for resampled, pairs in bounds.items()
    }


def retrieval_metrics(
    embeddings: np.ndarray,
    labels: np.ndarray,
    *,
    ks: Sequence[int] = (1, 2, 4, 8),
    precision_ks: Sequence[int] = (),
    map_ks: Sequence[int] = (),
    gallery_embeddings: np.ndarray | None = None,
    gallery_labels: np.ndarray | None = None,
    leave_one_out: bool = False,
) -> RetrievalMetrics:
    """Measures retrieval by exact Euclidean nearest neighbours.

    Every row is a query. Without a gallery, it is searched among all other rows (the paper's
    protocol). A query without any match in the gallery counts as missed in Recall@K, and not at all
    in the other measures.

    Args:
        embeddings: Query embeddings, float array `(n, dim)`.
        labels: Their classes, integers `(n,)`.
        ks: The K of Recall@K.
        precision_ks: The K of P@K.
        map_ks: The K of mAP@K.
        gallery_embeddings: Gallery embeddings, `(m, dim)`; `None` for leave-one-out.
        gallery_labels: Their classes, integers `(m,)`.
        leave_one_out: Whether gallery row i shows the image of query i and is left out of its
            neighbours; always so without a gallery.

    Returns:
        The metrics.

    Raises:
        InputError: If the K are not positive numbers or the arrays do not fit each other.

    Example:
        >>> import numpy as np
        >>> metrics = retrieval_metrics(np.array([[0.0], [0.1], [2.0]]), np.array([5, 5, 6]))
        >>> round(metrics.recall[1], 3)
        0.667
    """
    _check_ks(ks, precision_ks, map_ks)
    if (gallery_embeddings is None) != (gallery_labels is None):
        raise InputError(
            "`gallery_embeddings` and `gallery_labels` go together; give both or neither."
        )
    labels = _checked_labels("labels", labels, embeddings)
    leave_one_out |= gallery_embeddings is None
    if gallery_embeddings is None:
        gallery_labels = labels
    else:
        gallery_labels = _checked_labels("gallery_labels", gallery_labels, gallery_embeddings)
    relevant = _relevant(labels, gallery_labels, leave_one_out=leave_one_out)
    blocks = neighbour_blocks(
        embeddings,
        gallery_embeddings,
        k=max(*ks, *precision_ks, *map_ks, int(relevant.max())),
        leave_one_out=leave_one_out,
    )
    lists = ((rows, neighbours) for rows, neighbours, _ in blocks)
    try:
        return _metrics(lists, labels, gallery_labels, relevant, ks, precision_ks, map_ks)
    except InputError as error:
        raise error.renamed(queries="embeddings", gallery="gallery_embeddings") from error


def neighbour_metrics(
    neighbours: np.ndarray,
    labels: np.ndarray,
    *,
    ks: Sequence[int] = (1, 2, 4, 8),
    precision_ks: Sequence[int] = (),
    map_ks: Sequence[int] = (),
    gallery_labels: np.ndarray | None = None,
    leave_one_out: bool = False,
) -> RetrievalMetrics:
    """Measures retrieval by neighbours from elsewhere, such as from an approximate index.

    Args:
        neighbours: Gallery row at each rank, nearest first, integers `(n, depth)`; -1 where nothing
            was found. `needed_depth` returns how many ranks are needed.
        labels: Classes of the queries, integers `(n,)`.
        ks: See `retrieval_metrics`, also for the other arguments.
        precision_ks: See there.
        map_ks: See there.
        gallery_labels: See there; `None` for leave-one-out.
        leave_one_out: See there; the neighbours must leave the query's own row out.

    Returns:
        The metrics.

    Raises:
        InputError: If the lists are too short, or as `retrieval_metrics` does.

    Example:
        >>> metrics = neighbour_metrics(np.array([[2, 1], [0, 2], [1, 0]]), np.array([5, 5, 6]))
        >>> round(metrics.recall[1], 3), round(metrics.recall[2], 3)
        (0.333, 0.667)
    """
    labels = _checked_labels("labels", labels, neighbours)
    leave_one_out |= gallery_labels is None
    if gallery_labels is None:
        gallery_labels = labels
    depth = needed_depth(
        labels,
        ks=ks,
        precision_ks=precision_ks,
        map_ks=map_ks,
        gallery_labels=gallery_labels,
        leave_one_out=leave_one_out,
    )
    if neighbours.shape[1] < depth:
        raise InputError(
            f"`neighbours` has {neighbours.shape[1]} ranks, but `ks={list(ks)}` and the sizes of "
            f"the classes need {depth}; search for more neighbours."
        )
    starts = range(0, len(neighbours), _QUERY_BLOCK)
    slices = (slice(start, start + _QUERY_BLOCK) for start in starts)
    relevant = _relevant(labels, gallery_labels, leave_one_out=leave_one_out)
    lists = ((rows, neighbours[rows]) for rows in slices)
    return _metrics(lists, labels, gallery_labels, relevant, ks, precision_ks, map_ks)


def needed_depth(
    labels: np.ndarray,
    *,
    ks: Sequence[int] = (1, 2, 4, 8),
    precision_ks: Sequence[int] = (),
    map_ks: Sequence[int] = (),
    gallery_labels: np.ndarray | None = None,
    leave_one_out: bool = False,
) -> int:
    """Returns how many neighbours of each query `neighbour_metrics` needs.

    Args:
        labels: Classes of the queries, integers `(n,)`.
        ks: See `retrieval_metrics`, also for the other arguments.
        precision_ks: See there.
        map_ks: See there.
        gallery_labels: See there; `None` for leave-one-out.
        leave_one_out: See there.

    Returns:
        The greatest K or, if greater, the greatest number of matches; at most the number of
        neighbours in the gallery.

    Raises:
        InputError: As `retrieval_metrics` does.

    Example:
        >>> needed_depth(np.array([5, 5, 5, 6, 6]), ks=[1])
        2
    """
    _check_ks(ks, precision_ks, map_ks)
    leave_one_out |= gallery_labels is None
    gallery_labels = labels if gallery_labels is None else gallery_labels
    relevant = _relevant(labels, gallery_labels, leave_one_out=leave_one_out)
    return min(
        max(*ks, *precision_ks, *map_ks, int(relevant.max())), len(gallery_labels) - leave_one_out
    )


def _metrics(
    lists: Iterable[tuple[slice, np.ndarray]],
    labels: np.ndarray,
    gallery_labels: np.ndarray,
    relevant: np.ndarray,
    ks: Sequence[int],
    precision_ks: Sequence[int],
    map_ks: Sequence[int],
) -> RetrievalMetrics:
    """The metrics of neighbour lists, each with the slice of its queries."""
    blocks = []
    for rows, neighbours in lists:
        match = (gallery_labels[neighbours] == labels[rows, None]) & (neighbours >= 0)
        blocks.append(_scores(match, relevant[rows], ks, precision_ks, map_ks))
    per_query = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    return RetrievalMetrics(
        recall={int(k): _mean(per_query[f"R@{k}"]) for k in ks},
        precision_at_k={int(k): _mean(per_query[f"P@{k}"]) for k in precision_ks},
        map_at_k={int(k): _mean(per_query[f"mAP@{k}"]) for k in map_ks},
        map_at_r=_mean(per_query["MAP@R"]),
        r_precision=_mean(per_query["R-precision"]),
        queries=len(labels),
        gallery=len(gallery_labels),
        labels=labels,
        per_query=per_query,
    )


def _relevant(labels: np.ndarray, gallery_labels: np.ndarray, *, leave_one_out: bool) -> np.ndarray:
    """The number of matches in the gallery of each query, `(n,)`."""
    if not len(labels) or not len(gallery_labels):
        raise InputError(
            f"there is nothing to search: {len(labels)} queries, {len(gallery_labels)} gallery "
            "rows."
        )
    if leave_one_out and not np.array_equal(labels, gallery_labels):
        raise InputError("`leave_one_out=True` needs the same labels for queries and gallery.")
    classes, sizes = np.unique(gallery_labels, return_counts=True)
    place = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    return np.where(classes[place] == labels, sizes[place] - leave_one_out, 0)


def _scores(
    match: np.ndarray,
    relevant: np.ndarray,
    ks: Sequence[int],
    precision_ks: Sequence[int],
    map_ks: Sequence[int],
) -> dict[str, np.ndarray]:
    """The measures of each query.

    Args:
        match: Whether the neighbour at each rank is of the query's class, `(n, depth)`.
        relevant: Number of matches in the whole gallery, `(n,)`.
        ks: See `retrieval_metrics`.
        precision_ks: See there.
        map_ks: See there.

    Returns:
        The columns of `RetrievalMetrics.per_query`.
    """
    rows, depth = np.arange(len(match)), match.shape[1]
    found = np.cumsum(match, axis=1)
    gained = np.cumsum(match * (found / np.arange(1, depth + 1)), axis=1)

    def at(rank: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
        column = np.clip(rank, 1, depth) - 1
        return found[rows, column], gained[rows, column]

    counted = np.where(relevant > 0, relevant, np.nan)
    scores = {f"R@{k}": (at(k)[0] > 0).astype(np.float64) for k in ks}
    scores |= {f"P@{k}": at(k)[0] / np.where(relevant > 0, k, np.nan) for k in precision_ks}
    scores |= {f"mAP@{k}": at(k)[1] / np.minimum(k, counted) for k in map_ks}
    found_at_r, gained_at_r = at(relevant)
    return {**scores, "MAP@R": gained_at_r / counted, "R-precision": found_at_r / counted}


def _mean(values: np.ndarray) -> float:
    """The mean of the values that are not NaN; 0 if there are none."""
    counted = np.isfinite(values)
    return float(np.where(counted, values, 0.0).sum() / max(int(counted.sum()), 1))


def _check_ks(ks: Sequence[int], precision_ks: Sequence[int], map_ks: Sequence[int]) -> None:
    if not len(ks) or min(ks) < 1:
        raise InputError(f"`ks={list(ks)}` must be positive numbers, such as 1, 2, 4, 8.")
    for name, given in (("precision_ks", precision_ks), ("map_ks", map_ks)):
        if min(given, default=1) < 1:
            raise InputError(f"`{name}={list(given)}` must be positive numbers, such as 10, 100.")


def _checked_labels(name: str, labels: np.ndarray | None, embeddings: np.ndarray) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != (len(embeddings),) or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            f"`{name}` must be {len(embeddings)} integers, one for each row; got "
            f"{labels.dtype} of shape {labels.shape}."
        )
    return labels
