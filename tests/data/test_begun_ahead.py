import threading

import pytest

from keras_distill.data.begun_ahead import BegunAhead


def test_the_next_piece_is_begun_and_no_other():
    started, begun = [], threading.Semaphore(0)

    def start(piece):
        started.append(piece)
        for item in range(3):
            begun.release()
            yield (piece, item)

    with BegunAhead("abcd", start) as ahead:
        items = ahead.items("a")
        assert [begun.acquire(timeout=10) for _ in range(2)] == [True, True]
        assert started == ["a", "b"]
        assert list(items) == [("a", 0), ("a", 1), ("a", 2)]
        assert list(ahead.items("b")) == [("b", 0), ("b", 1), ("b", 2)]
        assert list(ahead.items("d")) == [("d", 0), ("d", 1), ("d", 2)]  # c is done elsewhere
    assert [piece for piece in started if piece != "c"] == ["a", "b", "d"]  # each once


def test_an_error_comes_with_its_piece():
    def start(piece):
        if piece == 2:
            raise OSError("unreadable")
        yield piece

    with BegunAhead([1, 2, 3], start) as ahead:
        assert list(ahead.items(1)) == [1]
        with pytest.raises(OSError, match="unreadable"):
            ahead.items(2)


def test_at_the_end_nothing_runs():
    threads = threading.active_count()
    with BegunAhead([1, 2], lambda piece: [piece]) as ahead:
        ahead.items(1)
    assert threading.active_count() == threads


def test_a_piece_may_be_empty():
    with BegunAhead([1, 2], lambda piece: []) as ahead:
        assert [list(ahead.items(piece)) for piece in (1, 2)] == [[], []]
