import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_distill.data.distortion_ladders import parse_ladders
from keras_distill.data.ranked_batches import RankedSource
from keras_distill.data.ranked_sets import distorted_set
from keras_distill.data.scored_images import ScoredImages
from keras_distill.errors import InputError
from keras_distill.recipes.ranked_batches import RankedBatches, chosen_labels, rank_source
from keras_distill.settings.ranked_regression import RankedRegressionSettings

NAMES = np.array([f"{index}.png" for index in range(10)])


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Ten grey images, three of them without a score."""
    root = tmp_path_factory.mktemp("images")
    for index, name in enumerate(NAMES):
        Image.new("RGB", (40, 36), (index, index, index)).save(root / name)
    scores = np.where(np.arange(10) < 7, np.arange(10), np.nan)
    return ScoredImages(root, NAMES, np.float32(scores), NAMES, np.full(10, ""))


def settings(images, **values):
    return RankedRegressionSettings(
        dataset=f"folder:{images.root}",
        scores="scores.csv",
        batch_size=4,
        sets_per_batch=2,
        distortions="brighter:50/150",
        **values,
    )


def batches(images, stages, **values):
    given = settings(images, stages=stages, **values)
    make = distorted_set(parse_ladders(given.distortions), 32)
    files = np.array(images.unlabelled.files())[:, None]
    source = RankedSource(files, images.ids, make, 3) if given.ranks else None
    labelled = images.scored if given.regresses else None
    return RankedBatches(given, 32, source, labelled)


def taken(made, count, first_step=0, **replicas):
    return list(made(first_step, **replicas).take(count).as_numpy_iterator())


@pytest.mark.slow
@pytest.mark.parametrize(
    "stages",
    [
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("joint", "alternate", "rank")),
        "fine_tune",
    ],
)
def test_a_batch_is_a_function_of_its_step(images, stages):
    made = batches(images, stages, alternate_every=2)
    first = taken(made, 7)
    for step in (1, 4, 5):
        (later,) = taken(made, 1, first_step=step)
        tf.nest.map_structure(np.testing.assert_array_equal, later, first[step])
    assert max(len(x["image"]) for x, _ in first) == made.rows


def test_joint_batches_have_rows_of_both(images):
    ((x, y),) = taken(batches(images, "joint"), 1)
    assert x["image"].shape == (10, 32, 32, 3)
    np.testing.assert_array_equal(x["image"][:4, 0, 0, 0], y["score"][:4, 0])
    assert np.isnan(y["score"][4:]).all()
    assert (y["ranked"][:4] == -1).all()
    assert y["ranked"][4:].tolist() == [[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]]


@pytest.mark.slow
def test_both_alternate(images):
    found = taken(batches(images, "alternate", alternate_every=2), 8)
    turns = ["ranked" if (y["ranked"] >= 0).all() else "score" for _, y in found]
    assert turns == ["ranked", "ranked", "score", "score"] * 2
    for (_, y), turn in zip(found, turns, strict=True):
        assert np.isnan(y["score"]).all() == (turn == "ranked")


@pytest.mark.slow
@pytest.mark.parametrize("stages", ["joint", "alternate"])
def test_replicas_get_whole_sets(images, stages):
    made = batches(images, stages, alternate_every=1)
    for step in range(2):
        ((x, y),) = taken(made, 1, first_step=step)
        parts = taken(made, 2, first_step=step, replicas=2, own_replicas=range(2))
        shown = np.concatenate([part[0]["image"] for part in parts])
        assert sorted(map(bytes, shown)) == sorted(map(bytes, x["image"]))
        assert {tuple(row) for part in parts for row in part[1]["ranked"]} == set(
            map(tuple, y["ranked"])
        )


def test_labels_of_a_smaller_share_are_among_those_of_a_larger(images):
    shares = {
        share: set(chosen_labels(settings(images, label_share=share), images).paths.tolist())
        for share in (0.1, 0.5, 1.0)
    }
    assert [len(found) for found in shares.values()] == [1, 4, 7]
    assert shares[0.1] < shares[0.5] < shares[1.0]
    other = chosen_labels(settings(images, label_share=0.5, seed=3), images)
    assert set(other.paths.tolist()) != shares[0.5]


def test_listed_labels(images, tmp_path):
    file = tmp_path / "chosen.txt"
    file.write_text("3.png\n\n1.png\n3.png\n")
    found = chosen_labels(settings(images, labelled=str(file)), images)
    assert found.paths.tolist() == ["1.png", "3.png"]
    file.write_text("1.png\n9.png\n")  # which has no score
    with pytest.raises(InputError, match=r"line 2, '9\.png', is no training image with a label"):
        chosen_labels(settings(images, labelled=str(file)), images)


def test_images_without_a_score_are_ranked_or_else_all(images):
    source = rank_source(settings(images), images, 32)
    assert [file.rpartition("/")[2] for file in source.files[:, 0]] == ["7.png", "8.png", "9.png"]
    assert source.levels == 3
    assert len(rank_source(settings(images), images.scored, 32).files) == 7


def test_pairs_of_training_images_are_ranked(images, tmp_path):
    file = tmp_path / "pairs.csv"
    file.write_text("1.png,0.png,1\n2.png,3.png,0\n4.png,5.png,0.5\n")
    given = settings(
        images, ranked_by="comparisons", comparisons=str(file), cache_dir=str(tmp_path)
    )
    part = images.select(np.arange(3))
    source = rank_source(given, part, 32)
    assert [[f.rpartition("/")[2] for f in pair] for pair in source.files] == [["1.png", "0.png"]]
    with pytest.raises(InputError, match="has no decided pair of two training images"):
        rank_source(given, images.select(np.arange(6, 9)), 32)
