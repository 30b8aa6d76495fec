import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.losses.batch_hard_triplet import BatchHardTriplet
from keras_distill.methods.distiller import Distiller
from keras_distill.models.feature_tap import FeatureTap
from keras_distill.models.frozen_batch_norm import freeze_batch_norm, keeps_statistics
from keras_distill.training.averaged_student import AveragedStudent
from keras_distill.training.layerwise_optimizers import LayerwiseAdam

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(0, 256, (8, 8, 8, 3), dtype=np.uint8), np.arange(8) // 2


@pytest.fixture
def student(small_embedder):
    student = small_embedder(image_size=8)
    norm = student.layers[3]
    norm.set_weights([RNG.uniform(0.5, 2, weight.shape) for weight in norm.weights])
    return student


def train(distiller, **arguments):
    distiller.compile(LayerwiseAdam(0.01, **arguments))
    distiller.fit(IMAGES, LABELS, batch_size=4, epochs=2, shuffle=False, verbose=0)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("shape", [(4, 3, 3, 5), (4, 5)])
def test_values_and_gradients_are_those_of_inference(shape, dtype):
    inputs, towards = np.float32(RNG.normal(1, 2, (2, *shape)))
    norm = keras.layers.BatchNormalization(dtype=dtype)
    model = keras.Sequential([keras.Input(shape[1:]), norm])
    norm.set_weights([RNG.uniform(0.5, 2, 5) for _ in range(4)])
    gamma, beta, mean, variance = map(np.float64, norm.get_weights())
    freeze_batch_norm(model)
    with tf.GradientTape() as tape:
        x = tf.constant(inputs)
        tape.watch(x)
        loss = tf.reduce_sum(tf.cast(model(x, training=True), "float32") * towards)
    to_x, to_gamma, to_beta = tape.gradient(loss, [x, norm.gamma.value, norm.beta.value])
    scaled = (np.float64(inputs) - mean) / np.sqrt(variance + norm.epsilon)
    tolerance = 1e-5 if dtype == "float32" else 0.03
    axes = tuple(range(len(shape) - 1))
    for found, expected in (
        (model(inputs, training=True), scaled * gamma + beta),
        (to_x, towards * gamma / np.sqrt(variance + norm.epsilon)),
        (to_gamma, (towards * scaled).sum(axes)),
        (to_beta, towards.sum(axes)),
    ):
        np.testing.assert_allclose(
            np.float32(found), expected, rtol=tolerance, atol=10 * tolerance * np.abs(towards).max()
        )
    for weight, before in zip(norm.get_weights(), (gamma, beta, mean, variance), strict=True):
        np.testing.assert_array_equal(weight, np.float32(before))


def test_a_training_keeps_the_statistics_and_moves_the_rest(student):
    norm = student.layers[3]
    gamma, beta, *statistics = norm.get_weights()
    freeze_batch_norm(student)
    freeze_batch_norm(student)  # twice does no harm
    train(Distiller(student, task_loss=BatchHardTriplet(0.5)))
    for weight, before in zip(norm.get_weights(), (gamma, beta), strict=False):
        assert np.abs(weight - before).max() > 1e-3
    for weight, before in zip(norm.get_weights()[2:], statistics, strict=True):
        np.testing.assert_array_equal(weight, before)


def test_rows_do_not_depend_on_each_other(student):
    alone = student(IMAGES[:2], training=True).numpy()
    assert np.abs(student(IMAGES, training=True).numpy()[:2] - alone).max() > 1e-3
    freeze_batch_norm(student)
    together = student(IMAGES, training=True)[:2]
    np.testing.assert_allclose(student(IMAGES[:2], training=True), together, atol=1e-6)
    np.testing.assert_allclose(student(IMAGES[:2]), together, atol=1e-6)


def test_frozen_layers_can_be_tapped(student):
    freeze_batch_norm(student)
    norm = student.layers[3]
    _, maps = FeatureTap(student, [norm.name])(IMAGES, training=True)
    _, expected = FeatureTap(student, [norm.name])(IMAGES, training=False)
    np.testing.assert_allclose(maps[norm.name], expected[norm.name], atol=1e-6)


def test_averaged_weights_keep_the_statistics(student):
    distiller = Distiller(student, task_loss=BatchHardTriplet(0.5))
    distiller.compile(LayerwiseAdam(0.01, use_ema=True, ema_momentum=0.6))
    averaged = AveragedStudent(distiller, student, [IMAGES])
    statistics = student.layers[3].get_weights()[2:]
    freeze_batch_norm(student)
    distiller.fit(IMAGES, LABELS, batch_size=4, epochs=2, verbose=0)
    averaged.refresh()
    for weight, before in zip(
        averaged.student.layers[3].get_weights()[2:], statistics, strict=True
    ):
        np.testing.assert_array_equal(weight, before)
    assert keeps_statistics(averaged.student.layers[3])


def test_a_saved_distiller_is_frozen_and_its_student_is_not(student, tmp_path):
    freeze_batch_norm(student)
    distiller = Distiller(student, task_loss=BatchHardTriplet(0.5))
    train(distiller)
    distiller.save(tmp_path / "distiller.keras")
    student.save(tmp_path / "student.keras")
    loaded = keras.models.load_model(tmp_path / "distiller.keras")
    before = loaded.student.layers[3].get_weights()
    np.testing.assert_allclose(loaded.predict(IMAGES, verbose=0), student(IMAGES), atol=1e-6)
    loaded.fit(IMAGES, LABELS, batch_size=4, verbose=0)
    for weight, former in zip(loaded.student.layers[3].get_weights()[2:], before[2:], strict=True):
        np.testing.assert_array_equal(weight, former)
    alone = keras.models.load_model(tmp_path / "student.keras")
    assert not keeps_statistics(alone.layers[3])


def test_frozen_layers_are_fused_in_a_loaded_distiller_too(student):
    freeze_batch_norm(student)
    distiller = Distiller(student, task_loss=BatchHardTriplet(0.5))
    for each in (distiller, Distiller.from_config(distiller.get_config())):
        assert keeps_statistics(each.student.layers[3])
        step = tf.function(lambda images, model=each.student: model(images, training=True))
        graph = step.get_concrete_function(tf.TensorSpec([4, 8, 8, 3])).graph
        assert "FusedBatchNormV3" in {operation.type for operation in graph.get_operations()}


def test_a_model_without_batch_normalisation(small_embedder):
    with pytest.raises(InputError, match="no batch normalisation to freeze in"):
        freeze_batch_norm(small_embedder(image_size=8, batch_norm=False))
