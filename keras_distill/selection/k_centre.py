"""K-centre greedy: the vectors that cover all others best."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_distill.errors import InputError
from keras_distill.selection.vector_blocks import ArrayBlocks, VectorBlocks

_POOL = 2**25  # numbers of the vectors that are kept in memory, 134 MB
_CENTRES = 256  # that a block is compared with at once


@dataclass(frozen=True, eq=False)
class Centres:
    """Vectors that were chosen one after the other.

    Attributes:
        rows: Their rows, int64 `(k,)`, in the order of their choice.
        distances: Euclidean distance of each from the nearest that was chosen or given before,
            float32 `(k,)`; infinity for a first one.
        radius: Largest distance of any vector from its nearest centre, after all were chosen.
        passes: How often all vectors were read.
    """

    rows: np.ndarray
    distances: np.ndarray
    radius: float
    passes: int


def k_centre(
    vectors: VectorBlocks | np.ndarray,
    count: int,
    *,
    given: np.ndarray | None = None,
    on_chosen: Callable[[int], object] = lambda count: None,
) -> Centres:
    """Chooses, again and again, the vector that is farthest from all that were chosen.

    The greedy 2-approximation of the k-centre problem (Gonzalez, 1985), as in Sener and Savarese,
    Active Learning for Convolutional Neural Networks: A Core-Set Approach (2018). It is exact. As
    distances from the nearest centre only fall, the next choice is among the vectors that were
    farthest in the last pass over all: these are kept in memory, and all others are read again when
    one of them may be farther. Memory is 134 MB, and 8 bytes for each vector, whatever its width.

    Args:
        vectors: The vectors, floats `(n, dim)`, or blocks of them, such as `ShardBlocks`.
        count: How many to choose; all others if there are fewer.
        given: Rows that are centres already, such as those of labelled images, integers `(g,)`;
            without them, the first choice is the vector nearest to the mean.
        on_chosen: Called with how many were chosen since, for progress.

    Returns:
        The centres.

    Raises:
        InputError: If `count` is not positive, or a vector is not finite.

    Example:
        >>> import numpy as np
        >>> line = np.array([[0.0], [1.0], [2.0], [10.0], [11.0]])
        >>> k_centre(line, 3, given=np.array([0])).rows.tolist()
        [4, 2, 1]
    """
    if count < 1:
        raise InputError(f"`count={count}` is not positive.")
    vectors = ArrayBlocks(vectors) if isinstance(vectors, np.ndarray) else vectors
    cover = _Cover(vectors)
    given = np.unique(np.asarray([] if given is None else given, np.int64))
    rows: list[int] = []
    distances: list[float] = []
    count = min(count, len(vectors) - len(given))
    if not len(given) and count:
        given = np.array([cover.nearest_to_mean()])
        rows, distances = given.tolist(), [np.inf]
        on_chosen(1)
    cover.add(given)
    while len(rows) < count:
        begun = len(rows)
        pool = _Pool(cover)
        while len(rows) < count and (choice := pool.farthest()) is not None:
            rows.append(choice[0])
            distances.append(choice[1])
        cover.add(np.array(rows[begun:], np.int64))
        on_chosen(len(rows) - begun)
    radius = float(np.sqrt(cover.near.max(initial=0.0)))
    return Centres(np.array(rows, np.int64), np.array(distances, np.float32), radius, cover.passes)


class _Cover:
    """The squared distance of each vector from its nearest centre; -1 of the centres."""

    def __init__(self, vectors: VectorBlocks):
        self.vectors = vectors
        self.lengths = np.zeros(len(vectors), np.float32)
        self.near = np.full(len(vectors), np.inf, np.float32)
        self.passes = 1
        sums: float | np.ndarray = 0.0
        for begin, block in vectors.blocks():
            self.lengths[begin : begin + len(block)] = np.einsum("ij,ij->i", block, block)
            sums = sums + block.sum(axis=0, dtype=np.float64)
        if not np.isfinite(self.lengths).all():
            raise InputError("`vectors` holds values that are not finite.")
        self._mean = np.asarray(sums, np.float32) / np.float32(max(1, len(vectors)))

    def nearest_to_mean(self) -> int:
        """Returns the row that is nearest to the mean."""
        squares = np.empty(len(self.vectors), np.float32)
        self.passes += 1
        for begin, block in self.vectors.blocks():
            part = slice(begin, begin + len(block))
            squares[part] = squared_distances(block, self.lengths[part], self._mean[None])
        return int(squares.argmin())

    def add(self, rows: np.ndarray) -> None:
        """Makes rows centres."""
        if len(rows):
            self.passes += 1
            centres = self.vectors.take(rows)
            for begin, block in self.vectors.blocks():
                part = slice(begin, begin + len(block))
                near = self.near[part]
                squares = squared_distances(block, self.lengths[part], centres)
                np.minimum(near, squares, out=near)
            self.near[rows] = -1


class _Pool:
    """The vectors that were farthest in the last pass, in memory."""

    def __init__(self, cover: _Cover):
        left = int((cover.near >= 0).sum())
        width = max(1, cover.vectors.take(np.zeros(1, np.int64)).shape[1])
        size = min(left, max(1, _POOL // width))
        order = np.argpartition(-cover.near, size - 1)
        # In their order, so that of equal distances the first row is chosen.
        self._rows = np.sort(order[:size])
        self._vectors = cover.vectors.take(self._rows)
        self._lengths = cover.lengths[self._rows]
        self._near = cover.near[self._rows]
        self._bound = float(cover.near[order[size:]].max(initial=-1.0))

    def farthest(self) -> tuple[int, float] | None:
        """Makes the vector that is farthest from all centres a centre.

        Returns:
            Its row, and its distance; `None` if a vector that is not here may be farther.
        """
        place = int(self._near.argmax())
        square = float(self._near[place])
        if square < max(self._bound, 0.0):
            return None
        centre = self._vectors[place : place + 1]
        squares = squared_distances(self._vectors, self._lengths, centre)
        np.minimum(self._near, squares, out=self._near)
        self._near[place] = -1
        return int(self._rows[place]), square**0.5


def squared_distances(block: np.ndarray, lengths: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Returns the squared distance of each vector from the nearest of some centres.

    Args:
        block: Vectors, float32 `(b, dim)`.
        lengths: Their squared lengths, float32 `(b,)`.
        centres: float32 `(k, dim)`.

    Returns:
        float32 `(b,)`, not below 0.
    """
    least = np.full(len(block), np.inf, np.float32)
    for begin in range(0, len(centres), _CENTRES):
        part = centres[begin : begin + _CENTRES]
        products = block @ part.T
        products *= -2
        products += np.einsum("ij,ij->i", part, part)
        np.minimum(least, products.min(axis=1), out=least)
    return np.maximum(least + lengths, 0)
