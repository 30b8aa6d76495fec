import hypothesis
import hypothesis.extra.numpy
import hypothesis.strategies as st
import numpy as np
import pytest

from keras_distill import InputError
from keras_distill.retrieval.exact_search import nearest_neighbours, neighbour_blocks


def naive(queries, gallery, k):
    """One pair at a time; of rows at the same distance the lower index comes first."""
    leave_one_out = gallery is None
    gallery = queries if leave_one_out else gallery
    k = min(k, len(gallery) - leave_one_out)
    indices, distances = [], []
    for i, query in enumerate(queries.astype(np.float64)):
        found = []
        for j, row in enumerate(gallery.astype(np.float64)):
            if not (leave_one_out and i == j):
                found.append((np.sqrt(np.sum((query - row) ** 2)), j))
        found.sort()
        distances.append([distance for distance, _ in found[:k]])
        indices.append([j for _, j in found[:k]])
    return np.array(indices), np.array(distances)


def check(queries, gallery, k, **blocks):
    indices, distances = nearest_neighbours(queries, gallery, k=k, **blocks)
    expected_indices, expected_distances = naive(queries, gallery, k)
    assert indices.dtype == np.int64
    assert distances.dtype == np.float32
    np.testing.assert_array_equal(indices, expected_indices)
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-5, atol=1e-6)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("k", [1, 5, 59])
def test_leave_one_out(k):
    check(normal(60, 16), None, k)


@pytest.mark.parametrize("k", [1, 7, 40])
def test_a_separate_gallery(k):
    check(normal(25, 8), normal(40, 8, seed=1), k)


def test_a_gallery_keeps_rows_that_equal_a_query():
    vectors = normal(20, 4)
    indices, distances = nearest_neighbours(vectors, vectors, k=1)
    np.testing.assert_array_equal(indices[:, 0], range(20))
    np.testing.assert_array_equal(distances, 0)
    assert not (nearest_neighbours(vectors, k=1)[0][:, 0] == range(20)).any()


@pytest.mark.parametrize(("query_block", "gallery_block"), [(1024, 8192), (7, 5)])
def test_a_gallery_of_other_pictures_of_the_queries_leaves_each_its_own_out(
    query_block, gallery_block
):
    queries, gallery = normal(30, 4), normal(30, 4) + 0.01
    indices, _ = nearest_neighbours(
        queries,
        gallery,
        k=3,
        leave_one_out=True,
        query_block=query_block,
        gallery_block=gallery_block,
    )
    expected, _ = naive(queries, gallery, 30)
    for i in range(30):
        assert indices[i].tolist() == [j for j in expected[i] if j != i][:3]
    kept, _ = nearest_neighbours(queries, gallery, k=1)
    assert (kept[:, 0] == range(30)).any()


def test_leaving_out_needs_a_gallery_row_for_each_query():
    with pytest.raises(InputError, match="there are 4 queries and 5 gallery rows"):
        nearest_neighbours(normal(4, 3), normal(5, 3), k=1, leave_one_out=True)
    indices, _ = nearest_neighbours(normal(4, 3), normal(4, 3), k=9, leave_one_out=True)
    assert indices.shape == (4, 3)


# Small integers: distances are exact in float32 and full of ties.
grids = hypothesis.extra.numpy.arrays(
    np.float32, st.tuples(st.integers(2, 12), st.just(2)), elements=st.integers(-2, 2)
)


@hypothesis.settings(max_examples=60)
@hypothesis.given(grids, grids, st.integers(1, 14), st.integers(1, 13), st.integers(1, 13))
def test_ties_go_to_the_lower_index_whatever_the_blocks(
    queries, gallery, k, query_block, gallery_block
):
    blocks = {"query_block": query_block, "gallery_block": gallery_block}
    check(queries, None, k, **blocks)
    check(queries, gallery, k, **blocks)


@pytest.mark.parametrize("k", [1, 10, 700])
@pytest.mark.parametrize("gallery_block", [900, 2000, 32768])
def test_far_more_rows_than_neighbours_with_ties_at_the_last(k, gallery_block):
    # As many points as a grid of 9 x 9 has, so that each distance occurs dozens of times.
    gallery = np.random.default_rng(0).integers(-4, 5, (5000, 2)).astype(np.float32)
    gallery[1000:2000] = 0.0  # a class that lies together
    queries = np.concatenate([gallery[:20], normal(20, 2).round(1), np.zeros((1, 2), np.float32)])
    squared = np.square(queries[:, None].astype(np.float64) - gallery).sum(2)
    expected = np.argsort(squared.astype(np.float32), axis=1, kind="stable")[:, :k]
    indices, distances = nearest_neighbours(queries, gallery, k=k, gallery_block=gallery_block)
    found = np.take_along_axis(squared, indices, 1)
    np.testing.assert_allclose(distances**2, found, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(indices[:20], expected[:20])  # whose distances are exact
    np.testing.assert_array_equal(indices[-1], expected[-1])
    np.testing.assert_allclose(found, np.take_along_axis(squared, expected, 1), atol=1e-5)


def test_all_rows_identical():
    vectors = np.tile(normal(1, 64), (30, 1))
    indices, distances = nearest_neighbours(vectors, k=29, gallery_block=7)
    np.testing.assert_array_equal(distances, 0)
    for i in range(30):
        assert indices[i].tolist() == [j for j in range(30) if j != i]


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_duplicates_are_at_distance_zero_at_any_scale(scale):
    vectors = np.repeat(normal(40, 512), 2, axis=0) * np.float32(scale)
    indices, distances = nearest_neighbours(vectors, k=2, query_block=13, gallery_block=11)
    np.testing.assert_array_equal(indices[:, 0], np.arange(80) ^ 1)
    np.testing.assert_array_equal(distances[:, 0], 0)
    assert (distances[:, 1] > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("offset", [10.0, 1e3, 3e3, 1e5])
@pytest.mark.parametrize("rows", [5, 300])
def test_far_from_the_origin(offset, rows):
    vectors = normal(300, 16) + np.float32(offset) * normal(1, 16, seed=1)
    check(vectors[:rows] + np.float32(0.25), vectors, 7)
    check(vectors, None, 7, query_block=100, gallery_block=128)


def test_clusters_far_from_each_other():
    centres = 3e3 * normal(3, 16, seed=1)
    vectors = (normal(300, 16) + centres[np.arange(300) % 3]).astype(np.float32)
    check(vectors, None, 7)
    check(vectors[:100], vectors[100:], 7, query_block=33, gallery_block=64)
    check(vectors, None, 150)  # of another cluster too


def test_one_vector_far_from_all_others():
    vectors = normal(300, 16)
    vectors[17] += 1e6
    check(vectors, None, 7)


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_nearer_than_rounding(offset):
    vectors = np.repeat(normal(60, 16), 5, axis=0) + np.float32(offset)
    vectors += np.float32(1e-4 if not offset else 1e-3) * normal(300, 16, seed=1)
    check(vectors, None, 7)


def test_zero_vectors():
    vectors = np.concatenate([np.zeros((3, 4)), normal(4, 4)]).astype(np.float32)
    check(vectors, None, 6)
    check(np.zeros((2, 3), np.float32), None, 1)


@pytest.mark.parametrize(("query_block", "gallery_block"), [(1, 1), (7, 13), (100, 101), (99, 3)])
def test_blocks_of_any_size_find_the_same(query_block, gallery_block):
    queries, gallery = normal(100, 24), normal(101, 24, seed=1)
    blocks = {"query_block": query_block, "gallery_block": gallery_block}
    for arguments in [(queries, None), (queries, gallery)]:
        expected = nearest_neighbours(*arguments, k=10)
        found = nearest_neighbours(*arguments, k=10, **blocks)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)


def test_neighbour_blocks_cover_the_queries_in_order():
    vectors = normal(50, 8)
    expected = nearest_neighbours(vectors, k=3)
    blocks = list(neighbour_blocks(vectors, k=3, query_block=20))
    assert [np.arange(50)[rows].tolist() for rows, _, _ in blocks] == [
        [*range(20)],
        [*range(20, 40)],
        [*range(40, 50)],
    ]
    for rows, indices, distances in blocks:
        np.testing.assert_array_equal(indices, expected[0][rows])
        np.testing.assert_allclose(distances, expected[1][rows], rtol=1e-5)


def test_k_larger_than_the_gallery_returns_the_whole_gallery():
    assert nearest_neighbours(normal(5, 3), k=100)[0].shape == (5, 4)
    indices, _ = nearest_neighbours(normal(5, 3), normal(7, 3), k=100)
    np.testing.assert_array_equal(np.sort(indices), [range(7)] * 5)


def test_float64_and_lists_are_accepted():
    indices, distances = nearest_neighbours([[0.0], [1.0], [3.0]], k=1)
    assert indices.tolist() == [[1], [0], [1]]
    assert distances.tolist() == [[1.0], [1.0], [2.0]]


@pytest.mark.slow
def test_never_more_than_a_block_of_distances_in_memory(run_python):
    # In a process of its own, because the peak of this one is already high. Its ru_maxrss would
    # begin at that peak all the same; VmHWM does not.
    program = """
from pathlib import Path
import numpy as np
from keras_distill.retrieval.exact_search import nearest_neighbours

def peak():
    _, _, rest = Path("/proc/self/status").read_text().partition("VmHWM:")
    return int(rest.split()[0])

vectors = np.random.default_rng(0).normal(size=(12_000, 64)).astype(np.float32)
nearest_neighbours(vectors[:1100], k=10, query_block=256, gallery_block=1024)
before = peak()
nearest_neighbours(vectors, k=10, query_block=256, gallery_block=1024)
print((peak() - before) / before)
"""
    # The whole matrix alone takes 576 MB, as much as TensorFlow does.
    assert float(run_python(program)) < 0.3


@pytest.mark.parametrize(
    ("queries", "gallery", "k", "message"),
    [
        (normal(4, 3), normal(4, 2), 1, r"`queries` has width 3, `gallery` 2"),
        (normal(4), None, 1, r"`queries` has the shape \(4,\); it must be \(n, dim\)"),
        (normal(4, 3), normal(2, 2, 3), 1, r"`gallery` has the shape \(2, 2, 3\)"),
        (normal(4, 3) * np.nan, None, 1, r"`queries` holds values that are not finite"),
        (normal(4, 3), np.full((2, 3), np.inf), 1, r"`gallery` holds values that are not finite"),
        (normal(4, 3) * 1e20, None, 1, r"`queries` holds values that are too large"),
        (normal(4, 3), None, 0, r"`k=0` must be at least 1"),
        (
            normal(1, 3),
            None,
            1,
            r"nothing to search: 1 queries, 1 gallery rows, each query's own left out",
        ),
        (normal(0, 3), normal(2, 3), 1, r"nothing to search: 0 queries, 2 gallery rows\."),
        (normal(2, 3), normal(0, 3), 1, r"nothing to search: 2 queries, 0 gallery rows\."),
    ],
)
def test_unusable_arrays(queries, gallery, k, message):
    with pytest.raises(InputError, match=message):
        nearest_neighbours(queries, gallery, k=k)
