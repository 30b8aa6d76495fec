"""Pieces of work whose input is begun while the piece before them is worked at."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

Piece = TypeVar("Piece")


class BegunAhead(Generic[Piece]):
    """The items of pieces of work, of which the next piece's are begun in the background.

    To start a pipeline of tf.data takes as long as decoding hundreds of images. A context manager,
    at whose end nothing runs any longer.

    Args:
        pieces: The pieces in the order in which they are expected.
        start: Returns the items of a piece.

    Example:
        >>> with BegunAhead([1, 2], lambda piece: range(piece)) as ahead:
        ...     [list(ahead.items(piece)) for piece in (1, 2)]
        [[0], [0, 1]]
    """

    def __init__(self, pieces: Sequence[Piece], start: Callable[[Piece], Iterable[Any]]):
        self._after = dict(itertools.pairwise(pieces))
        self._start = start
        self._begun: dict[Piece, Future[Iterator[Any]]] = {}
        self._pool = ThreadPoolExecutor(1)

    def __enter__(self) -> "BegunAhead[Piece]":
        return self

    def __exit__(self, *error: Any) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._begun.clear()

    def items(self, piece: Piece) -> Iterator[Any]:
        """Returns the items of a piece, and begins those of the piece that is expected after it.

        Args:
            piece: Any of the pieces.

        Raises:
            Exception: Whatever `start` or its first item raises.
        """
        begun = self._begun.pop(piece, None)
        for other in self._begun.values():
            other.cancel()  # a piece that another process has taken
        self._begun.clear()
        items = self._begin(piece) if begun is None else begun.result()
        if (after := self._after.get(piece)) is not None:
            self._begun[after] = self._pool.submit(self._begin, after)
        return items

    def _begin(self, piece: Piece) -> Iterator[Any]:
        items = iter(self._start(piece))
        return itertools.chain(list(itertools.islice(items, 1)), items)
