"""A short training from random weights, by plain `fit`, leaves a student that is of use."""

import keras
import numpy as np
import pytest

from keras_distill import Distiller, SemiHardTriplet, build_embedder, retrieval_metrics


def coloured(images_per_class):
    """Noise around 8 colours, shuffled."""
    rng = np.random.default_rng(images_per_class)
    labels = rng.permutation(np.tile(np.arange(8), images_per_class))
    colours = np.random.default_rng(0).uniform(60, 200, (8, 1, 1, 3))
    images = colours[labels] + rng.normal(0, 20, (len(labels), 32, 32, 3))
    return np.clip(images, 0, 255).astype(np.uint8), labels


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    keras.utils.set_random_seed(0)
    student = build_embedder(
        "mobilenet",
        backbone_layer="conv_pw_6_relu",
        alpha=0.25,
        image_size=32,
        embedding_dim=16,
        backbone_weights="none",
    )
    distiller = Distiller(student, task_loss=SemiHardTriplet(0.2))
    distiller.compile(keras.optimizers.Adam(1e-3))
    images, labels = coloured(32)
    distiller.fit(images, labels, batch_size=32, epochs=4, verbose=0)
    file = tmp_path_factory.mktemp("student") / "student.keras"
    student.save(file)
    return keras.models.load_model(file)


def test_it_tells_images_apart(student):
    images, labels = coloured(16)
    embeddings = student.predict(images, verbose=0)
    deviations = np.linalg.norm(embeddings - embeddings.mean(axis=0), axis=1)
    assert deviations.mean() > 0.1
    assert retrieval_metrics(embeddings, labels).recall[1] > 0.3  # chance is 0.12


def test_its_batch_normalisations_are_keras_own(student):
    momenta = {
        layer.momentum
        for layer in student._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    }
    assert momenta == {0.99}
