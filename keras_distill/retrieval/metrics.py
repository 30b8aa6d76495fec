"""Recall@K, MAP@R and R-precision."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_distill.errors import InputError
from keras_distill.retrieval.exact_search import neighbour_blocks


@dataclass(frozen=True)
class RetrievalMetrics:
    """How well neighbours share their query's class; all values are fractions.

    Attributes:
        recall: For each K, the share of queries with a neighbour of their class among K.
        map_at_r: Mean over queries of the mean, over the first R ranks, of the precision at each
            rank that holds a match; R is the number of the query's matches in the gallery.
            Defined in "A Metric Learning Reality Check" (arXiv 2003.08505).
        r_precision: Mean over queries of the share of matches among the first R ranks.
        queries: Number of queries.
        gallery: Number of gallery rows.
    """

    recall: dict[int, float]
    map_at_r: float
    r_precision: float
    queries: int
    gallery: int


def retrieval_metrics(
    embeddings: np.ndarray,
    labels: np.ndarray,
    *,
    ks: Sequence[int] = (1, 2, 4, 8),
    gallery_embeddings: np.ndarray | None = None,
    gallery_labels: np.ndarray | None = None,
    leave_one_out: bool = False,
) -> RetrievalMetrics:
    """Measures retrieval by exact Euclidean nearest neighbours.

    Every row is a query. Without a gallery, all other rows are searched (the paper's protocol). A
    query without any match in the gallery counts as missed in Recall@K, and not at all in MAP@R and
    R-precision.

    Args:
        embeddings: Query embeddings, float array `(n, dim)`.
        labels: Their classes, integers `(n,)`.
        ks: The K of Recall@K.
        gallery_embeddings: Gallery embeddings, `(m, dim)`; `None` for leave-one-out.
        gallery_labels: Their classes, integers `(m,)`.
        leave_one_out: Whether row i of the gallery shows the image of query i and is left out for
            it; without a gallery it always is.

    Returns:
        The metrics.

    Raises:
        InputError: If `ks` holds no positive numbers or the arrays do not fit each other.

    Example:
        >>> metrics = retrieval_metrics(np.array([[0.0], [0.1], [2.0]]), np.array([5, 5, 6]))
        >>> round(metrics.recall[1], 3)
        0.667
    """
    if not ks or min(ks) < 1:
        raise InputError(f"ks={list(ks)} must be positive numbers, e.g. 1,2,4,8.")
    if (gallery_embeddings is None) != (gallery_labels is None):
        raise InputError("gallery_embeddings and gallery_labels go together; give both or neither.")
    labels = _checked_labels("labels", labels, embeddings)
    leave_one_out |= gallery_embeddings is None
    if gallery_embeddings is None:
        gallery_labels, gallery_count = labels, len(labels)
    else:
        gallery_labels = _checked_labels("gallery_labels", gallery_labels, gallery_embeddings)
        gallery_count = len(gallery_labels)
    if not len(labels) or not gallery_count:
        raise InputError(
            f"there is nothing to search: {len(labels)} queries, {gallery_count} gallery rows."
        )
    if leave_one_out and not np.array_equal(labels, gallery_labels):
        raise InputError("leave_one_out needs the same labels for the queries and the gallery.")
    classes, sizes = np.unique(gallery_labels, return_counts=True)
    place = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    relevant = np.where(classes[place] == labels, sizes[place] - leave_one_out, 0)

    depth = max(max(ks), int(relevant.max()))
    recalled = dict.fromkeys(map(int, ks), 0)
    average_precision, r_precision = 0.0, 0.0
    for rows, neighbours, _ in neighbour_blocks(
        embeddings, gallery_embeddings, k=depth, leave_one_out=leave_one_out
    ):
        match = gallery_labels[neighbours] == labels[rows, None]
        for k in recalled:
            recalled[k] += int(match[:, :k].any(1).sum())
        ranks = np.arange(1, match.shape[1] + 1)
        match &= ranks <= relevant[rows, None]
        precision = np.cumsum(match, axis=1) / ranks
        share = 1.0 / np.maximum(relevant[rows], 1)
        average_precision += float(((precision * match).sum(1) * share).sum())
        r_precision += float((match.sum(1) * share).sum())
    judged = max(int((relevant > 0).sum()), 1)
    return RetrievalMetrics(
        recall={k: count / len(labels) for k, count in recalled.items()},
        map_at_r=average_precision / judged,
        r_precision=r_precision / judged,
        queries=len(labels),
        gallery=gallery_count,
    )


def _checked_labels(name: str, labels: np.ndarray | None, embeddings: np.ndarray) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != (len(embeddings),) or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            f"{name} must be {len(embeddings)} integers, one for each embedding; got "
            f"{labels.dtype} of shape {labels.shape}."
        )
    return labels
