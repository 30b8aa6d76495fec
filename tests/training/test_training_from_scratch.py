"""A short training from random weights, by plain `fit`, leaves a student that is of use."""

import keras
import numpy as np
import pytest

from keras_distill import Distiller, SemiHardTriplet, build_embedder, retrieval_metrics


def stripes(images_per_class):
    """Stripes in 8 directions, shuffled."""
    rng = np.random.default_rng(images_per_class)
    labels = rng.permutation(np.tile(np.arange(8), images_per_class))
    angle = (np.pi * labels / 8)[:, None, None]
    y, x = np.mgrid[:32, :32]
    phase = rng.uniform(0, 6, (len(labels), 1, 1))
    waves = 128 + 90 * np.sin((x * np.cos(angle) + y * np.sin(angle)) / 1.5 + phase)
    images = np.clip(waves[..., None] + rng.normal(0, 20, (*waves.shape, 3)), 0, 255)
    return images.astype(np.uint8), labels


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    keras.utils.set_random_seed(0)
    student = build_embedder(
        "mobilenet", alpha=0.25, image_size=32, embedding_dim=16, trunk_weights="none"
    )
    distiller = Distiller(student, task_loss=SemiHardTriplet(0.2))
    distiller.compile(keras.optimizers.Adam(3e-3))
    images, labels = stripes(32)
    distiller.fit(images, labels, batch_size=64, epochs=8, verbose=0)
    file = tmp_path_factory.mktemp("student") / "student.keras"
    student.save(file)
    return keras.models.load_model(file)


def test_it_tells_images_apart(student):
    images, labels = stripes(8)
    embeddings = student.predict(images, verbose=0)
    assert np.sqrt(np.mean(np.sum((embeddings - embeddings.mean(axis=0)) ** 2, axis=1))) > 0.1
    assert retrieval_metrics(embeddings, labels).recall[1] > 0.4  # chance is 0.11


def test_its_batch_normalisations_are_keras_own(student):
    momenta = {
        layer.momentum
        for layer in student._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    }
    assert momenta == {0.99}
