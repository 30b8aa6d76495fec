import numpy as np
import pytest

from keras_distill.data.vector_format import VectorRows
from keras_distill.data.vector_shards import start_shards
from keras_distill.errors import InputError
from keras_distill.selection import k_centre as module
from keras_distill.selection.k_centre import k_centre
from keras_distill.selection.vector_blocks import ArrayBlocks, ShardBlocks


def points(count=300, dim=5, seed=0):
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def naive(vectors, count, given=()):
    chosen, distances = list(given), []
    if not chosen:
        mean = vectors.mean(axis=0)
        chosen = [min(range(len(vectors)), key=lambda row: np.linalg.norm(vectors[row] - mean))]
        distances.append(np.inf)
    while len(distances) < count:
        nearest = [
            -1 if row in chosen else min(np.linalg.norm(vectors[row] - vectors[c]) for c in chosen)
            for row in range(len(vectors))
        ]
        distances.append(max(nearest))
        chosen.append(int(np.argmax(nearest)))
    return chosen[len(given) :], distances


@pytest.fixture
def shards(tmp_path):
    """300 vectors in 7 shards, of which the third has none, in either format."""

    def write(vectors, file_format="npy"):
        manifest = dict.fromkeys(("model", "embedder", "pictures"), "x")
        manifest |= {"image_size": 32, "mirror": False, "root": "/photos", "class_names": []}
        manifest |= {"dim": 5, "shard_size": 50, "file_format": file_format}
        made = start_shards(tmp_path / file_format, {**manifest, "rows": 350})
        begin = 0
        for shard in range(7):
            rows = vectors[begin : begin + (0 if shard == 2 else 50)]
            paths = [f"{begin + row}.jpg" for row in range(len(rows))]
            made.write(shard, VectorRows(rows, paths, np.full(len(rows), -1), ()))
            begin += len(rows)
        return made

    return write


@pytest.mark.parametrize("pool", [5, 100, 2**25])
@pytest.mark.parametrize("given", [(), (7, 3, 250)])
def test_naive_loop(monkeypatch, pool, given):
    """With a pool of one vector, of a sixth of them, and of all."""
    monkeypatch.setattr(module, "_POOL", pool)
    vectors, seen = points(120), []
    found = k_centre(ArrayBlocks(vectors), 30, given=np.array(given) % 120, on_chosen=seen.append)
    rows, distances = naive(vectors, 30, [row % 120 for row in given])
    assert found.rows.tolist() == rows
    np.testing.assert_allclose(found.distances, distances, rtol=1e-4)
    assert sum(seen) == 30
    centres = vectors[[*rows, *(row % 120 for row in given)]]
    radius = np.linalg.norm(vectors[:, None] - centres, axis=-1).min(axis=1).max()
    assert found.radius == pytest.approx(radius, rel=1e-4)
    if pool == 100:
        assert found.passes < 20  # not one for each choice
    if pool > 100:
        assert found.passes <= 4


def test_the_radius_is_at_most_twice_the_best():
    """Ten tight clusters: one of each is chosen, at random about a third are missed."""
    centres = 50 * points(10, seed=1)
    vectors = np.repeat(centres, 30, axis=0) + points(300)
    found = k_centre(ArrayBlocks(vectors), 10)
    assert sorted(found.rows // 30) == list(range(10))


@pytest.mark.parametrize("file_format", ["npy", "parquet"])
def test_shards_are_as_an_array(shards, file_format):
    if file_format == "parquet":
        pytest.importorskip("pyarrow")
    vectors = points()
    blocks = ShardBlocks(shards(vectors, file_format))
    assert len(blocks) == 300
    assert blocks.paths == [f"{row}.jpg" for row in range(300)]
    read = np.empty_like(vectors)
    for begin, block in blocks.blocks():
        read[begin : begin + len(block)] = block
    np.testing.assert_array_equal(read, vectors)
    rows = np.array([299, 0, 120, 49, 50])
    np.testing.assert_array_equal(blocks.take(rows), vectors[rows])
    alike = k_centre(ArrayBlocks(vectors), 20).rows
    np.testing.assert_array_equal(k_centre(blocks, 20).rows, alike)


def test_missing_and_damaged_shards_are_named(shards):
    made = shards(points())
    blocks = ShardBlocks(made)
    (made.folder / "vectors" / "000004.npy").write_bytes(b"\x93NUMPY no")
    with pytest.raises(InputError, match=r"000004\.npy is damaged"):
        k_centre(blocks, 3)
    (made.folder / "vectors" / "000004.npy").unlink()
    with pytest.raises(InputError, match="lacks 1 of 7 shards"):
        ShardBlocks(made)


def test_degenerate_vectors():
    alike = ArrayBlocks(np.ones((5, 3)))
    found = k_centre(alike, 9)
    assert sorted(found.rows) == [0, 1, 2, 3, 4]  # all, each once
    assert found.distances[1:].tolist() == [0, 0, 0, 0]
    assert k_centre(alike, 2, given=np.arange(5)).rows.tolist() == []
    assert k_centre(ArrayBlocks(np.zeros((1, 3))), 1).rows.tolist() == [0]
    with pytest.raises(InputError, match="`count=0` is not positive"):
        k_centre(alike, 0)
    with pytest.raises(InputError, match="not finite"):
        ArrayBlocks(np.array([[np.nan]]))
    with pytest.raises(InputError, match=r"not \(images, dim\)"):
        ArrayBlocks(np.zeros(3))
