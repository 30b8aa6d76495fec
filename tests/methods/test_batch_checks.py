import warnings

import numpy as np
import pytest
import tensorflow as tf

from keras_distill.data.class_batches import class_batches
from keras_distill.errors import InputError
from keras_distill.losses.batch_hard_triplet import BatchHardTriplet
from keras_distill.losses.proxy_anchor import ProxyAnchor
from keras_distill.losses.relative_teacher import RelativeTeacher
from keras_distill.methods.distiller import Distiller

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(8) // 4


@pytest.fixture
def fit(small_embedder):
    """Takes one step without a graph; arguments replace those of the Distiller."""

    def fit(x=IMAGES, y=LABELS, *, run="fit", run_eagerly=True, **arguments):
        arguments = {"task_loss": BatchHardTriplet(0.2)} | arguments
        distiller = Distiller(small_embedder(image_size=8), **arguments)
        distiller.compile("sgd", run_eagerly=run_eagerly)
        return getattr(distiller, run)(x, y, verbose=0)

    return fit


def resized(size):
    return np.zeros((8, size, size, 3), np.uint8)


@pytest.mark.quick(6)
@pytest.mark.parametrize("run", ["fit", "evaluate"])
@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (
            IMAGES,
            None,
            r"there is a `task_loss`, but the batches have no labels; give them, fit\(im",
        ),
        (IMAGES, np.eye(2)[LABELS], r"shape \(8, 2\); if they are one-hot, load them with label_m"),
        (IMAGES, {"label": LABELS}, "labels must be one integer for each image, not a dict"),
        (
            resized(10),
            LABELS,
            r"takes \(None, 8, 8, 3\), but receives uint8.*size=\(8, 8\)",
        ),
        (IMAGES[..., :1], LABELS, "give them as RGB, channels last"),
        (IMAGES.reshape(8, -1), LABELS, "give them as RGB, channels last"),
        ({"images": IMAGES}, LABELS, r"dicts with \['images'\], but without 'image'"),
        ((IMAGES, IMAGES), LABELS, "image must be one tensor, not a tuple"),
    ],
)
def test_batches_that_do_not_fit(run, x, y, message, fit):
    with pytest.raises(InputError, match=message):
        fit(x, y, run=run)


def test_data_sets_that_do_not_fit(fit):
    pairs = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS))
    with pytest.raises(InputError, match=r"receives uint8 of shape \(8, 8, 3\); batch the data"):
        fit(pairs, None)
    paths = tf.data.Dataset.from_tensor_slices((["a.jpg"] * 8, LABELS)).batch(4)
    with pytest.raises(InputError, match="image holds strings; read and decode the files first"):
        fit(paths, None)
    names = tf.data.Dataset.from_tensor_slices((IMAGES, ["robin"] * 8)).batch(4)
    with pytest.raises(InputError, match="labels are strings; number them"):
        fit(names, None)
    with pytest.raises(InputError, match="the batches do not end; give fit `steps_per_epoch"):
        fit(pairs.batch(4).repeat(), None)


@pytest.mark.parametrize("teacher_size", [12, 6])
@pytest.mark.parametrize("several", [False, True])
def test_a_teacher_of_another_size(teacher_size, several, fit, small_embedder):
    teacher, losses = small_embedder(image_size=teacher_size), [RelativeTeacher()]
    arguments = {"teacher": teacher, "teacher_losses": losses}
    if several:
        arguments = {name: {"a": value} for name, value in arguments.items()}
    with pytest.raises(InputError) as refused:
        fit(**arguments)
    message = str(refused.value)
    called = "the teacher 'a'" if several else "the teacher"
    assert message.startswith(f"{called} takes images of {teacher_size} x {teacher_size} pixels")
    # What it says works, and shows nobody an image that was made larger.
    size = 12 if f"image_size=({teacher_size}, {teacher_size})" in message else 8
    assert size == max(teacher_size, 8)
    dataset = tf.data.Dataset.from_tensor_slices((resized(size), LABELS)).batch(8)
    remedy = message[message.index("dataset.map") :].removesuffix(".")
    batches = eval(remedy, {"tf": tf, "dataset": dataset})
    assert batches.element_spec[0]["image"].shape == (None, 8, 8, 3)
    history = fit(batches, None, **arguments).history
    assert np.isfinite(history["a_relative" if several else "relative"]).all()


@pytest.mark.parametrize(
    ("answer", "shape"), [(lambda x: tf.cast(x, tf.float32), "8, 8, 8, 3"), (lambda x: [1.0], "1,")]
)
def test_a_teacher_that_answers_without_vectors(answer, shape, fit):
    with pytest.raises(InputError, match=rf"returns float32 of shape \({shape}\), but an emb"):
        fit(teacher=answer, teacher_losses=[RelativeTeacher()])


@pytest.mark.quick(3)
@pytest.mark.parametrize("run_eagerly", [True, False])
@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES / 255, LABELS, "lie between 0.* and 1, but embedders take 0 to 255"),
        (IMAGES / 127.5 - 1, LABELS, "lie between -1 and 1, but embedders take"),
        (IMAGES, np.arange(8), "8 images of the first batch are each of another class"),
        (IMAGES, 0 * LABELS, "8 images of the first batch are all of one class"),
        (IMAGES, 0 * LABELS - 1, "8 images of the first batch have no labels"),
    ],
)
def test_a_first_batch_from_which_little_is_learnt(run_eagerly, images, labels, message, fit):
    with pytest.warns(UserWarning, match=message) as warned:
        fit(images, labels, run_eagerly=run_eagerly)
    assert len(warned) == 1


@pytest.mark.slow
def test_batches_that_fit_are_not_warned_of(fit):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Distiller")
        fit(np.float32(IMAGES), LABELS[:, None])
        fit(np.float32(IMAGES), np.arange(8), task_loss=ProxyAnchor(8))
        fit(
            class_batches(*(IMAGES, LABELS), classes_per_batch=2, images_per_class=2).take(2),
            None,
        )
