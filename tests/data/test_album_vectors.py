import numpy as np
import pytest

from keras_distill import InputError
from keras_distill.data.album_targets import read_albums
from keras_distill.data.album_vectors import vectors_digest, with_vectors
from keras_distill.data.vector_format import VectorRows
from keras_distill.data.vector_shards import start_shards

PATHS = ["a/x/1.jpg", "a/x/2.jpg", "b/y/1.jpg"]


@pytest.fixture
def albums(tmp_path):
    for path in PATHS:
        (tmp_path / "photos" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / path).touch()
    return read_albums(f"albums:{tmp_path / 'photos'}")


def written(folder, paths, vectors, errors=()):
    """Shards of a single part, as `embed` writes them."""
    rows = len(paths) + len(errors)
    names = {"embedder": "e", "pictures": "p", "model": "m", "mirror": False, "root": "r"}
    sizes = {"image_size": 8, "rows": rows, "dim": vectors.shape[1], "shard_size": rows}
    shards = start_shards(folder, {**names, **sizes, "file_format": "npy", "class_names": []})
    labels = np.full(len(paths), -1, np.int64)
    shards.write(0, VectorRows(vectors, paths, labels, (), list(errors)))
    shards.finish()
    return folder


def test_vectors_are_found_by_the_paths(albums, tmp_path):
    vectors = np.arange(8, dtype=np.float32).reshape(4, 2)
    folder = written(tmp_path / "v", ["c/z/9.jpg", *reversed(PATHS)], vectors)
    found, lacking = with_vectors(albums, folder)
    assert lacking == []
    assert found.vectors.tolist() == [[6, 7], [4, 5], [2, 3]]
    second = found.select(np.array([1]))
    assert second.vectors.tolist() == [[2, 3]]
    assert vectors_digest(second) != vectors_digest(found)


def test_photographs_that_could_not_be_embedded_are_left_out(albums, tmp_path):
    folder = written(
        tmp_path / "v", PATHS[1:], np.ones((2, 2), np.float32), [(PATHS[0], "is no image")]
    )
    found, lacking = with_vectors(albums, folder)
    assert lacking == [PATHS[0]]
    assert found.photographs.paths.tolist() == PATHS[1:]


def test_vectors_of_other_photographs(albums, tmp_path):
    folder = written(tmp_path / "v", PATHS[1:], np.ones((2, 2), np.float32))
    with pytest.raises(InputError, match=r"no vectors of 1 of 3 photographs, such as 'a/x/1\.jpg"):
        with_vectors(albums, folder)


def test_vectors_that_are_not_finite(albums, tmp_path):
    vectors = np.array([[1.0], [np.nan], [1.0]], np.float32)
    with pytest.raises(InputError, match="not finite"):
        with_vectors(albums, written(tmp_path / "v", PATHS, vectors))


def test_a_folder_without_vectors(albums, tmp_path):
    with pytest.raises(InputError, match="holds no vectors"):
        with_vectors(albums, tmp_path)
