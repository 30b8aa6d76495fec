import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from keras_distill import InputError
from keras_distill.retrieval.exact_search import nearest_neighbours
from keras_distill.retrieval.scann_search import (
    ScannSearcher,
    ScannSettings,
    principal_directions,
    scann_settings,
)

ROWS, LEAVES = 3000, 55


@pytest.fixture(scope="session")
def vectors(clustered):
    return clustered(ROWS, 32)


@pytest.fixture(scope="session")
def tree(vectors):
    """A tree, which `scann_settings` would plant for larger galleries only."""
    return ScannSearcher(vectors, ScannSettings(LEAVES, 10))


def test_tree_finds_nearly_all_of_the_exact_neighbours(tree, vectors):
    found = tree.search(vectors, k=4, leave_one_out=True, sample=ROWS)
    exact, distances = nearest_neighbours(vectors, k=4)
    # ScaNN plants its tree at random: 60 of them found 0.999 or all, yet another one 0.998.
    assert (found.indices[:, 0] == exact[:, 0]).mean() > 0.995
    assert found.agreement.share > 0.99
    assert found.agreement.queries == ROWS
    same = found.indices == exact
    assert same.mean() > 0.98
    np.testing.assert_allclose(found.distances[same] ** 2, distances[same] ** 2, atol=2e-6)


def test_starved_search_says_so(vectors):
    starved = ScannSearcher(vectors, ScannSettings(LEAVES, 1, reorder=1, reorder_factor=1))
    found = starved.search(vectors, k=4, leave_one_out=True, sample=ROWS)
    exact, _ = nearest_neighbours(vectors, k=4)
    share = np.mean([np.isin(b, a).mean() for a, b in zip(found.indices, exact, strict=True)])
    assert found.agreement.share == pytest.approx(share)
    assert found.agreement.share < 0.8


def test_more_neighbours_than_the_leaves_hold(tree, vectors):
    found = tree.search(vectors[:20], k=ROWS - 1)
    assert found.agreement.share > 0.999
    _, distances = nearest_neighbours(vectors[:20], vectors, k=ROWS - 1)
    np.testing.assert_allclose(found.distances**2, distances**2, atol=2e-6)
    few = ScannSearcher(vectors, ScannSettings(LEAVES, 1, reorder=1, reorder_factor=1))
    assert few.search(vectors[:20], k=500).agreement.share > 0.5
    assert (few.search(vectors[:20], k=500).indices >= 0).all()


def test_places_without_a_neighbour_name_no_row(vectors, monkeypatch):
    def too_few(queries, k, reorder, leaves):
        scores = np.zeros((len(queries), k), np.float32)
        scores[:, 2:] = np.nan  # as of ScaNN, whose indices are 0 there
        return np.zeros((len(queries), k), np.uint32), scores

    searcher = ScannSearcher(vectors, ScannSettings(LEAVES, 1, reorder=1, reorder_factor=1))
    monkeypatch.setattr(searcher, "_scann", SimpleNamespace(search_batched_parallel=too_few))
    indices, distances = searcher._squared(vectors[:3], 4)
    assert indices.tolist() == [[0, 0, -1, -1]] * 3
    assert np.isinf(distances).tolist() == [[False, False, True, True]] * 3


@pytest.mark.parametrize(("k", "leaves"), [(20, 2), (50, 5)])
def test_more_leaves_are_searched_for_more_neighbours(tree, vectors, tmp_path, k, leaves):
    np.save(tmp_path / "vectors.npy", vectors)
    tree.save(tmp_path / "scann")

    def search(leaves_to_search):  # the same tree
        settings = ScannSettings(LEAVES, leaves_to_search, reorder=1, reorder_factor=5)
        searcher = ScannSearcher(vectors, settings, assets=tmp_path / "scann")
        return searcher.search(vectors[:300], k=k, sample=300)

    # As many as hold 5 k rows, if each holds 55.
    found, expected, more = search(1), search(leaves), search(leaves + 1)
    np.testing.assert_array_equal(found.indices, expected.indices)
    assert more.agreement.share > found.agreement.share


def test_tree_on_vectors_of_any_length(vectors):
    lengths = np.random.default_rng(0).uniform(1, 2, (ROWS, 1)).astype(np.float32)
    tree = ScannSearcher(vectors * lengths, ScannSettings(LEAVES, 20))
    found = tree.search(vectors * lengths, k=4, leave_one_out=True, sample=500)
    assert found.agreement.share > 0.95
    exact, distances = nearest_neighbours(vectors * lengths, k=4)
    same = found.indices == exact
    np.testing.assert_allclose(found.distances[same], distances[same], rtol=1e-3)


@pytest.mark.parametrize("dim", [1, 3, 33])
def test_odd_widths(dim, clustered):
    vectors = clustered(500, dim)
    found = ScannSearcher(vectors, ScannSettings(20, 20)).search(vectors, k=3)
    _, distances = nearest_neighbours(vectors, vectors, k=3)
    np.testing.assert_allclose(found.distances**2, distances**2, atol=2e-6)


@pytest.mark.parametrize(
    "settings", [None, ScannSettings(LEAVES, 10), ScannSettings(LEAVES, 10, principal=16)]
)
def test_saved_assets_answer_the_same_after_a_move(tmp_path, vectors, settings, capfd):
    searcher = ScannSearcher(vectors, settings)
    (tmp_path / "here").mkdir()
    np.save(tmp_path / "here" / "vectors.npy", vectors)
    searcher.save(tmp_path / "here" / "scann")
    before = searcher.search(vectors[:100], k=5)
    (tmp_path / "here").rename(tmp_path / "there")
    folder = tmp_path / "there"
    stored = sum(f.stat().st_size for f in (folder / "scann").iterdir() if not f.is_symlink())
    assert stored < vectors.nbytes / 2  # the vectors lie on the disk once
    mapped = np.load(folder / "vectors.npy", mmap_mode="r")
    again = ScannSearcher(
        mapped, ScannSettings(**searcher.settings), assets=folder / "scann"
    ).search(vectors[:100], k=5)
    np.testing.assert_array_equal(again.indices, before.indices)
    np.testing.assert_array_equal(again.distances, before.distances)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("rows", [1, 10, 19_999, 20_000, 60_502, 1_000_000])
def test_settings_follow_the_documented_rule(rows):
    settings = scann_settings(rows)
    assert settings.num_leaves <= rows
    if rows < 20_000:
        assert settings.num_leaves == 0
        return
    assert settings.num_leaves == round(2 * rows**0.5)
    assert settings.leaves_to_search == -(-settings.num_leaves // 20)
    assert settings.reorder == 300
    assert scann_settings(rows, 64) == dataclasses.replace(settings, principal=64)


@pytest.mark.slow
def test_principal_directions_hold_nearly_all_of_the_vectors(clustered):
    rng = np.random.default_rng(0)
    assert principal_directions(rng.standard_normal((500, 64), np.float32)) == 0
    assert principal_directions(np.zeros((10, 64), np.float32)) == 8
    flat = np.zeros((20_000, 64), np.float32)
    flat[:, :20] = clustered(20_000, 20)
    turned = flat @ np.linalg.qr(rng.standard_normal((64, 64)))[0].astype(np.float32)
    searcher = ScannSearcher(turned)
    assert searcher.settings["principal"] == 24
    assert searcher.search(turned, k=4, sample=500).agreement.share > 0.95
    assert ScannSearcher(2 * turned).settings["principal"] == 0  # not of length 1


def test_few_principal_directions_still_find_the_nearest(vectors):
    found = ScannSearcher(vectors, ScannSettings(LEAVES, 10, principal=16)).search(
        vectors, k=4, leave_one_out=True, sample=ROWS
    )
    assert found.agreement.share > 0.95


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (ScannSettings(31, 3), "`num_leaves=31` is more than the gallery's 30 rows"),
        (ScannSettings(10, 11), "`leaves_to_search=11` must be from 1 to `num_leaves=10`"),
        (ScannSettings(10, 0), "`leaves_to_search=0` must be from 1"),
        (ScannSettings(10, 2, principal=5), "`principal=5` must be from 0 to the width .* 4"),
    ],
)
def test_settings_that_do_not_fit_are_refused(clustered, settings, message):
    with pytest.raises(InputError, match=message):
        ScannSearcher(clustered(30, 4), settings)


def test_principal_directions_need_rows_of_length_1(vectors):
    with pytest.raises(InputError, match="`principal=16` needs rows of length 1"):
        ScannSearcher(vectors * 2, ScannSettings(LEAVES, 10, principal=16))


def test_lengths_decide_between_dot_product_and_distance(vectors):
    by_dot = ScannSettings(principal=8)  # needs rows of length 1, squared to within 1e-4
    ScannSearcher(vectors[:100] * np.float32(1 + 4e-5), by_dot)
    with pytest.raises(InputError, match="needs rows of length 1"):
        ScannSearcher(vectors[:100] * np.float32(1 + 6e-5), by_dot)
    # The longer row has the larger dot product with the shorter, which is nearest to itself.
    angle = 6.3e-3
    longer = (1 + 6e-5) * np.array([np.cos(angle), np.sin(angle)])
    gallery = np.array([[1, 0], longer], np.float32)
    assert gallery[0] @ gallery[1] > 1
    assert ScannSearcher(gallery).search(gallery[:1], k=1).indices.tolist() == [[0]]


def test_settings_are_plain_values(tree):
    assert tree.settings == dataclasses.asdict(ScannSettings(LEAVES, 10))
    assert all(type(value) is int for value in tree.settings.values())


@pytest.mark.slow
def test_scann_is_imported_only_when_needed(run_python):
    code = """
import sys
import numpy as np
from keras_distill import build_searcher
import keras_distill.retrieval.scann_search
build_searcher(np.eye(3)).search(np.eye(3), k=1)
print("scann" in sys.modules)
build_searcher(np.eye(3), backend="scann").search(np.eye(3), k=1)
print("scann" in sys.modules)
"""
    assert run_python(code).split() == ["False", "True"]
