import errno
import itertools
import json
import mmap
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from keras_distill.data import shard_store, shared_work
from keras_distill.data.shard_store import Shard, ShardStore
from keras_distill.errors import InputError

OUTPUTS = {"embedding": (3,), "map": (2, 2, 4)}
MANIFEST = {"teacher": "abc", "views": {"seed": 1, "least_area": 0.08}, "shape": (1, 2)}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(shard_store, "_SHARD_ROWS", 4)


@pytest.fixture
def open_store(tmp_path):
    def open_store(**options):
        arguments = {"rows": 10, "outputs": OUTPUTS, "manifest": MANIFEST}
        return ShardStore(tmp_path / "caches" / "one", **arguments | options)

    return open_store


def content(shard, outputs=OUTPUTS):
    rng = np.random.default_rng([shard.view, shard.rows.start])
    return {
        name: rng.normal(size=(len(shard.rows), *shape)).astype(np.float16)
        for name, shape in outputs.items()
    }


def fill(store, views):
    for shard in store.missing(range(views)):
        store.write(shard, content(shard, store.outputs))


def shards(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.npy"))


def test_shards_cover_each_view(open_store):
    store = open_store()
    assert store.missing(range(2)) == [
        Shard(view, rows) for view in range(2) for rows in (range(4), range(4, 8), range(8, 10))
    ]
    assert store.missing(range(0)) == []
    assert open_store().missing(range(3, 4))[0] == Shard(3, range(4))


@pytest.mark.parametrize(
    ("rows", "shape", "most_bytes", "sizes"),
    [
        (8, (3,), 2**20, [4, 4]),
        (3, (3,), 2**20, [3]),
        (5, (3,), 12, [2, 2, 1]),
        (3, (3,), 1, [1, 1, 1]),
    ],
)
def test_a_shard_is_limited_in_rows_and_bytes(
    tmp_path, monkeypatch, rows, shape, most_bytes, sizes
):
    monkeypatch.setattr(shard_store, "_SHARD_BYTES", most_bytes)
    store = ShardStore(tmp_path / "a", rows=rows, outputs={"a": shape}, manifest={})
    assert [len(shard.rows) for shard in store.missing(range(1))] == sizes


def test_row_bytes(open_store):
    assert open_store().row_bytes == 2 * 3 + 2 * 16
    assert open_store(outputs={"embedding": (1280,)}, manifest=MANIFEST).row_bytes == 2560


def test_rows_and_views_are_read_across_shards(open_store):
    store = open_store()
    fill(store, 3)
    whole = {
        name: np.stack(
            [
                np.concatenate(
                    [
                        content(Shard(view, range(start, min(start + 4, 10))))[name]
                        for start in (0, 4, 8)
                    ]
                )
                for view in range(3)
            ]
        )
        for name in OUTPUTS
    }
    rng = np.random.default_rng(0)
    rows, views = rng.integers(0, 10, 64), rng.integers(0, 3, 64)
    for reader in (store, open_store()):
        for name in OUTPUTS:
            answer = reader.read(name, rows, views)
            assert answer.dtype == np.float16
            np.testing.assert_array_equal(answer, whole[name][views, rows])
    none = np.zeros(0, np.int64)
    assert store.read("map", none, none).shape == (0, 2, 2, 4)


def test_what_was_written_is_not_missing(open_store):
    store, other = open_store(), open_store()
    shard = Shard(1, range(4, 8))
    assert not store.has(shard)
    store.write(shard, content(shard))
    for reader in (store, other, open_store()):
        assert reader.has(shard)
        assert shard not in reader.missing(range(2))
        assert len(reader.missing(range(2))) == 5


@pytest.mark.parametrize(
    ("row", "view", "said"), [(2, 0, "view 0 of row 2"), (5, 1, "view 1 of row 5")]
)
def test_reading_what_was_not_written(open_store, row, view, said):
    store = open_store()
    store.write(Shard(0, range(4, 8)), content(Shard(0, range(4, 8))))
    with pytest.raises(KeyError, match=f"{said} is not in .*one"):
        store.read("embedding", np.array([4, row]), np.array([0, view]))


def test_numbers_are_rounded_to_float16(open_store):
    store = open_store(outputs={"a": (2,)})
    shard = Shard(0, range(8, 10))
    vectors = np.array([[1 / 3, -2.0], [1e-3, 60000.0]])
    store.write(shard, {"a": vectors})
    answer = store.read("a", np.array([9, 8]), np.array([0, 0]))
    np.testing.assert_array_equal(answer, np.float16(vectors)[::-1])
    with pytest.raises(ValueError, match=r"a has shape \(2, 3\), not \(2, 2\)"):
        store.write(shard, {"a": np.zeros((2, 3))})
    with pytest.raises(ValueError, match=r"a has shape \(4, 2\), not \(2, 2\)"):
        store.write(shard, {"a": np.zeros((4, 2))})


def damage(path, kind):
    good = path.read_bytes()
    array = np.load(path)
    if kind == "absent":
        path.unlink()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "half":
        path.write_bytes(good[: len(good) // 2])
    elif kind == "last byte":
        path.write_bytes(good[:-1])
    elif kind == "only the header":
        path.write_bytes(good[: -array.nbytes])
    elif kind == "zeros":
        path.write_bytes(bytes(len(good)))
    elif kind == "float32":
        np.save(path, array.astype(np.float32))
    elif kind == "uint16":
        np.save(path, array.view(np.uint16))
    elif kind == "fewer rows":
        np.save(path, array[:-1])
    elif kind == "more rows":
        np.save(path, np.concatenate([array, array]))
    elif kind == "other width":
        np.save(path, array.reshape(len(array), -1)[:, :2])
    elif kind == "pickled":
        np.save(path, np.array([{}]), allow_pickle=True)
    elif kind == "zip":
        with path.open("wb") as file:
            np.savez(file, array)
    elif kind == "folder":
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize(
    "kind",
    [
        "absent",
        "empty",
        "half",
        "last byte",
        "only the header",
        "zeros",
        "float32",
        "uint16",
        "fewer rows",
        "more rows",
        "other width",
        "pickled",
        "zip",
        "folder",
    ],
)
def test_a_shard_that_is_not_whole_is_missing(open_store, kind, output):
    store = open_store()
    fill(store, 2)
    damage(store.folder / "view0001" / f"{output}-00000004.npy", kind)
    store = open_store()
    assert store.missing(range(2)) == [Shard(1, range(4, 8))]
    with pytest.raises(KeyError):
        store.read(output, np.array([5]), np.array([1]))
    if kind == "folder":
        return  # in the way of the next one, too
    fill(store, 2)
    expected = content(Shard(1, range(4, 8)))[output]
    answer = store.read(output, np.arange(4, 8), np.ones(4, np.int64))
    np.testing.assert_array_equal(answer, expected)


def test_a_header_with_a_wrong_byte_is_no_error_of_numpy(tmp_path):
    shard = Shard(0, range(3))
    store = ShardStore(tmp_path, rows=3, outputs={"a": (2,)}, manifest={})
    store.write(shard, content(shard, {"a": (2,)}))
    path = tmp_path / "view0000" / "a-00000000.npy"
    good = path.read_bytes()
    for place in range(len(good) - 12):
        for byte in (0x00, 0x28, 0x7B):
            path.write_bytes(good[:place] + bytes([byte]) + good[place + 1 :])
            reader = ShardStore(tmp_path, rows=3, outputs={"a": (2,)}, manifest={})
            if reader.has(shard):
                answer = reader.read("a", np.arange(3), np.zeros(3, np.int64))
                assert (answer.shape, answer.dtype) == ((3, 2), np.float16)


def test_cut_anywhere_a_shard_is_missing(tmp_path):
    shard = Shard(0, range(3))
    store = ShardStore(tmp_path, rows=3, outputs={"a": (2,)}, manifest={})
    store.write(shard, content(shard, {"a": (2,)}))
    path = tmp_path / "view0000" / "a-00000000.npy"
    good = path.read_bytes()
    for length in range(len(good)):
        path.write_bytes(good[:length])
        assert not ShardStore(tmp_path, rows=3, outputs={"a": (2,)}, manifest={}).has(shard)


# When writing fails


def full_at_fsync(monkeypatch):
    def fsync(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)


def full_at_save(monkeypatch):
    def save(file, array):
        file.write(b"half")
        raise OSError(f"{array.size} requested and 3 written")  # as NumPy has it, without errno

    monkeypatch.setattr(np, "save", save)


def full_by_device(monkeypatch):
    opened = Path.open

    def open_full(path, mode="r", *arguments):
        if mode == "wb":
            path.symlink_to("/dev/full")  # Linux: every write fails as on a full disk
        return opened(path, mode, *arguments)

    monkeypatch.setattr(Path, "open", open_full)


@pytest.mark.parametrize(
    ("fill_up", "reason"),
    [
        (full_at_fsync, "No space left on device"),
        (full_at_save, r"\d+ requested and 3 written"),
        (full_by_device, r"(No space left on device|\d+ requested and \d+ written)"),
    ],
)
def test_a_full_disk_leaves_the_other_shards_and_nothing_else(
    open_store, monkeypatch, fill_up, reason
):
    store = open_store()
    first, second, _ = store.missing(range(1))
    store.write(first, content(first))
    before = sorted(store.folder.rglob("*"))
    with monkeypatch.context() as patch:
        fill_up(patch)
        with pytest.raises(InputError, match=f"00000004.npy' could not be written .{reason}.*Free"):
            store.write(second, content(second))
    assert sorted(store.folder.rglob("*")) == before
    assert open_store().missing(range(1))[0] == second
    fill(store, 1)
    assert store.missing(range(1)) == []


def test_a_limit_on_the_size_of_files_is_an_error_too(open_store):
    store = open_store(outputs={"a": (4096,)})
    shard = Shard(0, range(4))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**13, hard))
    try:
        with pytest.raises(InputError, match="could not be written"):
            store.write(shard, content(shard, store.outputs))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert shards(store.folder) == []
    assert not store.has(shard)


def test_of_several_arrays_all_are_there_or_the_shard_is_missing(open_store, monkeypatch):
    store = open_store()
    shard = Shard(0, range(4))
    calls = []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(InputError):
            store.write(shard, content(shard))
    assert shards(store.folder) == ["view0000/embedding-00000000.npy"]
    assert not store.has(shard)
    store.write(shard, content(shard))
    assert store.has(shard)


def test_a_shard_has_its_name_only_when_it_is_on_the_disk(open_store, monkeypatch):
    store = open_store()
    shard = Shard(0, range(4))
    fsync, seen = os.fsync, []

    def spy(descriptor):
        (temporary,) = (path for path in store.folder.rglob("*.npy") if path.name[0] == ".")
        assert temporary.samefile(f"/proc/self/fd/{descriptor}")
        assert np.load(temporary).shape[0] == 4  # nothing is left in a buffer
        seen.append([path for path in shards(store.folder) if ".tmp" not in path])
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    store.write(shard, content(shard))
    assert seen == [[], ["view0000/embedding-00000000.npy"]]


def test_what_a_killed_process_left_is_no_shard(open_store):
    store = open_store()
    shard = Shard(0, range(4))
    store.write(shard, content(shard))
    for path in list(store.folder.rglob("*.npy")):
        path.rename(path.with_name(f".tmp-123-{path.name}"))
    assert not open_store().has(shard)


# Sharing


def test_shards_are_mapped_read_only_and_shared(open_store):
    fill(open_store(), 1)
    store = open_store()
    answer = store.read("map", np.arange(10), np.zeros(10, np.int64))
    before = answer.copy()
    answer[:] = 0  # a copy
    np.testing.assert_array_equal(store.read("map", np.arange(10), np.zeros(10, int)), before)
    maps = [
        line.split()[1]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if re.search(rf"{re.escape(str(store.folder))}.*map-.*\.npy$", line)
    ]
    assert maps
    assert set(maps) == {"r--s"}


def test_a_shard_is_mapped_once(open_store, monkeypatch):
    fill(open_store(), 1)
    store, opened = open_store(), []
    mapped = mmap.mmap

    def spy(descriptor, *arguments, **options):
        opened.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        return mapped(descriptor, *arguments, **options)

    monkeypatch.setattr(mmap, "mmap", spy)
    for _ in range(3):
        store.read("embedding", np.array([0, 9, 1]), np.zeros(3, int))
    assert opened == ["embedding-00000000.npy", "embedding-00000008.npy"]


def test_a_shard_that_was_written_again_is_mapped_again(open_store):
    fill(open_store(), 1)
    first = Shard(0, range(4))
    zeros = np.zeros(4, np.int64)
    before = open_store().read("map", np.arange(4), zeros)
    other = {name: array + 1 for name, array in content(first).items()}
    open_store().write(first, other)
    np.testing.assert_array_equal(open_store().read("map", np.arange(4), zeros), before + 1)


@pytest.mark.parametrize("how", ["unlink", "truncate"])
def test_a_shard_that_is_gone_again(open_store, how):
    fill(open_store(), 1)
    store = open_store()
    assert not store.missing(range(1))
    path = store.folder / "view0000" / "map-00000004.npy"
    path.unlink() if how == "unlink" else os.truncate(path, 0)
    with pytest.raises(KeyError, match="view 0 of row 5 is not in"):
        store.read("map", np.array([5]), np.array([0]))
    assert store.missing(range(1)) == [Shard(0, range(4, 8))]


# Limits on open files


def test_there_may_be_more_shards_than_files_may_be_open(open_store, few_files):
    options = {"rows": 200, "outputs": {"a": (2,)}}
    fill(open_store(**options), 1)  # 50 shards
    rows, asked = np.arange(200), []
    whole = open_store(**options).read("a", rows, np.zeros(200, np.int64))
    with few_files(5):
        store = open_store(**options)
        assert store.missing(range(1)) == []
        for _ in range(2):
            np.testing.assert_array_equal(store.read("a", rows, np.zeros(200, np.int64)), whole)
        store.fill(range(1), compute_and_log(asked))
    assert asked == []


def test_too_many_open_files_are_not_taken_for_shards_that_are_absent(open_store, few_files):
    fill(open_store(), 1)
    store, read, asked = open_store(), open_store(), []
    assert read.missing(range(1)) == []
    message = "could not be read .Too many open files.*Raise the limit of open files"
    with few_files(0):
        for action in (
            lambda: store.missing(range(1)),
            lambda: store.fill(range(1), compute_and_log(asked)),
            lambda: store.read("map", np.array([0]), np.array([0])),
            lambda: read.read("map", np.array([0]), np.array([0])),
        ):
            with pytest.raises(InputError, match=message):
                action()
    assert asked == []
    assert store.missing(range(1)) == []


def test_maps_leave_files_to_the_rest_of_the_process(tmp_path, run_python):
    program = """
import os, resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
import numpy as np
from keras_distill.data import shard_store

shard_store._SHARD_ROWS = 1
stores = [
    shard_store.ShardStore(Path(sys.argv[1]) / name, rows=100, outputs={"a": (2,)}, manifest={})
    for name in "abc"
]
for store in stores:
    store.fill(range(1), lambda shard: {"a": np.full((1, 2), shard.rows.start)})
    read = store.read("a", np.arange(100), np.zeros(100, np.int64))
    assert (read[:, 0] == range(100)).all()
print(len(os.listdir("/proc/self/fd")))
"""
    assert 16 <= int(run_python(program, tmp_path)) < 32


def test_lock_of_a_shard_is_its_own(open_store):
    one, other = open_store(), open_store()
    first, second, *_ = one.missing(range(1))
    with one.lock(first).acquire(blocking=False):
        with other.lock(second).acquire(blocking=False):
            pass
        with pytest.raises(TimeoutError), other.lock(first).acquire(blocking=False):
            pass
    with other.lock(first).acquire(blocking=False):
        pass


# Filling


def compute_and_log(asked):
    def compute(shard):
        asked.append(shard)
        return content(shard)

    return compute


def test_fill_computes_what_is_missing(open_store):
    store, asked, rows = open_store(), [], []
    store.write(Shard(1, range(4, 8)), content(Shard(1, range(4, 8))))
    missing = store.missing(range(2))
    store.fill(range(2), compute_and_log(asked), rows.append)
    assert asked == missing
    assert rows == []  # whoever computes reports by himself
    store.fill(range(2), compute_and_log(asked))
    open_store().fill(range(2), compute_and_log(asked))
    assert asked == missing
    store.fill(range(3), compute_and_log(asked))
    assert {shard.view for shard in asked[len(missing) :]} == {2}
    assert not list(store.folder.glob("*.lock"))


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_interrupted_it_goes_on_where_it_was(open_store, error):
    store, asked = open_store(), []

    def compute(shard):
        if len(asked) == 4:
            raise error
        return compute_and_log(asked)(shard)

    with pytest.raises(error):
        store.fill(range(2), compute)
    assert len(open_store().missing(range(2))) == 2
    open_store().fill(range(2), compute_and_log(asked))
    assert len(asked) == len(set(asked)) == 6


def test_it_waits_for_a_shard_that_another_one_computes(open_store, monkeypatch):
    monkeypatch.setattr(shared_work, "_SECONDS_BETWEEN_LOOKS", 0.01)
    store, other = open_store(), open_store()
    asked, rows, looks = [], [], []
    first, second, third = store.missing(range(1))
    lock = other.lock(second)

    def sleep(seconds):
        looks.append(seconds)
        assert store.missing(range(1)) == [second]  # all others come first
        if len(looks) == 2:
            other.write(second, content(second))
            lock.release()
            Path(lock.lock_file).unlink()

    monkeypatch.setattr(shared_work.time, "sleep", sleep)
    lock.acquire(blocking=False)
    store.fill(range(1), compute_and_log(asked), rows.append)
    assert asked == [first, third]
    assert (rows, len(looks)) == ([4], 2)


def test_it_takes_over_a_shard_whose_process_died(open_store, monkeypatch):
    store, other, asked = open_store(), open_store(), []
    second = store.missing(range(1))[1]
    lock = other.lock(second)
    lock.acquire(blocking=False)
    monkeypatch.setattr(shared_work.time, "sleep", lambda seconds: lock.release())
    store.fill(range(1), compute_and_log(asked))
    assert asked[-1] == second


# Run as a process of its own: `python -c WORKER folder log when_to_die`.
WORKER = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
from keras_distill.data import shard_store, shared_work

assert not {"tensorflow", "keras"} & set(sys.modules)
folder, log, die_at = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
shard_store._SHARD_ROWS = 4
shared_work._SECONDS_BETWEEN_LOOKS = 0.01
outputs = {"embedding": (3,), "map": (2, 2, 4)}
store = shard_store.ShardStore(folder, rows=10, outputs=outputs, manifest={})


def dying(name, function):
    calls = 0

    def call(*arguments, **options):
        nonlocal calls
        calls += 1
        if die_at == f"{name} {calls}":
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)

    return call


os.fsync = dying("fsync", os.fsync)
np.save = dying("save", np.save)
Path.replace = dying("replace", Path.replace)
Path.unlink = dying("unlink", Path.unlink)


def compute(shard):
    with log.open("a") as file:
        file.write(f"{os.getpid()} {shard.view} {shard.rows.start}\\n")
    time.sleep(0.02)
    rng = np.random.default_rng([shard.view, shard.rows.start])
    rows = len(shard.rows)
    return {name: rng.normal(size=(rows, *shape)) for name, shape in outputs.items()}


Path(f"{log}.ready-{os.getpid()}").touch()
while log.with_suffix(".wait").exists():
    time.sleep(0.001)
store.fill(range(4), compute)
print("done")
"""


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_complete(folder):
    store = ShardStore(folder, rows=10, outputs=OUTPUTS, manifest={})
    assert store.missing(range(4)) == []
    for view, start_row in itertools.product(range(4), range(0, 10, 4)):
        shard = Shard(view, range(start_row, min(start_row + 4, 10)))
        rows = np.array(shard.rows)
        for name, expected in content(shard).items():
            answer = store.read(name, rows, np.full(len(rows), view))
            np.testing.assert_array_equal(answer, expected)


@pytest.mark.parametrize(
    ("die_at", "lost"),
    [
        ("save 6", True),
        ("fsync 7", True),  # while the file is written
        ("replace 7", True),  # written, not renamed
        ("fsync 8", True),  # between the two arrays of a shard
        ("unlink 12", False),  # renamed, but still locked
    ],
)
def test_killed_at_any_moment_it_loses_one_shard_at_most(tmp_path, die_at, lost):
    folder, log = tmp_path / "cache", tmp_path / "log"
    killed = start(folder, log, die_at)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    computed = log.read_text().splitlines()
    missing = ShardStore(folder, rows=10, outputs=OUTPUTS, manifest={}).missing(range(4))
    assert 0 < len(missing) == 12 - len(computed) + lost < 12
    heir = start(folder, log, "never")
    out, err = heir.communicate(timeout=60)
    assert (out, err) == ("done\n", "")
    again = log.read_text().splitlines()[len(computed) :]
    assert [line.split()[1:] for line in again] == [
        [str(shard.view), str(shard.rows.start)] for shard in missing
    ]
    assert_complete(folder)


def test_processes_at_once_share_the_work(tmp_path):
    folder, log = tmp_path / "cache", tmp_path / "log"
    wait = log.with_suffix(".wait")
    wait.touch()
    workers = [start(folder, log, "never") for _ in range(3)]
    while len(list(tmp_path.glob("log.ready-*"))) < len(workers):
        assert {worker.poll() for worker in workers} == {None}
        time.sleep(0.01)
    wait.unlink()
    for worker in workers:
        out, err = worker.communicate(timeout=60)
        assert (worker.returncode, out, err) == (0, "done\n", "")
    lines = [line.split() for line in log.read_text().splitlines()]
    assert len(lines) == len({(view, start_row) for _, view, start_row in lines}) == 12
    assert_complete(folder)


# The manifest


def test_manifest_tells_people_what_the_cache_is_of(open_store):
    store = open_store()
    path = store.folder / "manifest.json"
    assert json.loads(path.read_text()) == json.loads(json.dumps(MANIFEST))
    before = path.stat()
    open_store()
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert sorted(store.folder.iterdir()) == [path]


def test_manifest_of_something_else(open_store):
    open_store()
    with pytest.raises(InputError, match=r"manifest.json' describes another cache; delete its"):
        open_store(manifest=MANIFEST | {"teacher": "abd"})
    open_store()


@pytest.mark.parametrize("text", ["", "{", "\xff"])
def test_manifest_that_cannot_be_read(open_store, text):
    path = open_store().folder / "manifest.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"manifest.json' cannot be read .*delete its folder"):
        open_store()


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="could not be written"):
        ShardStore(tmp_path / "file" / "a", rows=1, outputs={"a": (1,)}, manifest={})
