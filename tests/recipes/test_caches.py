import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from keras_distill.errors import InputError
from keras_distill.recipes.caches import fill_caches
from keras_distill.settings import progress as work_progress
from keras_distill.settings.distill import DistillSettings

SETTINGS = DistillSettings(cache_max_gb=1.0)


class Slow:
    """A cache of 4 views of 5 images, of which each takes ten seconds."""

    def __init__(self, clock, missing=20, views=4, gb=0.5):
        self.clock, self.missing, self.views, self.gb = clock, missing, views, gb
        self.folder = "caches/abc"
        self.filled = []

    def check_space(self, max_gb, views):
        if self.gb > max_gb:
            raise InputError("too large")

    def prepare(self, views):
        self.prepared = views

    def missing_rows(self, views):
        return self.missing

    def nbytes(self, views):
        return int(1e9 * self.gb)

    def fill(self, views, on_rows):
        self.filled.append(views)
        for _ in range(self.missing):
            self.clock.now += 10
            on_rows(1)


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(work_progress.time, "monotonic", lambda: clock.now)
    return clock


def printed(caches, views=4, **options):
    console = Console(file=io.StringIO(), width=40, **options)
    fill_caches(caches, views, SETTINGS, console)
    return console.file.getvalue()


def test_lines_of_progress_where_no_bar_can_be_drawn(clock):
    lines = printed({"teacher": Slow(clock)}).splitlines()
    assert lines[0] == "teacher: 20 views to compute for the cache caches/abc (500 MB)"
    assert lines[1] == "teacher: 3 of 20 views, 0/s, 0:02:50 left"
    assert lines[-1] == "teacher: 18 of 20 views, 0/s, 0:00:20 left"
    assert len(lines) == 7


def test_a_bar_on_a_terminal(clock):
    text = printed({"teacher b": Slow(clock)}, force_terminal=True)
    assert "teacher b" in text
    assert "20/20" in text


def test_complete_and_clean_caches(clock):
    cache = Slow(clock, missing=0, views=None)
    assert printed({"teacher": cache}).splitlines() == [
        "teacher: --teacher_cache=clean is an approximation: the teacher sees the centre of each "
        "image, whatever crop the student sees.",
        "teacher: cache caches/abc (500 MB) is complete",
    ]
    assert cache.filled == []


def test_all_are_checked_before_any_is_filled(clock):
    caches = {"a": Slow(clock), "b": Slow(clock, gb=2)}
    with pytest.raises(InputError):
        printed(caches)
    assert caches["a"].filled == []


def test_each_is_filled_as_far_as_needed(clock):
    caches = {"a": Slow(clock), "b": Slow(clock, missing=0), "c": Slow(clock)}
    printed(caches, views=2)
    assert [cache.prepared for cache in caches.values()] == [2, 2, 2]
    assert [cache.filled for cache in caches.values()] == [[2], [], [2]]
