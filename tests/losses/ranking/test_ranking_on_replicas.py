"""Ranking with two replicas, which must mean the same as on one device."""

import json

import numpy as np
import pytest

CODE = """
import json

import keras
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from keras_distill import AllPairsRankingHinge, KnownSquaredError, Supervised

random = np.random.default_rng(0)
images = np.float32(random.normal(size=(24, 4)))
scores = np.where(np.arange(24) % 6 < 2, random.normal(size=24), np.nan)[:, None]
groups = np.where(np.arange(24) % 6 < 2, -1, np.arange(24) % 3)
ranked = np.stack([np.arange(24) // 3 % 4, groups], 1)
one = tf.distribute.get_strategy()
two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
found = {}
for normalisation in ("rows", "pairs", "sum"):
    runs = []
    for strategy in (one, two):
        with strategy.scope():
            keras.utils.set_random_seed(0)
            image = keras.Input((4,), name="image")
            product = keras.Model(image, {"score": keras.layers.Dense(1)(image)})
            losses = {
                "score": KnownSquaredError(),
                "ranked": AllPairsRankingHinge(0.5, normalisation),
            }
            model = Supervised(product, losses, streams={"ranked": "score"})
            model.compile(keras.optimizers.SGD(1e-2))
        data = ({"image": images}, {"score": np.float32(scores), "ranked": ranked})
        batches = tf.data.Dataset.from_tensor_slices(data).batch(12)
        history = model.fit(batches, epochs=2, verbose=0).history
        weights = product.get_weights()[0].ravel().tolist()
        runs.append([*history["score"], *history["ranked"], *weights])
    found[normalisation] = runs
print(json.dumps(found))
"""


@pytest.mark.slow
def test_fit_is_that_of_one_device(run_warm_python):
    found = json.loads(run_warm_python(CODE).splitlines()[-1])
    for normalisation, (alone, replicated) in found.items():
        assert min(map(abs, alone)) > 0
        np.testing.assert_allclose(replicated, alone, rtol=1e-4, err_msg=normalisation)
