"""Warnings about retrieval figures that mean little or nothing."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from keras_distill.evaluation.retrieval_metrics import RetrievalMetrics

ALIKE = 0.01  # standard deviation over length, below which embeddings lie in one point
_LOST = 1e-4  # the same share, below which a quantised or float16 embedding keeps nothing
# Probability below which chance is ruled out. As the neighbours of one query depend on the
# neighbours of others, a binomial test at 0.1 % lets up to 1 % of random embeddings pass.
_CERTAIN = 0.001


def chance_recall(labels: np.ndarray, k: int = 1) -> float:
    """Returns the Recall@K of a model that ranks at random.

    Args:
        labels: Classes of the images, each of which is a query against all others, integers `(n,)`.
        k: The K.

    Returns:
        The mean over queries of the probability that one of K others is of the query's class.

    Example:
        >>> round(chance_recall(np.array([0, 0, 1, 1, 2, 2])), 6)
        0.2
    """
    matches, others = _matches(labels), len(labels) - 1
    missed = np.ones(len(labels))
    for place in range(min(k, others)):
        missed *= np.maximum(others - matches - place, 0) / (others - place)
    return float(np.mean(1.0 - missed))


def class_size_warnings(labels: np.ndarray) -> list[str]:
    """Warns of limits that the classes and the number of their images set to any model.

    Args:
        labels: See `chance_recall`.

    Returns:
        One sentence or none.
    """
    labels = np.asarray(labels)
    if len(labels) < 2:
        return [f"{_images(len(labels))} cannot be searched for one another."]
    classes = len(np.unique(labels))
    if classes == 1:
        return [
            f"All {len(labels)} images are of one class, so every measure is 1 whatever the model; "
            "take two or more classes."
        ]
    alone = int(np.sum(_matches(labels) == 0))
    if alone == len(labels):
        return [
            f"Each of the {classes} classes has one image, so no query has a match and Recall@K is "
            "0 whatever the model; take two or more images of a class."
        ]
    if alone:
        return [
            f"{alone} of {len(labels)} queries are the only image of their class and count as "
            f"missed, so Recall@K is at most {1 - alone / len(labels):.4f}."
        ]
    return []


def chance_warnings(labels: np.ndarray, recall: float, k: int = 1) -> list[str]:
    """Warns of a Recall@K that cannot be told from the Recall@K of a random ranking.

    Args:
        labels: See `chance_recall`.
        recall: The Recall@K that was measured on them.
        k: The K.

    Returns:
        One sentence or none: none where a one-sided binomial test at 0.1 % rules chance out, or
        where no ranking could do better than another.
    """
    labels = np.asarray(labels)
    chance = chance_recall(labels, k)
    if chance >= np.mean(_matches(labels) > 0):
        return []
    from scipy.stats import binom

    if binom.sf(round(recall * len(labels)) - 1, len(labels), chance) <= _CERTAIN:
        return []
    return [
        f"Recall@{k} {recall:.4f} cannot be told from chance, {chance:.4f} on these "
        f"{_images(len(labels))} of {len(np.unique(labels))} classes."
    ]


def retrieval_warnings(
    metrics: "RetrievalMetrics", queries: np.ndarray, gallery: np.ndarray
) -> list[str]:
    """Warns of metrics that mean little, where each image is a query against all others.

    Args:
        metrics: The metrics.
        queries: Embeddings of the images as queries, `(n, dim)`.
        gallery: Embeddings of the images as gallery, `(n, dim)`; maybe the same array.

    Returns:
        Sentences about embeddings that are all alike, a recall at chance, and classes with too few
        images; none if nothing is wrong.
    """
    k, recall = min(metrics.recall.items())
    at_chance = chance_warnings(metrics.labels, recall, k)
    alike = []
    sides = {"query embeddings": queries, "gallery embeddings": gallery}
    for name, rows in ({"embeddings": queries} if gallery is queries else sides).items():
        share = relative_deviation(rows)
        if share <= _LOST or (share <= ALIKE and at_chance):
            alike.append(
                f"All {name} are alike: their standard deviation is {share:.2g} of their length."
            )
    return [*alike, *at_chance, *class_size_warnings(metrics.labels)]


def relative_deviation(embeddings: np.ndarray) -> float:
    """Returns the standard deviation of embeddings as a share of their length.

    Args:
        embeddings: `(n, dim)`, finite.

    Returns:
        The root mean square distance to the mean, over the root mean square length; 0 if all are 0.

    Example:
        >>> relative_deviation(np.array([[1.0, 0.0], [-1.0, 0.0]]))
        1.0
    """
    rows = embeddings.astype(np.float64)
    length = np.sqrt(np.mean(np.sum(rows**2, axis=1)))
    distance = np.sqrt(np.mean(np.sum((rows - rows.mean(axis=0)) ** 2, axis=1)))
    return float(distance / length) if length else 0.0


def _matches(labels: np.ndarray) -> np.ndarray:
    """The number of other images in the class of each image, `(n,)`."""
    _, place, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    return sizes[place] - 1


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"
