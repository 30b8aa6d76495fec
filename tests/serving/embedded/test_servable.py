import contextlib
import gc
import os
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from keras_distill.serving.embedded.budget import Budget
from keras_distill.serving.embedded.servable import RequestLimits, Servable


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    module = tf.Module()
    rows = tf.TensorSpec([None, 2], name="rows")
    factor = tf.TensorSpec([], name="factor")
    function = tf.function(lambda rows, factor: {"product": rows * factor})
    signature = function.get_concrete_function(rows, factor)
    folder = tmp_path_factory.mktemp("model")
    tf.saved_model.save(module, str(folder), signatures={"serving_default": signature})
    return folder


def request(count):
    values = {"rows": np.ones((count, 2), np.float32), "factor": np.float32(3)}
    return predict_pb2.PredictRequest(
        inputs={name: tf.make_tensor_proto(value) for name, value in values.items()}
    )


def test_requests_share_the_rows_in_the_graph(folder):
    rows = Budget(4)
    servable = Servable(folder, "model", 1, RequestLimits(10**6, 10**6, Budget(1), rows))

    def checks(count, taken):
        """Predicts while rows are taken, until somebody is found to wait for them."""
        left, found = contextlib.ExitStack(), []
        left.enter_context(rows.taking(taken))

        def check():
            found.append(rows._free)
            left.close()

        product = servable.predict(request(count), check).outputs["product"]
        assert tf.make_ndarray(product).tolist() == [[3, 3]] * count
        return found

    assert checks(2, taken=2) == [0]  # right before the model is run
    assert checks(3, taken=2) == [2, 1]
    assert checks(100, taken=1) == [3, 0]
    assert rows._free == 4


@pytest.mark.skipif(sys.platform != "linux", reason="counts the threads of this process in /proc")
def test_the_threads_of_batches_end_with_the_model(tmp_path):
    """Each wakes up a thousand times a second, of every version that was ever loaded."""
    module = tf.Module()
    double = tf.nondifferentiable_batch_function(4, 8, 0, autograph=False)(lambda rows: rows * 2)
    function = tf.function(lambda rows, factor: {"product": double(rows) * factor})
    specs = tf.TensorSpec([None, 2], name="rows"), tf.TensorSpec([], name="factor")
    signature = function.get_concrete_function(*specs)
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": signature})

    def threads_of_another():
        servable = Servable(tmp_path, "model", 1, RequestLimits(10**6, 10**6, Budget(1), Budget(8)))
        product = servable.predict(request(1)).outputs["product"]
        assert tf.make_ndarray(product).tolist() == [[6, 6]]
        loaded = len(os.listdir("/proc/self/task"))
        del servable
        gc.collect()
        return loaded, len(os.listdir("/proc/self/task"))

    threads_of_another()
    loaded, unloaded = threads_of_another()
    assert loaded >= unloaded + 4
