import keras
import numpy as np
import pytest

from keras_distill.losses.batch_hard_triplet import BatchHardTriplet
from keras_distill.methods.distiller import Distiller
from keras_distill.training.layer_freezing import LayerFreezing
from keras_distill.training.layerwise_optimizers import LayerwiseAdam

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(0, 256, (8, 8, 8, 3), dtype=np.uint8), np.arange(8) // 2


def build():
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(6, 3)(image)
    x = keras.layers.BatchNormalization()(x)
    fixed = keras.layers.Conv2D(4, 3)
    x = fixed(x)
    fixed.trainable = False
    backbone = keras.Model(image, x, name="trunk")
    x = keras.layers.GlobalAveragePooling2D()(backbone(image))
    x = keras.layers.Dense(4, name="head")(x)
    return keras.Model(image, keras.layers.UnitNormalization()(x))


class Watch(keras.callbacks.Callback):
    def __init__(self, backbone):
        super().__init__()
        self._backbone = backbone
        self.backbone, self.loss, self.velocities = [self._copy()], [], []

    def _copy(self):
        return [weight.numpy() for weight in self._backbone.weights]

    def on_epoch_end(self, epoch, logs=None):
        self.backbone.append(self._copy())
        self.loss.append(logs["loss"])
        self.velocities.append(sum(v.numpy().sum() for v in self.model.optimizer._velocities))


def fit(frozen_epochs=2, epochs=4, jit_compile=False, **options):
    student = build()
    backbone = student.get_layer("trunk")
    distiller = Distiller(student, task_loss=BatchHardTriplet(0.5))
    distiller.compile(LayerwiseAdam(0.01, count_updates=True, **options), jit_compile=jit_compile)
    watch = Watch(backbone)
    distiller.fit(
        IMAGES,
        LABELS,
        batch_size=8,
        epochs=epochs,
        shuffle=False,
        callbacks=[LayerFreezing(backbone, frozen_epochs), watch],
        verbose=0,
    )
    return student, watch


def same(one, other):
    return [np.array_equal(a, b) for a, b in zip(one, other, strict=True)]


def test_frozen_and_then_trained_with_its_statistics():
    student, watch = fit()
    assert all(same(watch.backbone[0], watch.backbone[2]))
    fixed = student.get_layer("trunk").layers[-1]
    assert not any(same(watch.backbone[2], watch.backbone[3])[:-2])
    assert not fixed.trainable
    assert student.get_layer("trunk").layers[1].trainable
    assert len(set(watch.loss)) == 4
    assert np.all(np.diff(watch.velocities) > 0)


def test_the_head_is_trained_as_behind_a_backbone_that_is_frozen_by_hand():
    student, _ = fit(2, epochs=2)
    frozen = build()
    frozen.get_layer("trunk").trainable = False
    distiller = Distiller(frozen, task_loss=BatchHardTriplet(0.5))
    distiller.compile(keras.optimizers.Adam(0.01))
    distiller.fit(IMAGES, LABELS, batch_size=8, epochs=2, shuffle=False, verbose=0)
    np.testing.assert_allclose(student(IMAGES), frozen(IMAGES), atol=1e-6)


@pytest.mark.slow
def test_with_xla_it_is_the_same():
    (_, plain), (_, compiled) = fit(), fit(jit_compile=True)
    assert compiled.loss == pytest.approx(plain.loss, rel=1e-4)
    for one, other in zip(plain.backbone[-1], compiled.backbone[-1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-4)  # variances are in thousands


def test_frozen_to_the_end_with_averages():
    student, watch = fit(9, epochs=3, use_ema=True, ema_momentum=0.5)
    assert all(same(watch.backbone[0], watch.backbone[-1]))
    assert student.get_layer("trunk").layers[1].trainable
