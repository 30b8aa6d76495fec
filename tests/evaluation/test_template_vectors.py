import numpy as np

from keras_distill.evaluation.template_vectors import template_vectors


def test_naive_loop():
    random = np.random.default_rng(0)
    vectors = random.normal(size=(40, 5)).astype(np.float32)
    templates = random.integers(0, 6, 40)
    media = templates * 10 + random.integers(0, 3, 40)
    found = template_vectors(vectors, templates, media, 8)
    for template in range(6):
        means = [
            vectors[(templates == template) & (media == medium)].mean(axis=0)
            for medium in np.unique(media[templates == template])
        ]
        mean = np.mean(means, axis=0)
        np.testing.assert_allclose(found[template], mean / np.linalg.norm(mean), rtol=1e-5)
    assert not found[6:].any()
