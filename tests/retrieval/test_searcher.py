import numpy as np
import pytest

from keras_distill import InputError, build_searcher
from keras_distill.retrieval import searcher as searcher_module
from keras_distill.retrieval.exact_search import nearest_neighbours
from keras_distill.retrieval.searcher import ExactSearcher, Searcher

BACKENDS = ["exact", "scann", "faiss"]


@pytest.fixture(scope="session", params=BACKENDS)
def searcher(request, clustered):
    return build_searcher(clustered(600, 24), backend=request.param)


def check(neighbours, queries, gallery, expected):
    """Compares with exact search, where rows at the same distance up to rounding may be swapped."""
    indices, distances = neighbours.indices, neighbours.distances
    assert (indices.dtype, distances.dtype) == (np.int64, np.float32)
    assert indices.shape == expected[0].shape
    assert (np.diff(np.sort(indices, axis=1), axis=1) > 0).all()
    true = np.square(queries[:, None].astype(np.float64) - gallery[indices]).sum(2)
    # The square of a distance is a difference of numbers near 2.
    np.testing.assert_allclose(true, np.square(expected[1]), atol=2e-6)
    np.testing.assert_allclose(np.square(distances), true, atol=2e-6)


@pytest.mark.parametrize("k", [1, 10, 600])
def test_other_queries(searcher, clustered, k):
    queries = clustered(50, 24, seed=1)
    expected = nearest_neighbours(queries, searcher.gallery, k=k)
    check(searcher.search(queries, k=k), queries, searcher.gallery, expected)


@pytest.mark.quick(4)
@pytest.mark.parametrize("k", [1, 10, 599, 1000])
def test_leave_one_out(searcher, k):
    gallery = searcher.gallery
    found = searcher.search(gallery, k=k, leave_one_out=True)
    check(found, gallery, gallery, nearest_neighbours(gallery, k=k))
    assert not (found.indices == np.arange(len(gallery))[:, None]).any()


def test_single_query_and_blocks_of_queries(searcher, monkeypatch):
    queries = searcher.gallery[:25]
    expected = nearest_neighbours(queries, searcher.gallery, k=4)
    one = searcher.search(queries[7:8], k=4)
    check(one, queries[7:8], searcher.gallery, (expected[0][7:8], expected[1][7:8]))
    monkeypatch.setattr(searcher_module, "_QUERY_BLOCK", 10)
    check(searcher.search(queries, k=4), queries, searcher.gallery, expected)


def test_vectors_of_any_length():
    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(300, 7)) * rng.uniform(0.1, 10, (300, 1))
    expected = nearest_neighbours(gallery, k=5)
    for backend in BACKENDS:
        found = build_searcher(gallery, backend=backend).search(gallery, k=5, leave_one_out=True)
        np.testing.assert_array_equal(found.indices, expected[0])
        np.testing.assert_allclose(found.distances, expected[1], rtol=1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_duplicates_are_at_distance_zero_and_in_order(backend, clustered):
    gallery = np.repeat(clustered(100, 16), 3, axis=0)
    found = build_searcher(gallery, backend=backend).search(gallery, k=3)
    np.testing.assert_array_equal(found.distances, 0)
    expected = np.arange(300)[:, None] // 3 * 3 + [0, 1, 2]
    np.testing.assert_array_equal(found.indices, expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_row(backend):
    found = build_searcher([[0.6, 0.8]], backend=backend).search([[1.0, 0.0], [0.6, 0.8]], k=3)
    assert found.indices.tolist() == [[0], [0]]
    np.testing.assert_allclose(found.distances, [[0.8**0.5], [0.0]], rtol=1e-5)


def test_all_but_exact_search_carry_their_agreement(searcher):
    agreement = searcher.search(searcher.gallery[:30], k=5, sample=8).agreement
    if searcher.backend == "exact":
        assert agreement is None
        return
    assert (agreement.share, agreement.queries, agreement.k) == (1.0, 8, 5)
    assert searcher.search(searcher.gallery[:30], k=5, sample=100).agreement.queries == 30
    assert searcher.search(searcher.gallery[:30], k=5, sample=0).agreement is None


class EveryOther(Searcher):
    """Finds even rows only, and of those as many as there are: a search that is starved."""

    backend = "every_other"

    def _squared(self, queries, k):
        even = np.arange(0, len(self.gallery), 2)
        squared = np.square(queries[:, None] - self.gallery[None, even]).sum(2)
        order = np.argsort(squared, axis=1)[:, :k]
        found, squared = even[order], np.take_along_axis(squared, order, 1)
        missing = ((0, 0), (0, k - found.shape[1]))
        return np.pad(found, missing, constant_values=-1), np.pad(squared, missing)


@pytest.mark.parametrize("leave_one_out", [False, True])
def test_agreement_is_the_share_of_the_exact_neighbours(clustered, leave_one_out):
    gallery = clustered(200, 8)
    starved = EveryOther(gallery)
    options = {"k": 10, "leave_one_out": leave_one_out}
    found = starved.search(gallery, sample=200, **options)
    exact = nearest_neighbours(gallery, gallery, **options)[0]
    share = np.mean([len({*a} & {*b}) / 10 for a, b in zip(found.indices, exact, strict=True)])
    assert found.agreement.share == pytest.approx(share)
    assert 0.3 < share < 0.7
    sampled = starved.search(gallery, sample=20, **options).agreement
    assert sampled.queries == 20
    assert sampled.share == pytest.approx(share, abs=0.2)


def test_single_queries_are_searched_exactly_now_and_then(clustered, monkeypatch):
    gallery = clustered(500, 8)
    starved, exactly = EveryOther(gallery), []
    nearest = ExactSearcher.nearest

    def spy(self, queries, *, k):
        exactly.extend(queries.tolist())
        return nearest(self, queries, k=k)

    monkeypatch.setattr(ExactSearcher, "nearest", spy)
    found = [starved.search(gallery[row : row + 1], k=10) for row in range(250)]
    assert exactly == gallery[[0, 100, 200]].tolist()
    assert [search.agreement.queries for search in found] == [1] * 100 + [2] * 100 + [3] * 50
    exact, _ = nearest_neighbours(gallery[[0, 100, 200]], gallery, k=10)
    shares = [np.isin(b, found[100 * i].indices).mean() for i, b in enumerate(exact)]
    assert found[-1].agreement.share == pytest.approx(np.mean(shares))
    assert starved.search(gallery[:30], k=10).agreement.queries == 3
    assert starved.search(gallery[:100], k=10).agreement.queries == 4  # 280 to 379
    assert starved.search(gallery[:1], k=3).agreement.queries == 1  # of another k
    assert len(exactly) == 5


@pytest.mark.parametrize("backend", ["exact", "faiss"])
@pytest.mark.parametrize("offset", [1e3, 1e5])
def test_far_from_the_origin(backend, offset):
    vectors = (np.random.default_rng(0).normal(size=(300, 16)) + offset).astype(np.float32)
    queries = vectors[:50] + np.float32(0.25)
    found = build_searcher(vectors, backend=backend).search(queries, k=5)
    squared = np.square(queries[:, None].astype(np.float64) - vectors).sum(2)
    expected = np.argsort(squared, axis=1, kind="stable")[:, :5]
    np.testing.assert_array_equal(found.indices, expected)
    np.testing.assert_allclose(
        found.distances**2, np.take_along_axis(squared, expected, 1), rtol=1e-5
    )
    one = build_searcher(vectors, backend=backend).search(queries[:1], k=5)
    np.testing.assert_array_equal(one.indices, expected[:1])


def test_few_exact_queries_load_no_tensorflow(run_python):
    code = """
import sys
import numpy as np
from keras_distill import build_searcher
print(build_searcher(np.eye(3)).search(np.eye(3), k=1).indices[:, 0], "tensorflow" in sys.modules)
"""
    assert run_python(code) == "[0 1 2] False\n"


def test_queries_for_which_too_few_rows_were_found_are_searched_exactly(clustered):
    gallery = clustered(40, 8)
    found = EveryOther(gallery).search(gallery, k=25, leave_one_out=True)
    check(found, gallery, gallery, nearest_neighbours(gallery, k=25))


@pytest.mark.parametrize(
    ("queries", "options", "message"),
    [
        (np.zeros((2, 3)), {"k": 1}, "`queries` has width 3, `gallery` 24"),
        (np.full((2, 24), np.nan), {"k": 1}, "`queries` holds values that are not finite"),
        (np.zeros((2, 24)), {"k": 0}, "`k=0` must be at least 1"),
        (np.zeros((0, 24)), {"k": 1}, "nothing to search: 0 queries, 600 gallery rows"),
        (np.zeros((2, 24)), {"k": 1, "leave_one_out": True}, "2 queries and 600 gallery rows"),
    ],
)
def test_unusable_queries(searcher, queries, options, message):
    with pytest.raises(InputError, match=message):
        searcher.search(queries, **options)
