import importlib.util
import re

import numpy as np
import pytest

from keras_distill import InputError, build_searcher
from keras_distill.retrieval import backends
from keras_distill.retrieval.backends import check_backend, choose_backend


@pytest.fixture
def installed(monkeypatch):
    """Makes it look as if only some modules were installed."""

    def pretend(*names):
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: object() if name in names else None
        )

    return pretend


@pytest.mark.parametrize("backend", ["exact", "scann", "faiss"])
def test_backend_by_its_name(backend):
    assert build_searcher(np.eye(3), backend=backend).backend == backend


def test_auto(installed, clustered, monkeypatch):
    assert choose_backend(19_999) == "exact"
    assert choose_backend(20_000) == "scann"
    assert build_searcher(np.eye(3)).backend == "exact"
    monkeypatch.setattr(backends, "_APPROXIMATE_ROWS", 100)
    assert build_searcher(clustered(100, 4)).backend == "scann"
    installed("faiss")
    assert choose_backend(10**6) == "faiss"
    installed()
    assert choose_backend(10**6) == "exact"


def test_auto_searches_exactly_where_an_approximation_finds_too_little(caplog):
    rng = np.random.default_rng(0)
    line = rng.normal(size=(20_000, 1)).astype(np.float32)
    searcher = build_searcher(line)
    assert searcher.backend == "exact"
    (said,) = (record.getMessage() for record in caplog.records)
    assert re.fullmatch(r"scann finds only \d+ % of the 10 nearest here; .* exactly.", said)
    assert (
        build_searcher(line, backend="scann").search(line[:100], k=10, sample=100).agreement.share
        < 0.8
    )
    assert build_searcher(rng.normal(size=(20_000, 4))).backend == "scann"


def test_missing_packages_are_refused_with_the_remedy(installed):
    installed("faiss")
    with pytest.raises(InputError, match="`backend=scann` is not installed; its wheels are for"):
        check_backend("scann")
    installed("scann")
    with pytest.raises(InputError, match="is not installed; pip install faiss-cpu; or"):
        build_searcher(np.eye(3), backend="faiss")
    check_backend("auto")
    check_backend("exact")


@pytest.mark.parametrize(
    ("gallery", "backend", "message"),
    [
        (np.eye(3), "annoy", "`backend=annoy` is unknown; give auto, exact, scann, faiss"),
        (np.eye(3)[:0], "auto", "`gallery` has no rows"),
        (np.eye(3)[0], "auto", r"`gallery` has the shape \(3,\)"),
        (np.full((2, 2), np.inf), "scann", "`gallery` holds values that are not finite"),
    ],
)
def test_unusable_gallery_or_backend(gallery, backend, message):
    with pytest.raises(InputError, match=message):
        build_searcher(gallery, backend=backend)
