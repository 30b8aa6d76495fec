import os
import signal
import subprocess
import sys
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
from keras_distill.retrieval import backends, index_changes, vector_index


@pytest.fixture
def folder(tmp_path, entries):
    build_index(tmp_path / "photos.index", entries(100), embedder="one", backend="exact")
    return tmp_path / "photos.index"


def paths(folder):
    index = open_index(folder)
    return index.paths(index.rows)


def parts(folder):
    return sorted(path.name for path in folder.iterdir() if path.name[0] != ".")


def test_building_again_needs_overwrite(folder, entries):
    with pytest.raises(InputError, match=r"holds an index already; .* pass `overwrite=True`"):
        build_index(folder, entries(5))
    assert len(open_index(folder)) == 100
    index = build_index(folder, entries(50, 60), embedder="two", overwrite=True)
    assert paths(folder) == entries(50, 60).paths.tolist()
    assert index.manifest["embedder"] == "two"
    assert parts(folder) == ["manifest.json", "part-0002"]


def test_images_that_are_there_are_passed_over(folder, entries):
    index = add_to_index(folder, entries(90, 110), embedder="one")
    assert paths(folder) == entries(110).paths.tolist()
    again = add_to_index(folder, entries(110))
    assert again.manifest == index.manifest
    delete_from_index(folder, ["class_00/0.jpg"])
    add_to_index(folder, entries(110))
    assert paths(folder) == [*entries(1, 110).paths, "class_00/0.jpg"]


def test_images_of_another_folder_and_of_new_classes(folder, entries):
    more = replace(
        entries(3),
        paths=np.array(["new/1.jpg", "class_01/1.jpg", "loose.jpg"]),
        labels=np.array([1, 0, -1]),
        class_names=("class_01", "new"),
        root=Path("/photos/more"),
    )
    index = add_to_index(folder, more)
    rows = index.rows[-3:]
    assert index.paths(rows) == [
        "../more/new/1.jpg",
        "../more/class_01/1.jpg",
        "../more/loose.jpg",
    ]
    assert index.class_names == (*entries(1).class_names, "new")
    assert index.labels(rows).tolist() == [60, 1, -1]
    index = rebuild_index(folder)
    assert index.paths(index.rows[-1:]) == ["../more/loose.jpg"]
    assert index.labels(index.rows[-3:]).tolist() == [60, 1, -1]


def test_delete_by_path_and_by_pattern(folder, entries):
    index = delete_from_index(folder, ["class_01/1.jpg", "class_0[23]/*", "class_02/2.jpg"])
    gone = {"class_01/1.jpg", "class_02/2.jpg", "class_02/62.jpg", "class_03/3.jpg"}
    gone.add("class_03/63.jpg")
    assert set(entries(100).paths) - set(paths(folder)) == gone
    assert (len(index), index.loose) == (95, 5)
    for pattern in ("class_01/1.jpg", "class_02/*", "nothing"):
        with pytest.raises(InputError, match=r"`patterns=.*` matches no image"):
            delete_from_index(folder, ["class_05/5.jpg", pattern])
    assert len(open_index(folder)) == 95


def test_path_that_looks_like_a_pattern(folder, entries):
    odd = replace(entries(100, 102), paths=np.array(["a[1].jpg", "a1.jpg"]))
    add_to_index(folder, odd)
    delete_from_index(folder, ["a[1].jpg"])
    assert paths(folder)[-1] == "a1.jpg"


def test_paths_of_any_alphabet(tmp_path, entries):
    names = ["größe/ä.jpg", "鳥/一.jpg", "a b/c.jpg"]
    build_index(tmp_path / "i", replace(entries(3), paths=np.array(names)))
    assert paths(tmp_path / "i") == names


def test_rebuild_is_required_at_the_limit(folder, entries, monkeypatch):
    monkeypatch.setattr(vector_index, "LEAST_LOOSE_ROWS", 20)
    rebuild_index(folder, backend="scann")
    assert open_index(folder).most_loose == 20
    add_to_index(folder, entries(100, 115))
    delete_from_index(folder, [f"class_0{n}/{n}.jpg" for n in range(5)])
    before = open_index(folder).manifest
    for change in (
        lambda **options: add_to_index(folder, entries(119, 120), **options),
        lambda **options: delete_from_index(folder, ["class_06/6.jpg"], **options),
    ):
        message = "would hold 21 images added or deleted since it was built, more than 20; add `re"
        with pytest.raises(InputError, match=message):
            change()
        assert open_index(folder).manifest == before
    index = add_to_index(folder, entries(119, 121), rebuild=True)
    assert (len(index), index.loose) == (112, 0)
    assert paths(folder) == [*entries(5, 115).paths, *entries(119, 121).paths]
    assert parts(folder) == ["manifest.json", "part-0005"]
    index = delete_from_index(folder, ["class_1*"], rebuild=True)
    assert index.loose == 0
    assert not any(path.startswith("class_1") for path in paths(folder))
    assert len(index) == 112 - 20


def test_an_index_that_is_searched_exactly_takes_any_number(folder, entries, monkeypatch):
    monkeypatch.setattr(vector_index, "LEAST_LOOSE_ROWS", 20)
    for start in range(100, 300, 50):
        index = add_to_index(folder, entries(start, start + 50))
    assert (len(index), index.loose, index.most_loose) == (300, 0, 30)
    assert paths(folder) == entries(300).paths.tolist()
    check_nearest(index, entries(300).vectors)
    delete_from_index(folder, ["class_0[0-5]/*"])
    with pytest.raises(
        InputError, match=r"would hold 35 images .* more than 30; add `rebuild=True`"
    ):
        delete_from_index(folder, ["class_59/*"])


@pytest.mark.parametrize("asked", ["auto", "exact"])
def test_auto_requires_a_rebuild_once_it_would_not_search_exactly(
    tmp_path, entries, monkeypatch, asked
):
    monkeypatch.setattr(vector_index, "LEAST_LOOSE_ROWS", 20)
    build_index(tmp_path / "i", entries(50), backend=asked)
    monkeypatch.setattr(backends, "_APPROXIMATE_ROWS", 100)
    add_to_index(tmp_path / "i", entries(120))
    if asked == "exact":
        assert len(add_to_index(tmp_path / "i", entries(150))) == 150
        return
    with pytest.raises(InputError, match="add `rebuild=True`"):
        add_to_index(tmp_path / "i", entries(150))
    index = add_to_index(tmp_path / "i", entries(150), rebuild=True)
    assert (index.backend, len(index)) == ("scann", 150)


def check_nearest(index, vectors):
    """Each of the vectors, in the order of the rows, is its own nearest."""
    np.testing.assert_array_equal(index.vectors(index.rows), vectors)
    found = index.search(vectors, k=1).indices[:, 0]
    np.testing.assert_array_equal(found, index.rows)


@pytest.mark.parametrize("backend", ["exact", "scann"])
def test_images_that_are_added_one_by_one_are_merged(tmp_path, entries, few_files, backend):
    folder = tmp_path / "i"
    build_index(folder, entries(100), backend=backend).search(entries(1).vectors, k=1)
    delete_from_index(folder, ["class_00/0.jpg"])
    with few_files(40):
        for row in range(100, 170):
            if row == 135:  # from now on in a part that is merged again
                delete_from_index(folder, [str(entries(101, 102).paths[0])])
            index = add_to_index(folder, entries(row, row + 1))
            sizes = [part["rows"] for part in index.manifest["parts"]]
            later = np.cumsum(sizes[::-1])[::-1][1:]
            assert (np.array(sizes[:-1]) >= 2 * later).all() or sizes[0] == 100
        index = open_index(folder)
        assert len(index.manifest["parts"]) <= 1 + 7
        assert index.rows.tolist() == [*range(1, 101), *range(102, 170)]
        left = [*entries(1, 101).paths, *entries(102, 170).paths]
        assert index.paths(index.rows) == left
        vectors = entries(170).vectors[index.rows]
        check_nearest(index, vectors)
        check_nearest(rebuild_index(folder), vectors)
    assert len(parts(folder)) == 2


def test_an_index_of_very_many_parts_is_read_and_changed(tmp_path, entries, few_files, monkeypatch):
    folder = tmp_path / "i"
    build_index(folder, entries(100), backend="scann").search(entries(1).vectors, k=1)
    with monkeypatch.context() as patch:  # as older versions added to it
        patch.setattr(index_changes, "unmerged_parts", lambda rows, more, first: len(rows))
        for row in range(100, 140):
            add_to_index(folder, entries(row, row + 1))
    assert len(open_index(folder).manifest["parts"]) == 41
    with few_files(40):
        check_nearest(open_index(folder), entries(140).vectors)
        index = add_to_index(folder, entries(140, 141))
        assert [part["rows"] for part in index.manifest["parts"]] == [100, 41]
        check_nearest(index, entries(141).vectors)
        assert len(delete_from_index(folder, ["class_00/*"])) == 138
        check_nearest(rebuild_index(folder), entries(141).vectors[index.labels(index.rows) > 0])


@pytest.mark.parametrize("more", [0, 1, 2, 4])
def test_too_many_open_files_are_no_damage(folder, entries, few_files, more):
    before = open_index(folder).manifest
    with few_files(more):
        for change in (
            lambda: open_index(folder),
            lambda: add_to_index(folder, entries(100, 101)),
            lambda: rebuild_index(folder),
        ):
            with pytest.raises(InputError, match="Too many open files") as error:
                change()
            assert "damaged" not in str(error.value)
    assert open_index(folder).manifest == before


def test_limit_of_a_large_index_is_a_tenth(folder, monkeypatch):
    index = open_index(folder)
    assert index.most_loose == 1000
    index._starts = np.array([0, 50_000])
    assert index.most_loose == 5000


def test_rebuild_with_another_backend(folder, entries):
    delete_from_index(folder, ["class_00/*"])
    index = rebuild_index(folder, backend="scann")
    assert (index.backend, index.manifest["embedder"], len(index)) == ("scann", "one", 98)
    assert index.search(entries(100).vectors, k=3).agreement.share == 1.0
    with pytest.raises(InputError, match="no image would be left"):
        delete_from_index(folder, ["*"], rebuild=True)
    assert len(open_index(folder)) == 98


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: replace(e, vectors=e.vectors[:, :8]), "vectors` has width 8, the index"),
        (lambda e: replace(e, vectors=e.vectors * np.nan), "vectors` holds values that are not"),
        (lambda e: replace(e, paths=e.paths[:4]), "5 vectors, 4 paths and 5 labels"),
        (lambda e: replace(e, paths=e.paths[[0, 1, 2, 3, 3]]), "holds 'class_43/103.jpg' twice"),
    ],
)
def test_entries_that_do_not_fit_are_refused(folder, entries, change, message):
    with pytest.raises(InputError, match=message):
        add_to_index(folder, change(entries(100, 105)))
    assert len(open_index(folder)) == 100


def test_another_models_vectors_are_refused(folder, entries):
    with pytest.raises(InputError, match="fingerprint two, not one"):
        add_to_index(folder, entries(100, 105), embedder="two")


def test_nothing_cannot_be_an_index(tmp_path, entries):
    with pytest.raises(InputError, match="no image would be left in"):
        build_index(tmp_path / "i", entries(0))
    assert not (tmp_path / "i" / "manifest.json").exists()


# Full disks and killed processes


@pytest.mark.parametrize("backend", ["exact", "scann"])
def test_full_disk_leaves_the_old_index(tmp_path, clustered, entries, small_disk, backend):
    vectors = clustered(2000, 16)  # 128 kB, where a file may have 64
    many = replace(
        entries(1), vectors=vectors, paths=np.arange(2000).astype(str), labels=np.zeros(2000, int)
    )
    with small_disk(), pytest.raises(InputError, match="could not be written"):
        build_index(tmp_path / "i", many, backend=backend)
    assert parts(tmp_path / "i") == []
    build_index(tmp_path / "i", entries(100), backend=backend)
    with small_disk():
        for change in (
            lambda: build_index(tmp_path / "i", many, overwrite=True, backend=backend),
            lambda: add_to_index(tmp_path / "i", replace(many, vectors=vectors), rebuild=True),
        ):
            with pytest.raises(InputError, match="could not be written"):
                change()
            assert len(open_index(tmp_path / "i")) == 100
            assert parts(tmp_path / "i") == ["manifest.json", "part-0001"]


WORKER = """
import os, signal, sys
from pathlib import Path

import numpy as np

from keras_distill import IndexEntries, add_to_index, build_index, delete_from_index

change, folder, die_at = sys.argv[1], Path(sys.argv[2]), sys.argv[3]


def dying(owner, name):
    function = getattr(owner, name)
    calls = 0

    def call(*arguments, **options):
        nonlocal calls
        calls += 1
        if die_at == f"{name} {calls}":
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)

    setattr(owner, name, call)


for owner, name in (np, "save"), (os, "fsync"), (Path, "rename"), (Path, "replace"):
    dying(owner, name)
dying(Path, "unlink")
rng = np.random.default_rng(0)
names = np.array([f"new/{row}.jpg" for row in range(10)])
root = Path("/photos/mine")
entries = IndexEntries(rng.normal(size=(10, 16)), names, np.zeros(10, int), ("new",), root)
if change == "build":
    build_index(folder, entries, backend="exact", overwrite=True)
elif change == "add":
    add_to_index(folder, entries)
elif change == "rebuild":
    add_to_index(folder, entries, rebuild=True)
else:
    delete_from_index(folder, ["class_00/*"])
assert "tensorflow" not in sys.modules
print("done")
"""


def start(*arguments):
    return subprocess.run(
        [sys.executable, "-c", WORKER, *map(str, arguments)], capture_output=True, text=True
    )


# Before each `replace` of the manifest the old index counts, and the new one after it.
@pytest.mark.quick(5)
@pytest.mark.parametrize(
    ("change", "die_at", "new"),
    [
        ("build", "save 1", False),
        ("build", "save 3", False),
        ("build", "fsync 2", False),
        ("build", "rename 1", False),
        ("build", "replace 1", False),
        ("build", "unlink 1", True),
        ("add", "save 2", False),
        ("add", "rename 1", False),
        ("add", "fsync 4", False),
        ("add", "replace 1", False),
        ("add", "unlink 1", True),
        ("rebuild", "replace 1", False),
        ("rebuild", "unlink 1", True),
        ("delete", "save 1", False),
        ("delete", "replace 1", False),
        ("delete", "replace 2", False),
        ("delete", "unlink 2", True),
    ],
)
def test_killed_at_any_moment_it_is_the_old_index_or_the_new_one(
    folder, entries, change, die_at, new
):
    old = paths(folder)
    added = [f"new/{row}.jpg" for row in range(10)]
    changed = {
        "build": added,
        "add": old + added,
        "rebuild": old + added,
        "delete": [path for path in old if not path.startswith("class_00/")],
    }[change]
    killed = start(change, folder, die_at)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert paths(folder) == (changed if new else old)
    if not new:
        again = start(change, folder, "never")
        assert (again.returncode, again.stdout) == (0, "done\n"), again.stderr
        assert paths(folder) == changed
    add_to_index(folder, entries(100, 105))
    assert paths(folder)[-5:] == entries(100, 105).paths.tolist()
    named = {"manifest.json", *(part["name"] for part in open_index(folder).manifest["parts"])}
    assert set(parts(folder)) <= named | {open_index(folder).manifest["deleted"]}
    assert not list(folder.glob(".tmp-*"))


def test_a_killed_first_build_leaves_no_index(tmp_path):
    folder = tmp_path / "i"
    assert start("build", folder, "replace 1").returncode == -signal.SIGKILL
    with pytest.raises(InputError, match="holds no index"):
        open_index(folder)
    assert start("build", folder, "never").stdout == "done\n"
    assert len(open_index(folder)) == 10
    assert parts(folder) == ["manifest.json", "part-0001"]


def test_a_folder_that_cannot_be_written(tmp_path, entries):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        build_index(tmp_path / "file" / "i", entries(5))
    assert os.listdir(tmp_path) == ["file"]
