"""Spread of the embeddings of a batch, in a few numbers."""

import numpy as np


def embedding_spread(
    embeddings: np.ndarray, labels: np.ndarray | None, margin: float
) -> dict[str, float]:
    """Measures the embeddings of a batch.

    Args:
        embeddings: `(n, dim)`, finite.
        labels: Integers `(n,)`, or `None` if there are none: then there are no pairs.
        margin: By how much a negative should be farther than a positive.

    Returns:
        `positive_distance` and `negative_distance`, the mean distances within and between classes;
        `active_triplets`, the share of triplets whose negative is not farther than the positive by
        the margin; `embedding_std`, the root mean square distance to the mean embedding, at most 1
        for unit vectors; `effective_rank`, exp of the entropy of the normalised singular values of
        the centred embeddings (Roy and Vetterli, "The effective rank", EUSIPCO 2007). Values
        without any pairs are left out.

    Example:
        >>> square = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
        >>> spread = embedding_spread(square, np.array([0, 0, 1, 1]), margin=0.2)
        >>> {
        ...     name: round(value, 3) for name, value in spread.items()
        ... }  # doctest: +NORMALIZE_WHITESPACE
        {'embedding_std': 1.0, 'effective_rank': 2.0, 'positive_distance': 1.414,
         'negative_distance': 1.707, 'active_triplets': 0.5}
    """
    centred = embeddings.astype(np.float64)
    centred -= centred.mean(axis=0)
    gram = centred @ centred.T
    squared = np.diag(gram)
    singular = np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0.0))
    shares = singular[singular > 0] / max(singular.sum(), np.finfo(np.float64).tiny)
    spread = {
        "embedding_std": float(np.sqrt(squared.mean())),
        "effective_rank": float(np.exp(-np.sum(shares * np.log(shares)))),
    }
    if labels is None:
        return spread
    distances = np.sqrt(np.maximum(squared[:, None] + squared - 2.0 * gram, 0.0))
    same = labels[:, None] == labels
    positive = same & ~np.eye(len(labels), dtype=bool)
    if positive.any():
        spread["positive_distance"] = float(distances[positive].mean())
    if not same.all():
        spread["negative_distance"] = float(distances[~same].mean())
    active = triplets = 0
    for row, mates, others in zip(distances, positive, ~same, strict=True):
        negatives = np.sort(row[others])
        active += int(np.searchsorted(negatives, row[mates] + margin).sum())
        triplets += int(mates.sum()) * len(negatives)
    if triplets:
        spread["active_triplets"] = active / triplets
    return spread
