import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.losses.absolute_teacher import AbsoluteTeacher
from keras_distill.losses.batch_hard_triplet import BatchHardTriplet
from keras_distill.losses.relative_teacher import RelativeTeacher
from keras_distill.methods.distiller import Distiller
from keras_distill.methods.loss_scaling import CountingLossScale, SkippedSteps

IMAGES = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(16) % 4


@pytest.fixture
def build(small_embedder):
    def build():
        distiller = Distiller(
            small_embedder(seed=1, image_size=8),
            teacher=small_embedder(seed=2, image_size=8),
            task_loss=BatchHardTriplet(0.2),
            teacher_losses=[AbsoluteTeacher(), RelativeTeacher()],
        )
        distiller.compile(keras.optimizers.Adam(1e-2))
        return distiller

    return build


@pytest.mark.parametrize(
    "policy", [pytest.param("mixed_bfloat16", marks=pytest.mark.slow), "mixed_float16"]
)
def test_training(policy, build, dtype_policy):
    reference = build().evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
    dtype_policy(policy)
    distiller = build()
    loss_is_scaled = isinstance(distiller.optimizer, keras.optimizers.LossScaleOptimizer)
    assert loss_is_scaled == (policy == "mixed_float16")
    logs = distiller.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
    for name, value in logs.items():
        assert value == pytest.approx(reference[name], rel=0.05)
    history = distiller.fit(IMAGES, LABELS, epochs=5, verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())
    assert history["loss"][-1] < history["loss"][0]
    assert all(weight.dtype == "float32" for weight in distiller.weights)
    assert all(np.isfinite(weight).all() for weight in distiller.get_weights())
    assert distiller.predict(IMAGES, verbose=0).dtype == "float32"


def test_overflow_is_skipped_and_counted(build, dtype_policy, tmp_path):
    dtype_policy("mixed_float16")
    distiller = build()
    optimizer = distiller.optimizer
    optimizer.build(distiller.trainable_variables)
    optimizer.dynamic_scale.assign(2.0**8)
    distiller.train_on_batch(IMAGES, LABELS)
    optimizer.dynamic_scale.assign(2.0**40)  # far beyond 65504, the largest float16
    before = distiller.student.get_weights()
    logs = {}
    for skipped in range(1, 4):
        distiller.train_on_batch(IMAGES, LABELS)
        callback = SkippedSteps()
        callback.set_model(distiller)
        callback.on_epoch_end(0, logs)
        assert logs == {"skipped_steps": skipped}
        assert float(optimizer.dynamic_scale) == 2.0 ** (40 - skipped)
    for layer in distiller.student.layers:
        if not isinstance(layer, keras.layers.BatchNormalization):  # whose forward pass is fine
            for weight in layer.weights:
                assert any(np.array_equal(weight, former) for former in before)
    assert int(optimizer.iterations) == 1
    distiller.save(tmp_path / "distiller.keras")
    loaded = keras.models.load_model(tmp_path / "distiller.keras")
    assert type(loaded.optimizer) is CountingLossScale
    assert int(loaded.optimizer.skipped_steps) == 3
    assert float(loaded.optimizer.dynamic_scale) == 2.0**37
    optimizer.dynamic_scale.assign(2.0**8)
    distiller.train_on_batch(IMAGES, LABELS)
    assert (int(optimizer.iterations), int(optimizer.skipped_steps)) == (2, 3)
    assert any((a != b).any() for a, b in zip(distiller.student.get_weights(), before, strict=True))


def test_losses_are_float32(build, dtype_policy):
    dtype_policy("mixed_float16")
    distiller = build()
    x = {"teacher_embedding": tf.random.normal((16, 4))}
    loss = distiller.compute_loss(x, LABELS, tf.cast(tf.random.normal((16, 4)), "float16"))
    assert loss.dtype == "float32"


def test_teacher_sees_pixels_and_losses_see_targets_unrounded(small_embedder, dtype_policy):
    dtype_policy("mixed_bfloat16")
    seen = []

    def teacher(images):
        seen.append(images.dtype)
        return 1000.123 + tf.zeros((tf.shape(images)[0], 4))

    distiller = Distiller(
        small_embedder(image_size=8), teacher=teacher, teacher_losses=[AbsoluteTeacher("sum")]
    )
    distiller.compile()
    value = distiller.evaluate(IMAGES, batch_size=16, verbose=0)[0]
    targets = np.full((16, 4), 1000.123)
    expected = AbsoluteTeacher("sum")(targets, distiller.student(IMAGES, training=False))
    assert value == pytest.approx(float(expected), rel=1e-6)
    assert set(seen) == {tf.uint8}


def test_student_sees_pixels_unrounded(build, dtype_policy):
    dtype_policy("mixed_bfloat16")
    distiller = build()
    pixels = np.random.default_rng(0).uniform(0, 256, (16, 8, 8, 3)).astype("float32")
    expected = distiller.student(pixels, training=False)
    np.testing.assert_array_equal(distiller(pixels), expected)
    np.testing.assert_array_equal(distiller({"image": pixels}), expected)
