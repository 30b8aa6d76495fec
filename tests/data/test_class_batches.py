import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.data.class_batches import class_batches
from keras_distill.errors import InputError

LABELS = np.repeat([7, 3, 5, 9], [6, 2, 4, 5])
IMAGES = np.arange(17, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
OPTIONS = {"classes_per_batch": 3, "images_per_class": 4}
PAIRS = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS))


def taken(batches, count=5):
    """Which images, and which labels, the first batches have."""
    return [
        (x.numpy()[:, 0, 0, 0].tolist(), y.numpy().tolist())
        for x, y in itertools.islice(batches, count)
    ]


@pytest.mark.parametrize("kind", ["arrays", "pairs", "batches", "int32"])
def test_classes_and_images_of_a_batch(kind):
    data = {
        "arrays": (IMAGES, LABELS),
        "pairs": (PAIRS,),
        "batches": (PAIRS.batch(5),),
        "int32": (PAIRS.map(lambda x, y: (x, tf.cast(y, tf.int32))),),
    }[kind]
    batches = class_batches(*data, **OPTIONS)
    assert batches.element_spec[0] == tf.TensorSpec((12, 4, 4, 3), tf.uint8)
    assert batches.element_spec[1] == tf.TensorSpec((12,), tf.int64)
    seen = set()
    for images, labels in taken(batches, 20):
        assert labels == LABELS[images].tolist()
        classes = np.reshape(labels, (3, 4))
        assert (classes == classes[:, :1]).all()
        assert len(set(classes[:, 0])) == 3
        for label, own in zip(classes[:, 0], np.reshape(images, (3, 4)), strict=True):
            assert len(set(own)) == min(4, (label == LABELS).sum())
        seen |= set(images)
    assert seen == set(range(17))


def test_batches_are_a_function_of_seed_and_step():
    first = taken(class_batches(PAIRS, **OPTIONS), 6)
    assert taken(class_batches(IMAGES, LABELS, **OPTIONS), 6) == first
    assert taken(class_batches(PAIRS, first_step=4, **OPTIONS), 2) == first[4:]
    assert taken(class_batches(PAIRS, seed=1, **OPTIONS), 6) != first
    assert len({str(batch) for batch in first}) == 6


def test_images_are_loaded_when_their_turn_comes(tmp_path):
    for place, image in enumerate(IMAGES):
        keras.utils.save_img(tmp_path / f"{place}.png", image, scale=False)
    paths = tf.data.Dataset.from_tensor_slices(
        ([str(tmp_path / f"{place}.png") for place in range(17)], LABELS)
    )
    batches = class_batches(
        paths, load=lambda path: tf.io.decode_png(tf.io.read_file(path), 3), **OPTIONS
    )
    assert taken(batches) == taken(class_batches(PAIRS, **OPTIONS))
    assert batches.element_spec[0].shape[0] == 12


def test_dicts():
    data = PAIRS.map(lambda x, y: ({"image": x, "teacher_image": x + 1}, y))
    for x, _ in class_batches(data, **OPTIONS).take(2):
        np.testing.assert_array_equal(x["teacher_image"], x["image"] + 1)


def test_a_folder_of_images_as_keras_reads_it(tmp_path):
    for place, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        (tmp_path / str(label)).mkdir(exist_ok=True)
        keras.utils.save_img(tmp_path / str(label) / f"{place}.png", image, scale=False)
    folder = keras.utils.image_dataset_from_directory(
        tmp_path, image_size=(4, 4), batch_size=3, verbose=False
    )
    for images, labels in taken(class_batches(folder, **OPTIONS)):
        names = [folder.class_names[label] for label in labels]
        assert [str(LABELS[int(image)]) for image in images] == names


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((PAIRS.repeat(),), "`x` is endless"),
        ((PAIRS.map(lambda x, y: x),), r"pairs \(image, label\), but holds TensorSpec"),
        ((PAIRS.map(lambda x, y: (x, y, 1)),), r"pairs \(image, label\), but holds \("),
        ((PAIRS.take(0),), "`x` is empty"),
        ((PAIRS.map(lambda x, y: (x[: y % 4 + 1], y)),), "different shapes; resize them"),
        (
            (PAIRS.map(lambda x, y: (x[: y % 4 + 1], y)).batch(1),),
            "different shapes; resize them",
        ),
        ((PAIRS.map(lambda x, y: (x, tf.one_hot(y, 9))),), r"float32 of shape \(9,\).*argmax"),
        ((PAIRS.batch(4).map(lambda x, y: (x, tf.one_hot(y, 9))),), r"of shape \(None, 9\)"),
        ((PAIRS.map(lambda x, y: (x, tf.as_string(y))),), r"strings of shape \(\).*np.unique"),
        ((IMAGES, LABELS.astype(float)), "are float64 of shape"),
        ((IMAGES, LABELS - 4), "2 labels are below 0.*leave these images out"),
        ((IMAGES, LABELS[:9]), r"`x` has \[17\] rows, but there are 9 labels"),
        ((IMAGES,), r"`x` is a ndarray; give a tf.data.Dataset of pairs"),
        ((PAIRS, LABELS), "`y` must be left out"),
        ((IMAGES, LABELS // 7), "classes_per_batch=3` is more than the 2 training classes"),
    ],
)
def test_data_that_make_no_batches(data, message):
    with pytest.raises(InputError, match=message):
        class_batches(*data, **OPTIONS)
