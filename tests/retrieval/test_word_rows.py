import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_distill import InputError, word_scores
from keras_distill.retrieval.found_by_words import find_by_words
from keras_distill.retrieval.index_changes import add_to_index, build_index, delete_from_index
from keras_distill.retrieval.index_parts import IndexEntries
from keras_distill.retrieval.index_summary import index_summary
from keras_distill.retrieval.vector_index import open_index
from keras_distill.retrieval.word_rows import (
    WordFacts,
    search_by_words,
    word_entries,
    word_facts,
)

ROWS, WIDTH = 3, 8


def names(count, start=0):
    return np.array([f"{number % 7}/{number}.png" for number in range(start, start + count)])


def entries_of(words, facts, start=0, root=Path("photos")):
    labels = np.zeros(len(words), np.int64)
    return word_entries(words, facts, names(len(words), start), labels, ("all",), root)


def built(folder, words, backend="exact"):
    facts = word_facts(words)
    details = {"words": vars(facts)}
    return build_index(folder, entries_of(words, facts), backend=backend, details=details)


def drawn(count, seed=0):
    random = np.random.default_rng(seed)
    lengths = random.uniform(0.1, 3.0, (count, ROWS, 1))
    return np.float32(lengths * random.normal(size=(count, ROWS, WIDTH)))


def naive(words, vectors):
    """The mean over the words of the best inner product, an image at a time."""
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.array([[max(row @ unit for row in image) for unit in units] for image in words])


@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize("backend", ["exact", "scann"])
def test_images_of_the_largest_inner_product_are_found_once(tmp_path, backend, queries):
    pytest.importorskip("scann")
    words = drawn(200)
    vectors = np.random.default_rng(1).normal(size=(queries, WIDTH))
    index = built(tmp_path / "index", words, backend)
    matches = search_by_words(index, vectors, k=12)
    expected = naive(words, vectors).mean(axis=1)
    order = np.argsort(-expected)[:12]
    assert (matches.rows // ROWS).tolist() == order.tolist()
    np.testing.assert_allclose(matches.scores, expected[order], rtol=1e-4)
    assert index.paths(matches.rows) == names(200)[order].tolist()
    assert (matches.agreement is None) == (backend == "exact")
    if queries == 1:
        unit = vectors / np.linalg.norm(vectors)
        np.testing.assert_allclose(
            matches.scores, np.asarray(word_scores(words, unit))[order, 0], rtol=1e-4
        )


def test_stored_vectors_have_length_1_and_keep_the_order(tmp_path):
    words = drawn(50)
    entries = entries_of(words, word_facts(words))
    np.testing.assert_allclose(np.linalg.norm(entries.vectors, axis=1), 1, atol=1e-6)
    unit = np.eye(1, WIDTH)[0]
    distances = np.linalg.norm(entries.vectors - np.append(unit, 0), axis=1)
    np.testing.assert_array_equal(np.argsort(distances), np.argsort(-(words @ unit).ravel()))


def test_images_are_added_and_deleted_whole(tmp_path):
    words = 0.9 * drawn(30)
    index = built(tmp_path / "index", words[:20])
    facts = WordFacts.of(index)
    index = add_to_index(index.folder, entries_of(words[18:], facts, 18))  # two are there
    assert index_summary(index)["pictures"] == 30
    assert index_summary(index)["vectors_per_picture"] == ROWS
    index = delete_from_index(index.folder, ["3/3.png", "5/*"])
    gone = {3} | {number for number in range(30) if number % 7 == 5}
    assert index_summary(index)["pictures"] == 30 - len(gone)
    vectors = np.eye(2, WIDTH)
    matches = search_by_words(open_index(index.folder), vectors, k=99)
    expected = naive(words, vectors).mean(axis=1)
    order = [number for number in np.argsort(-expected).tolist() if number not in gone]
    assert (matches.rows // ROWS).tolist() == order


def test_vectors_longer_than_the_index_has_room_for(tmp_path):
    words = drawn(10)
    facts = word_facts(words)
    entries_of(1.2 * words, facts)
    with pytest.raises(InputError, match="too long for the index"):
        entries_of(1.3 * words, facts)
    with pytest.raises(InputError, match="the index 3 vectors of width 8 an image"):
        entries_of(words[:, :2], facts)


def test_vectors_of_zeros():
    words = np.zeros((4, ROWS, WIDTH), np.float32)
    assert np.isfinite(entries_of(words, word_facts(words)).vectors).all()


def test_unusable_searches(tmp_path):
    index = built(tmp_path / "index", drawn(5))
    with pytest.raises(InputError, match="has width 3"):
        search_by_words(index, np.ones((1, 3)))
    with pytest.raises(InputError, match="a vector of zeros"):
        search_by_words(index, np.zeros((1, WIDTH)))
    with pytest.raises(InputError, match="`k=0`"):
        search_by_words(index, np.ones((1, WIDTH)), k=0)
    plain = IndexEntries(np.eye(3), names(3), np.zeros(3, np.int64), ("all",), Path("photos"))
    with pytest.raises(InputError, match="holds embeddings, which words cannot find"):
        search_by_words(build_index(tmp_path / "plain", plain), np.ones((1, 3)))
    with pytest.raises(InputError, match="twice; each image needs its own"):
        build_index(
            tmp_path / "twice", IndexEntries(np.eye(2), names(1)[[0, 0]], [0, 0], ("a",), Path())
        )


def test_what_was_found_is_shown_and_drawn(tmp_path, capsys):
    words = np.zeros((3, ROWS, WIDTH), np.float32)
    words[0, 0, 0] = words[1, 2, 1] = words[2, 1, 0] = 1
    words[2, 0, 1] = 0.8
    for name in names(3).tolist():
        (tmp_path / name).parent.mkdir()
        Image.new("RGB", (20, 20), (200, 10, 10)).save(tmp_path / name)
    facts = word_facts(words)
    index = build_index(
        tmp_path / "index", entries_of(words, facts, root=tmp_path), details={"words": vars(facts)}
    )
    vectors = np.vstack([np.eye(2, WIDTH), np.zeros((1, WIDTH))])
    np.savez(tmp_path / "v.npz", names=np.array(["dog", "grass", "x"]), vectors=3 * vectors)
    picture = tmp_path / "found.png"
    found = find_by_words(index, "dog, grass", str(tmp_path / "v.npz"), 2, picture=str(picture))
    assert [each["picture"] for each in found["neighbours"]] == ["2/2.png", "0/0.png"]
    assert [round(each["score"], 4) for each in found["neighbours"]] == [0.9, 0.5]
    assert json.loads(json.dumps(found)) == found
    assert "best for dog, grass" in capsys.readouterr().out
    with Image.open(picture) as drawn_picture:
        assert drawn_picture.width > 100
    for text, said in (("", "names none"), ("cow", "cow"), ("x", "zeros")):
        with pytest.raises(InputError, match=said):
            find_by_words(index, text, str(tmp_path / "v.npz"))
