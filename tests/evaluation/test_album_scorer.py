from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from keras_distill import AlbumEncoder, InputError, build_album_classifier
from keras_distill.data.albums import Albums
from keras_distill.data.image_set import ImageSet
from keras_distill.evaluation.album_picture import draw_albums
from keras_distill.evaluation.album_scorer import AlbumScorer
from keras_distill.models.album_model import build_album_model

SIZES = (3, 1, 6)
VECTORS = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)


@pytest.fixture
def albums(tmp_path):
    """Three albums of ten photographs, each of another colour."""
    names = np.array([f"{number}.png" for number in range(10)])
    for number, name in enumerate(names):
        Image.new("RGB", (16, 12), (25 * number, 90, 255 - 25 * number)).save(tmp_path / name)
    images = ImageSet(tmp_path, names, np.full(10, -1, np.int64), ())
    members = tuple(np.split(np.arange(10), np.cumsum(SIZES)[:-1]))
    targets = np.eye(3, 2, dtype=np.int8)
    return Albums(images, np.array(["x", "y", "z"]), members, targets, ("a", "b"))


@pytest.fixture(scope="module")
def classifier():
    keras.utils.set_random_seed(0)
    return build_album_classifier(["a", "b"], 4, AlbumEncoder(1, 2, 8), baselines=True)


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_albums_are_scored_as_each_alone(albums, classifier, batch_size):
    scorer = AlbumScorer(classifier, batch_size=batch_size)
    scores = scorer.scores(albums, VECTORS)
    assert set(scores.logits) == {"logits", "mean_vectors", "mean_probabilities"}
    for album, members in enumerate(albums.members):
        vectors = VECTORS[members][None]
        alone = classifier({"vectors": vectors, "mask": np.ones((1, len(members)), bool)})
        for name, logits in scores.logits.items():
            np.testing.assert_allclose(logits[album], alone[name][0], atol=1e-5)
        assert scores.attention[album].shape == (SIZES[album],)
        np.testing.assert_allclose(scores.attention[album], alone["attention"][0], atol=1e-5)


def test_photographs_are_embedded_by_the_model(albums):
    image = keras.Input((8, 8, 3), name="image")
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    colours = keras.Model(image, keras.ops.pad(pooled, [[0, 0], [0, 1]]))
    classifier = build_album_classifier(["a", "b"], 4, AlbumEncoder(1, 2, 8))
    scorer = AlbumScorer(build_album_model(colours, classifier))
    done = []
    vectors = scorer.vectors(albums, batch_size=4, on_batch=done.append)
    assert done == [4, 4, 2]
    expected = [[25 * number, 90, 255 - 25 * number, 0] for number in range(10)]
    np.testing.assert_allclose(vectors, expected, atol=0.01)
    with pytest.raises(InputError, match="no effect on a model that was trained on photographs"):
        scorer.vectors(replace(albums, vectors=VECTORS))


def test_vectors_that_do_not_fit(albums, classifier, small_embedder):
    scorer = AlbumScorer(classifier)
    assert scorer.vectors(replace(albums, vectors=VECTORS)) is VECTORS
    with pytest.raises(InputError, match="`album_vectors` is needed"):
        scorer.vectors(albums)
    with pytest.raises(InputError, match="3 wide, and the model takes 4"):
        scorer.vectors(replace(albums, vectors=VECTORS[:, :3]))
    with pytest.raises(InputError, match="not finite"):
        scorer.scores(albums, np.full_like(VECTORS, 3e38))
    with pytest.raises(InputError, match="is no classifier of albums"):
        AlbumScorer(small_embedder())


def places_of(file, colours):
    """The mean place of the pixels of each colour, `(y, x)`."""
    with Image.open(file) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    found = [np.argwhere(np.abs(pixels - colour).max(axis=2) < 6) for colour in colours]
    return [each.mean(axis=0) if len(each) > 500 else None for each in found]


def test_the_picture_shows_the_most_attended_first(albums, tmp_path):
    attention = [np.array([0.1, 0.6, 0.2]), np.array([0.9]), np.array([0, 0.1, 0.5, 0.3, 0.05, 0])]
    file = tmp_path / "deep" / "albums.png"
    (tmp_path / "9.png").unlink()  # drawn grey
    assert draw_albums(file, albums, attention, ["x: $a$", "y: b", "z: no label"]) == 3
    colours = [(25 * number, 90, 255 - 25 * number) for number in range(9)]
    places = places_of(file, colours)
    assert places[1][1] < places[2][1] < places[0][1]  # of the first album, by x
    assert places[6][1] < places[7][1] < places[5][1] < places[8][1]
    assert places[1][0] < places[3][0] < places[6][0]  # albums, by y


@pytest.mark.slow
def test_of_many_albums_some_are_drawn(albums, tmp_path):
    many = albums.select(np.repeat(np.arange(3), 7))
    attention = [np.ones(size) for size in many.sizes]
    assert draw_albums(tmp_path / "many.png", many, attention, ["x"] * 21) == 8


def test_a_place_that_cannot_be_written(albums, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError):
        draw_albums(
            Path(tmp_path / "file" / "a.png"), albums, [np.ones(n) for n in SIZES], ["x"] * 3
        )
