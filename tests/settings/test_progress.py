import io

from rich.console import Console

from keras_distill.settings import progress
from keras_distill.settings.progress import work_progress


def test_lines_tell_the_rate_since_the_last_one(monkeypatch):
    """As after a pause, which would hide that the work goes on faster."""
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    written = io.StringIO()
    with work_progress("teacher", 10_000, "views", Console(file=written)) as advance:
        for seconds, more in ((10, 100), (40, 100), (30, 0), (30, 0), (10, 3000), (40, 1000)):
            now += seconds
            advance(more)
    assert written.getvalue().splitlines() == [
        "teacher: 200 of 10000 views, 4/s, 0:40:50 left",
        "teacher: 3200 of 10000 views, 43/s, 0:02:39 left",
        "teacher: 4200 of 10000 views, 25/s, 0:03:52 left",
    ]
