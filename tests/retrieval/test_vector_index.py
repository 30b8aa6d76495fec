import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from keras_distill import (
    InputError,
    add_to_index,
    build_index,
    delete_from_index,
    open_index,
    rebuild_index,
)
from keras_distill.retrieval import scann_search, vector_index
from keras_distill.retrieval.exact_search import nearest_neighbours
from keras_distill.retrieval.index_manifest import read_manifest

BACKENDS = ["exact", "scann", "faiss"]


@pytest.fixture(params=BACKENDS)
def changed(request, tmp_path, entries):
    """An index of 200 images, to which 60 were added, and from which 19 were deleted."""
    folder = tmp_path / "photos.index"
    build_index(folder, entries(200), embedder="one", backend=request.param)
    add_to_index(folder, entries(200, 230))
    delete_from_index(folder, ["class_0[0-3]/*", "class_59/*"])
    return add_to_index(folder, entries(230, 260))


def check(index, entries, queries, k):
    """Compares with exact search among what should be there."""
    rows = index.rows
    paths = np.array(index.paths(rows))
    everything = entries(300)
    place = {path: row for row, path in enumerate(everything.paths)}
    vectors = everything.vectors[[place[path] for path in paths]]
    np.testing.assert_array_equal(index.vectors(rows), vectors)
    np.testing.assert_array_equal(
        index.labels(rows), everything.labels[[place[path] for path in paths]]
    )
    found = index.search(queries, k=k)
    expected, distances = nearest_neighbours(queries, vectors, k=k)
    np.testing.assert_array_equal(found.indices, rows[expected])
    np.testing.assert_allclose(found.distances**2, distances**2, atol=2e-6)
    return found


@pytest.mark.parametrize("k", [1, 10])
def test_search_after_changes(changed, entries, k):
    assert len(changed) == 260 - 4 * 4 - 3
    queries = entries(300).vectors[::7]
    found = check(changed, entries, queries, k)
    if changed.backend == "exact":
        assert found.agreement is None
    else:
        assert (found.agreement.share, found.agreement.queries) == (1.0, 1)
        again = changed.search(np.repeat(queries, 5, axis=0), k=k)
        assert (again.agreement.share, again.agreement.queries) == (1.0, 3)
        assert changed.search(queries, k=k, sample=100).agreement.queries == len(queries)
        assert changed.search(queries, k=k, sample=5).agreement.queries == 5
        assert changed.search(queries, k=k, sample=0).agreement is None


def test_more_neighbours_than_images(changed, entries):
    indices = changed.search(entries(3).vectors, k=10_000).indices
    np.testing.assert_array_equal(np.sort(indices), [changed.rows] * 3)


def test_neighbours_that_were_all_deleted_make_place_for_the_next(tmp_path, entries):
    build_index(tmp_path / "i", entries(300), backend="scann")
    query = entries(1).vectors
    nearest = nearest_neighbours(query, entries(300).vectors, k=200)[0][0]
    index = delete_from_index(tmp_path / "i", list(entries(300).paths[nearest]))
    check(index, entries, query, 3)
    index = delete_from_index(tmp_path / "i", ["*"])
    assert len(index) == 0
    with pytest.raises(InputError, match="nothing to search: 1 queries, 0 images"):
        index.search(query, k=3)
    index = add_to_index(tmp_path / "i", entries(10, 20))
    check(index, entries, query, 3)


def test_starved_search_shows_in_the_agreement(tmp_path, clustered, entries, monkeypatch):
    monkeypatch.setattr(
        scann_search, "scann_settings", lambda rows: scann_search.ScannSettings(40, 1, 1, 1)
    )
    vectors = clustered(2000, 16)
    paths, labels = np.arange(2000).astype(str), np.zeros(2000, int)
    many = replace(entries(1), vectors=vectors, paths=paths, labels=labels)
    index = build_index(tmp_path / "i", many, backend="scann")
    assert 0 < index.manifest["agreement"]["share"] < 0.9
    found = index.search(vectors[:50], k=4, sample=50)
    exact, _ = nearest_neighbours(vectors[:50], vectors, k=4)
    share = np.mean([np.isin(b, a).mean() for a, b in zip(found.indices, exact, strict=True)])
    assert found.agreement.share == pytest.approx(share)
    assert share < 0.9


def test_it_answers_the_same_in_a_fresh_process_after_a_move(
    changed, entries, tmp_path, run_warm_python
):
    queries = entries(40).vectors
    before = changed.search(queries, k=4)
    (tmp_path / "elsewhere").mkdir()
    moved = tmp_path / "elsewhere" / "moved.index"
    changed.folder.rename(moved)
    copied = tmp_path / "copied.index"
    shutil.copytree(moved, copied, symlinks=False)
    np.save(tmp_path / "queries.npy", queries)
    program = """
import sys
import numpy as np
from keras_distill import open_index

queries = np.load(sys.argv[1])
for folder in sys.argv[2:]:
    found = open_index(folder).search(queries, k=4)
    print(found.indices.tolist(), found.distances.tolist(), sep=";")
"""
    expected = f"{before.indices.tolist()};{before.distances.tolist()}"
    printed = run_warm_python(program, tmp_path / "queries.npy", moved, copied).splitlines()
    assert printed[-2:] == [expected] * 2


def test_vectors_are_memory_mapped(changed):
    for part, mapped in zip(changed._parts, (True, False), strict=True):
        for column in (part.vectors, part.labels, part.ids):
            assert isinstance(column, np.memmap) == mapped  # a small file is read
            assert not (mapped and column.flags.writeable)


def test_large_files_of_a_few_added_parts_are_mapped_too(tmp_path, entries, monkeypatch):
    build_index(tmp_path / "i", entries(100), backend="scann")
    monkeypatch.setattr(vector_index, "_MAPPED_BYTES", 3000)
    monkeypatch.setattr(vector_index, "_MAPPED_PARTS", 2)
    for start, stop in ((100, 200), (200, 249)):
        index = add_to_index(tmp_path / "i", entries(start, stop))
    mapped = [isinstance(part.vectors, np.memmap) for part in index._parts]
    assert mapped == [True, True, False]
    assert not isinstance(index._parts[1].labels, np.memmap)
    check(index, entries, entries(300).vectors[::7], 5)


def test_opening_and_reading_load_no_tensorflow(changed, run_python):
    program = """
import sys
from keras_distill import open_index
index = open_index(sys.argv[1])
print(len(index), index.paths(index.rows[:1]), "tensorflow" in sys.modules)
"""
    assert run_python(program, changed.folder) == "241 ['class_04/4.jpg'] False\n"


def test_an_open_index_still_works_while_another_process_changes_it(changed, entries):
    queries = entries(300).vectors[::7]
    before = changed.search(queries, k=5)
    delete_from_index(changed.folder, ["class_1*"])
    after = changed.search(queries, k=5)
    np.testing.assert_array_equal(after.indices, before.indices)
    assert not np.array_equal(open_index(changed.folder).search(queries, k=5).indices, after)


def test_an_index_that_was_rebuilt_before_its_first_search_opens_again(changed, entries):
    queries = entries(300).vectors[::7]
    rebuild_index(changed.folder)
    first = changed.search(queries, k=5, embedder="one").indices
    if changed.backend == "scann":  # the others need no files but those that are mapped
        assert (len(changed), changed.total, changed.loose) == (241, 241, 0)
    np.testing.assert_array_equal(check(changed, entries, queries, 5).indices, first)


def test_an_index_that_opens_again_compares_models_again(tmp_path, entries):
    index = build_index(tmp_path / "i", entries(100), embedder="one", backend="scann")
    build_index(tmp_path / "i", entries(50), embedder="two", backend="scann", overwrite=True)
    with pytest.raises(InputError, match="fingerprint one, not two"):
        index.search(entries(2).vectors, k=1, embedder="one")


# Another process changes it at each of these moments.
@pytest.mark.parametrize("moment", ["check_files", "IndexPart", "read_deleted"])
def test_opening_while_another_process_changes_it(changed, entries, monkeypatch, moment):
    original, changes = getattr(vector_index, moment), []

    def change(*arguments, **options):
        if len(changes) < 3:
            changes.append(changed.paths(changed.rows)[len(changes)])
            with monkeypatch.context() as patch:
                patch.setattr(vector_index, moment, original)
                rebuild_index(changed.folder)
                delete_from_index(changed.folder, changes[-1:])
        return original(*arguments, **options)

    monkeypatch.setattr(vector_index, moment, change)
    index = open_index(changed.folder)
    assert len(changes) == 3
    monkeypatch.undo()
    assert index.manifest == read_manifest(changed.folder)


def test_another_models_vectors_are_refused(changed, entries):
    with pytest.raises(InputError, match=r"model is not the one that .*fingerprint two, not one"):
        changed.search(entries(2).vectors, k=1, embedder="two")
    with pytest.raises(InputError, match=r"model is not the one .* or build another index"):
        changed.check_embedder(None)
    assert len(changed.search(entries(2).vectors, k=1, embedder="one").indices) == 2


@pytest.mark.parametrize(
    ("queries", "k", "message"),
    [
        (np.zeros((2, 15)), 1, r"`queries` has width 15, the index '.*photos.index' 16; both must"),
        (np.zeros(16), 1, r"`queries` has the shape \(16,\)"),
        (np.full((2, 16), np.nan), 1, "`queries` holds values that are not finite"),
        (np.zeros((2, 16)), 0, "`k=0` must be at least 1"),
        (np.zeros((0, 16)), 1, "nothing to search: 0 queries, 241 images"),
    ],
)
def test_unusable_queries(changed, queries, k, message):
    with pytest.raises(InputError, match=message):
        changed.search(queries, k=k)


def test_names_of_images_in_another_folder(changed):
    assert changed.named(np.array(["a/1.jpg"]), Path("/photos/mine")).tolist() == ["a/1.jpg"]
    other = changed.named(np.array(["a/1.jpg"]), Path("/photos/more"))
    assert other.tolist() == ["../more/a/1.jpg"]
    known = np.array(["class_04/4.jpg", "class_00/0.jpg", "../more/a/1.jpg"])
    assert changed.lacks(known).tolist() == [False, True, True]
