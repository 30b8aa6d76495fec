import gzip

import numpy as np
import pytest

from keras_distill.data.word_vectors import load_word_vectors
from keras_distill.errors import InputError

WORDS = {
    "bird": [1.0, 2.0, 3.0],
    "fire": [0.5, 0.0, -1.0],
    "hydrant": [1.5, 4.0, 1.0],
    "traffic_light": [7.0, 8.0, 9.0],
    "traffic": [0.0, 0.0, 1.0],
    "light": [0.0, 1.0, 0.0],
    "Paris": [3.0, 3.0, 3.0],
    "paris": [4.0, 4.0, 4.0],
    ". . .": [9.0, 9.0, 8.0],
    "caf\u00e9": [6.0, 6.0, 6.5],
}


def text(header=False, separator=" ", end=""):
    lines = [f"{len(WORDS)} 3"] if header else []
    lines += [
        separator.join([word, *(f"{value:.5g}" for value in row)]) + end
        for word, row in WORDS.items()
    ]
    return "\n".join([*lines, ""]).encode()


FORMATS = {
    "glove.txt": text(),
    "word2vec.txt": text(header=True),
    "fasttext.vec": text(header=True, end=" "),
    "tabs.txt": text(separator="\t"),
    "glove.txt.gz": gzip.compress(text()),
}


@pytest.fixture(params=[*FORMATS, "arrays.npz"])
def file(request, tmp_path):
    path = tmp_path / request.param
    if path.suffix == ".npz":
        np.savez(path, names=list(WORDS), vectors=np.array(list(WORDS.values())))
    else:
        path.write_bytes(FORMATS[request.param])
    return path


def test_every_format(file):
    names = ["hydrant", "bird", "caf\u00e9", ". . ."]
    vectors = load_word_vectors(file, names)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, [WORDS[name] for name in names])


def test_names_of_several_words(file):
    fire_hydrant = np.mean([WORDS["fire"], WORDS["hydrant"]], axis=0)
    for name in ("fire hydrant", "fire_hydrant", "Fire-Hydrant", "fire  hydrant"):
        np.testing.assert_allclose(load_word_vectors(file, [name]), [fire_hydrant])
    # An entry of its own comes before a mean.
    for name in ("traffic light", "Traffic Light", "traffic-light", "traffic_light"):
        np.testing.assert_allclose(load_word_vectors(file, [name]), [WORDS["traffic_light"]])


def test_case(file):
    vectors = load_word_vectors(file, ["Paris", "paris", "PARIS", "Bird"])
    expected = [WORDS["Paris"], WORDS["paris"], WORDS["paris"], WORDS["bird"]]
    np.testing.assert_allclose(vectors, expected)


def test_all_missing_names_are_told_at_once(file):
    with pytest.raises(InputError, match=r"no vectors of 3 of 4 names: cat, fire dog, \. Leave"):
        load_word_vectors(file, ["cat", "bird", "fire dog", ""])


def test_the_first_of_two_entries_counts(tmp_path):
    (tmp_path / "twice.txt").write_text("bird 1 2\nbird 3 4\n")
    np.testing.assert_array_equal(load_word_vectors(tmp_path / "twice.txt", ["bird"]), [[1, 2]])


def test_a_width_of_one_number(tmp_path):
    (tmp_path / "narrow.txt").write_text("bird 1\nboat 2\n")
    np.testing.assert_array_equal(load_word_vectors(tmp_path / "narrow.txt", ["boat"]), [[2]])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "no vectors of 1 of 1 names: bird"),
        ("a.txt", b"bird\n", r"is not a text file of word vectors \(line 1 has 1 fields"),
        ("a.txt", b"boat 1 2\nbird 1\n", r"\(line 2 has 2 fields, not a word and numbers\)"),
        ("a.txt", b"boat 1 2\nbird 1 x\n", "could not convert"),
        ("a.txt", b"bird 1 nan\n", "line 1: the vector of 'bird' is not finite"),
        ("a.txt.gz", b"bird 1 2\n", "Not a gzipped file"),
        ("a.npz", b"bird 1 2\n", r"cannot be read .* must have the arrays 'names' and 'vectors'"),
    ],
)
def test_damaged_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_word_vectors(tmp_path / name, ["bird"])


@pytest.mark.parametrize(
    ("names", "vectors"),
    [([1, 2], np.ones((2, 3))), (["a", "b"], np.ones((3, 3))), (["a", "b"], np.ones(2))],
)
def test_arrays_that_do_not_fit(tmp_path, names, vectors):
    np.savez(tmp_path / "a.npz", names=names, vectors=vectors)
    with pytest.raises(InputError, match="must be n strings and"):
        load_word_vectors(tmp_path / "a.npz", ["a"])


def test_no_file(tmp_path):
    with pytest.raises(InputError, match=r"none.txt'` is not a file\.$"):
        load_word_vectors(tmp_path / "none.txt", ["a"])
