import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_distill.data.distortion_ladders import parse_ladders
from keras_distill.data.image_set import read_pictures
from keras_distill.data.ranked_batches import RankedSource, ranked_batches
from keras_distill.data.ranked_sets import compared_set, distorted_set, nested_set

SIZE, SETS = 32, 4


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = tmp_path_factory.mktemp("ranked")
    random = np.random.default_rng(0)
    for index in range(6):
        pixels = random.integers(0, 256, (12, 15, 3), np.uint8)
        Image.fromarray(pixels).resize((75, 60), Image.Resampling.NEAREST).save(
            root / f"{index}.png"
        )
    return read_pictures(root)


def source(images, make, levels):
    return RankedSource(np.array(images.files())[:, None], images.ids, make, levels)


def taken(batches, count=1):
    return list(batches.take(count).as_numpy_iterator())


def test_a_distorted_set_climbs_its_ladder(files):
    make = distorted_set(parse_ladders("blur:0.5/1.5/4"), SIZE)
    images = make(tf.constant(files.files()[:1]), tf.constant([0, 1], tf.int64)).numpy()
    assert images.shape == (4, SIZE, SIZE, 3)
    sharpness = [cv2.Laplacian(image, cv2.CV_64F).var() for image in images]
    assert sharpness == sorted(sharpness, reverse=True)
    # The first is a piece of the photograph itself, or of its mirror image.
    whole = cv2.imread(files.files()[0])[..., ::-1].copy()
    piece = images[0]
    found = [
        cv2.matchTemplate(whole, np.ascontiguousarray(each), cv2.TM_SQDIFF).min()
        for each in (piece, piece[:, ::-1])
    ]
    assert min(found) < 1


def test_all_ladders_are_drawn(files):
    make = distorted_set(parse_ladders("grey,brighter:255,darker:255"), SIZE)
    ends = {
        make(tf.constant(files.files()[:1]), tf.constant([0, seed], tf.int64))[1].numpy().mean()
        // 85
        for seed in range(20)
    }
    assert ends == {0, 1, 3}


def test_nested_and_compared_sets(files):
    seed = tf.constant([3, 1], tf.int64)
    nested = nested_set(5, SIZE)(tf.constant(files.files()[:1]), seed)
    assert nested.shape == (5, SIZE, SIZE, 3)
    outer, inner = (image.astype(float) for image in nested.numpy()[:2])
    cut = round(SIZE * 0.125)
    magnified = cv2.resize(outer[cut:-cut, cut:-cut], (SIZE, SIZE))
    assert np.abs(magnified - inner).mean() < 0.5 * np.abs(outer - inner).mean()
    pair = compared_set(SIZE)(tf.constant(files.files()[:2]), seed)
    assert pair.shape == (2, SIZE, SIZE, 3)
    assert (pair[0] != pair[1]).numpy().any()


def test_a_batch_is_a_function_of_its_step(files):
    ranked = source(files, distorted_set(parse_ladders("jpeg:20/5,noise:9/90"), SIZE), 3)
    batches = taken(ranked_batches(ranked, sets_per_batch=SETS, seed=5), 4)
    (later,) = taken(ranked_batches(ranked, sets_per_batch=SETS, seed=5, first_step=3))
    for found, expected in zip(later, batches[3], strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, found, expected)
    (x, y), (other, _) = batches[:2]
    assert x["image"].shape == (SETS * 3, SIZE, SIZE, 3)
    np.testing.assert_array_equal(
        y, np.stack([np.tile([0, 1, 2], SETS), np.repeat(range(4), 3)], 1)
    )
    ids = [batch[0]["id"][::3] for batch in batches[:3]]
    assert np.unique(np.concatenate(ids), return_counts=True)[1].tolist() == [2] * 6
    assert (x["image"] != other["image"]).any()
    (reverse,) = taken(ranked_batches(ranked, sets_per_batch=SETS, seed=5, largest_first=False))
    np.testing.assert_array_equal(reverse[1][:3, 0], [2, 1, 0])
    np.testing.assert_array_equal(reverse[0]["image"], x["image"])


@pytest.mark.slow
def test_sets_are_dealt_to_replicas_whole(files):
    ranked = source(files, nested_set(2, SIZE), 2)
    ((x, y),) = taken(ranked_batches(ranked, sets_per_batch=SETS))
    parts = taken(ranked_batches(ranked, sets_per_batch=SETS, replicas=2, own_replicas=range(2)), 2)
    assert [part[1][:, 1].tolist() for part in parts] == [[0, 0, 2, 2], [1, 1, 3, 3]]
    for part_x, part_y in parts:
        rows = [np.flatnonzero((y == row).all(1))[0] for row in part_y]
        np.testing.assert_array_equal(part_x["image"], x["image"][rows])
