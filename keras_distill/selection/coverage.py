"""Coverage: the vectors to which all others are near on average."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_distill.errors import InputError
from keras_distill.selection.vector_blocks import ArrayBlocks, VectorBlocks

_SAMPLE = 2**14  # vectors that stand for all others, if there are more
_OF_BUDGET = 4  # at least as many for each choice
_BATCH = 32  # candidates whose gain is computed at once


@dataclass(frozen=True, eq=False)
class Covering:
    """Vectors that were chosen one after the other.

    Attributes:
        rows: Their rows, int64 `(k,)`, in the order of their choice.
        mean_distances: Mean distance of all vectors from the nearest that was chosen or given,
            after each choice, float64 `(k,)`.
        sample: How many vectors stood for all.
    """

    rows: np.ndarray
    mean_distances: np.ndarray
    sample: int


def best_covering(
    vectors: VectorBlocks | np.ndarray,
    count: int,
    *,
    given: np.ndarray | None = None,
    seed: int = 0,
    on_chosen: Callable[[int], object] = lambda count: None,
) -> Covering:
    """Chooses, again and again, the vector that lowers the mean distance to the nearest most.

    The greedy (1 - 1/e)-approximation of facility location (Nemhauser, Wolsey, Fisher, 1978), with
    Minoux' lazy evaluation: a gain only falls, so that most need not be computed again. Unlike
    `k_centre`, which chooses the odd ones first, it chooses one of each crowd. Of more than 16,384
    vectors, and four for each choice, a sample stands for all, and is chosen from.

    Args:
        vectors: The vectors, floats `(n, dim)`, or blocks of them, such as `ShardBlocks`.
        count: How many to choose; all others if there are fewer.
        given: Rows that are chosen already, such as those of labelled images, integers `(g,)`.
        seed: Seed of the sample.
        on_chosen: Called with how many were chosen since, for progress.

    Returns:
        The choice.

    Raises:
        InputError: If `count` is not positive, or a vector is not finite.

    Example:
        >>> import numpy as np
        >>> line = np.array([[0.0], [1.0], [2.0], [9.0], [10.0], [99.0]])
        >>> best_covering(line, 3).rows.tolist()
        [2, 5, 3]
    """
    if count < 1:
        raise InputError(f"`count={count}` is not positive.")
    vectors = ArrayBlocks(vectors) if isinstance(vectors, np.ndarray) else vectors
    given = np.unique(np.asarray([] if given is None else given, np.int64))
    others = np.setdiff1d(np.arange(len(vectors)), given)
    count = min(count, len(others))
    size = min(len(others), max(_SAMPLE, _OF_BUDGET * count))
    if size < len(others):
        others = np.sort(np.random.default_rng(seed).choice(others, size, replace=False))
    sample = vectors.take(others)
    if not np.isfinite(sample).all():
        raise InputError("`vectors` holds values that are not finite.")
    gains = _Gains(sample)
    for begin in range(0, len(given), _BATCH):
        gains.cover(vectors.take(given[begin : begin + _BATCH]))
    places: list[int] = []
    means: list[float] = []
    while len(places) < count:
        places.append(gains.choose())
        means.append(gains.mean_distance)
        on_chosen(1)
    return Covering(others[np.array(places, np.int64)], np.array(means), len(sample))


class _Gains:
    """How much each vector would lower the sum of the distances, if it were chosen next."""

    def __init__(self, vectors: np.ndarray):
        self._vectors = vectors
        self._lengths = np.einsum("ij,ij->i", vectors, vectors)
        # No choice yet: as far as two vectors can be apart at most.
        farthest = 2 * float(np.sqrt(self._lengths.max(initial=0.0)))
        self._near = np.full(len(vectors), farthest, np.float32)
        self._bounds = np.full(len(vectors), np.inf)
        self._is_exact = np.zeros(len(vectors), bool)

    @property
    def mean_distance(self) -> float:
        """Mean distance from the nearest choice."""
        return float(self._near.mean(dtype=np.float64))

    def cover(self, centres: np.ndarray) -> None:
        """Takes vectors `(k, dim)` as chosen."""
        np.minimum(self._near, self._distances(centres).min(axis=1), out=self._near)
        self._is_exact[:] = False

    def choose(self) -> int:
        """Chooses the vector of the largest gain, and returns its place."""
        while not self._is_exact[best := int(self._bounds.argmax())]:
            stale = np.where(self._is_exact, -np.inf, self._bounds)
            count = min(_BATCH, len(stale))
            batch = np.argpartition(-stale, count - 1)[:count]
            batch = batch[stale[batch] > -np.inf]  # neither chosen nor exact
            lowered = self._near[:, None] - self._distances(self._vectors[batch])
            self._bounds[batch] = np.maximum(lowered, 0).sum(axis=0, dtype=np.float64)
            self._is_exact[batch] = True
        self.cover(self._vectors[best : best + 1])
        self._bounds[best] = -np.inf
        return best

    def _distances(self, centres: np.ndarray) -> np.ndarray:
        """The distance of each vector from each of some, float32 `(n, k)`."""
        squares = self._vectors @ centres.T
        squares *= -2
        squares += np.einsum("ij,ij->i", centres, centres)
        squares += self._lengths[:, None]
        return np.sqrt(np.maximum(squares, 0, out=squares), out=squares)
