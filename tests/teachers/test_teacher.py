import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.data.image_set import ImageSet
from keras_distill.errors import InputError
from keras_distill.teachers.teacher import Teacher, as_teacher


@pytest.fixture(scope="module")
def model(small_embedder):
    return small_embedder()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)


def test_keras_model(model, images):
    teacher = as_teacher(model)
    assert (teacher.embedding_dim, teacher.image_size) == (4, 32)
    expected = model(images, training=False)
    for pixels in (images, np.float32(images), tf.constant(images)):
        np.testing.assert_allclose(teacher(pixels), expected, atol=1e-6)


def test_inference_mode(small_embedder, images):
    model = small_embedder()
    before = model.get_weights()
    as_teacher(model)(images)
    for weight, former in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, former)


def test_later_weights_count(small_embedder, images):
    model = small_embedder()
    teacher = as_teacher(model)
    first = teacher(images)
    model.set_weights([2 * weight + 0.1 for weight in model.get_weights()])
    assert np.abs(teacher(images) - first).max() > 1e-3
    np.testing.assert_allclose(teacher(images), model(images, training=False), atol=1e-6)


def test_model_of_any_size():
    image = keras.Input((None, None, 3))
    teacher = as_teacher(keras.Model(image, keras.layers.GlobalAveragePooling2D()(image)))
    assert (teacher.embedding_dim, teacher.image_size) == (3, None)
    for size in (4, 7):
        np.testing.assert_allclose(teacher(np.full((2, size, size, 3), 9)), np.full((2, 3), 9.0))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_model_answers_in_float32(policy, images, dtype_policy):
    dtype_policy(policy)
    image = keras.Input((32, 32, 3))
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))
    answer = as_teacher(model)(images)
    assert answer.dtype == "float32"
    np.testing.assert_allclose(answer, images.mean(axis=(1, 2)), rtol=1e-2)


def test_function(images):
    teacher = as_teacher(lambda pixels: tf.reduce_mean(tf.cast(pixels, "float64"), axis=[1, 2]))
    assert (teacher.embedding_dim, teacher.image_size) == (None, None)
    assert teacher(images).dtype == "float32"
    np.testing.assert_allclose(teacher(images), images.mean(axis=(1, 2)), rtol=1e-5)


def test_teacher_is_returned_as_it_is():
    teacher = Teacher(lambda pixels: pixels, embedding_dim=5, image_size=6)
    assert as_teacher(teacher) is teacher
    assert (teacher.embedding_dim, teacher.image_size) == (5, 6)


def test_model_that_names_its_embedding(model, images):
    named = keras.Model(model.input, {"embedding": model.output})
    teacher = as_teacher(named)
    assert (teacher.embedding_dim, teacher.image_size) == model.output_shape[1:] + (
        model.input_shape[1],
    )
    np.testing.assert_allclose(teacher(images), model(images, training=False), atol=1e-6)
    layer = next(each.name for each in model.layers if isinstance(each, keras.layers.Conv2D))
    teacher.tap([layer])
    embedding, maps = teacher.features(images)
    np.testing.assert_allclose(embedding, model(images, training=False), atol=1e-6)
    assert list(maps) == [layer]
    both = keras.Model(model.input, {"embedding": model.output, "logits": model.output})
    with pytest.raises(InputError, match="must have one output"):
        as_teacher(both)


def test_no_gradient(model, images):
    pixels = tf.constant(np.float32(images))
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        answer = as_teacher(model)(pixels)
    gradients = tape.gradient(answer, [pixels, *model.trainable_variables])
    assert gradients == [None] * len(gradients)


def test_works_in_a_graph(model, images):
    compiled = tf.function(as_teacher(model), jit_compile=True)
    np.testing.assert_allclose(compiled(images), model(images, training=False), atol=1e-5)


@pytest.mark.parametrize("value", [3, "teacher.keras", None])
def test_no_teacher(value):
    with pytest.raises(InputError, match="is neither a Keras model nor callable on a batch"):
        as_teacher(value)


def test_model_that_is_no_embedder():
    image = keras.Input((8, 8, 3))
    with pytest.raises(InputError, match=r"^`model` 'map' returns \(None, 8, 8, 3\)"):
        as_teacher(keras.Model(image, keras.layers.ReLU()(image), name="map"))


def test_options_of_a_model(images):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))
    teacher = as_teacher(model, image_size=32, preprocessing="0_1")
    assert (teacher.embedding_dim, teacher.image_size) == (3, 32)
    np.testing.assert_allclose(teacher(images), images.mean(axis=(1, 2)) / 255, rtol=1e-5)
    with pytest.raises(
        InputError, match=r"^`model` is a Teacher already; give `image_size` and `prepr"
    ):
        as_teacher(teacher, preprocessing="-1_1")


def test_options_of_a_function(images):
    teacher = as_teacher(lambda x: tf.reduce_max(x, [1, 2]), image_size=32, preprocessing="0_1")
    assert teacher.image_size == 32
    np.testing.assert_allclose(teacher(images), images.max(axis=(1, 2)) / 255, rtol=1e-5)


def test_size_that_the_model_does_not_take(model):
    with pytest.raises(InputError, match=r"^`image_size=64`: `model` takes images of 32 x 32"):
        as_teacher(model, image_size=64)


def test_ids_and_cover_do_not_matter_to_a_function_of_pixels(model, images, tmp_path):
    teacher = as_teacher(model)
    assert teacher.needs_ids is False
    np.testing.assert_array_equal(teacher(images, np.arange(6)), teacher(images))
    teacher.check_covers(ImageSet(tmp_path, np.array(["a.jpg"]), np.zeros(1, np.int64), ("a",)))
