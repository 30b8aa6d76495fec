"""Each check is given a model that it has to refuse, beside one that differs in that alone."""

import numpy as np
import pytest
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.serving.export.graph_batching import batched
from keras_distill.serving.export.graph_checks import graph_faults
from keras_distill.serving.export.request_bounds import bounded_rows
from keras_distill.serving.export.signature_defs import read_meta_graph

SHAPE = [None, 4, 4, 3]
WEIGHTS = np.ones((3, 2), np.float32)


def pooled(image):
    return tf.reduce_mean(tf.cast(image, tf.float32), [1, 2]) @ WEIGHTS


def checked(image):
    return bounded_rows(tf.ensure_shape(image, SHAPE))


def guarded(image):
    return {"embedding": pooled(checked(image))}


@pytest.fixture
def faults(tmp_path):
    """The faults of a function as a signature, saved and read again."""

    def find(function, shape=SHAPE, jit_compile=None):
        module = tf.Module()
        module.call = tf.function(
            function,
            input_signature=[tf.TensorSpec(shape, tf.float32, "image")],
            autograph=False,
            jit_compile=jit_compile,
        )
        tf.saved_model.save(module, str(tmp_path), {"serving_default": module.call})
        return graph_faults(read_meta_graph(tmp_path))

    return find


def test_guarded_model_has_no_fault(faults):
    assert faults(guarded) == []


def nested(function):
    inner = tf.function(function, autograph=False)
    return tf.function(lambda image: inner(tf.identity(image)), autograph=False)


def test_guard_within_nested_functions_is_found(faults):
    check = nested(checked)
    assert faults(lambda image: {"embedding": pooled(check(image))}) == []


def leaking(image):
    tf.ensure_shape(image, SHAPE)
    return image


@pytest.mark.parametrize(
    ("function", "operation"),
    [
        (lambda image: pooled(image), "Mean"),
        (lambda image: nested(pooled)(image), "Mean"),
        # The guard comes second, or for another use of the same input.
        (lambda image: pooled(tf.ensure_shape(image * 2, SHAPE)), "Mul"),
        (lambda image: pooled(checked(image)) + pooled(image), "Mean"),
        # A guard that lets other shapes through.
        (
            lambda image: pooled(bounded_rows(tf.ensure_shape(image, [None, None, None, 3]))),
            "EnsureShape",
        ),
        # Checked in an inner function, which hands on what was not checked.
        (
            lambda image: pooled(tf.function(leaking, autograph=False)(image)),
            "the result of a function",
        ),
        # Within a batch.
        (
            lambda image: tf.ensure_shape(
                tf.nondifferentiable_batch_function(1, 8, 0, autograph=False)(pooled)(image),
                [None, 2],
            ),
            "BatchFunction",
        ),
    ],
)
def test_input_that_is_not_guarded(faults, function, operation):
    (fault,) = faults(lambda image: {"embedding": function(image)})
    assert fault.startswith("serving_default: the input 'image' goes into ")
    assert operation in fault
    assert "would abort the server" in fault


def late(image):
    bounded_rows(image)
    return pooled(image)


def of_another(image):
    other = tf.zeros([tf.size(tf.random.uniform([2])), 1])
    with tf.control_dependencies([bounded_rows(other)]):
        return pooled(tf.identity(image))


def from_below(image):
    enough = tf.raw_ops.Assert(condition=tf.shape(image)[0] > 0, data=["too few"])
    with tf.control_dependencies([enough]):
        return pooled(tf.identity(image))


@pytest.mark.parametrize(
    ("function", "operation"),
    [(pooled, "Mean"), (late, "Mean"), (of_another, "Identity"), (from_below, "Identity")],
)
def test_input_whose_rows_are_not_bounded(faults, function, operation):
    (fault,) = faults(lambda image: {"embedding": function(tf.ensure_shape(image, SHAPE))})
    assert fault.startswith(f"serving_default: the input 'image' goes into {operation} before its ")
    assert faults(lambda image: {"embedding": function(checked(image))}) == []


def test_input_that_nothing_takes(faults):
    (fault,) = faults(lambda image: {"embedding": tf.zeros([tf.constant(2), 2])[:, :2]} | _open())
    assert "goes into nothing, not even tf.ensure_shape" in fault


def _open():
    rows = tf.random.uniform([], 1, 2, tf.int32)
    return {"embedding": tf.ensure_shape(tf.zeros(tf.stack([rows, 2])), [None, 2])}


def test_input_of_any_rank(faults):
    (fault,) = faults(
        lambda image: {
            "embedding": tf.reshape(bounded_rows(tf.ensure_shape(image, None)), [-1, 2])
        },
        shape=None,
    )
    assert fault == "serving_default: the input 'image' may have any rank"


def test_function_that_must_be_compiled(faults):
    compiled = tf.function(pooled, jit_compile=True)
    found = faults(lambda image: {"embedding": compiled(checked(image))})
    assert len(found) == 1
    assert "must be compiled by XLA" in found[0]
    interpreted = tf.function(pooled, jit_compile=False)
    assert faults(lambda image: {"embedding": interpreted(checked(image))}) == []


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_output_of_lower_precision(faults, dtype):
    found = faults(lambda image: {"embedding": tf.cast(guarded(image)["embedding"], dtype)})
    assert f"serving_default: the output 'embedding' is {dtype}, not float32" in found
    assert any(fault.endswith("copy the weights") for fault in found)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_computation_of_lower_precision(faults, dtype):
    def function(image):
        pixels = tf.cast(checked(image), dtype)
        return {"embedding": tf.cast(tf.reduce_mean(pixels, [1, 2]), tf.float32)}

    (fault,) = faults(function)
    assert f"operations compute in {dtype}" in fault


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda vectors: tf.reduce_sum(vectors), "()"),
        (lambda vectors: tf.ensure_shape(vectors, [1, 2]), "(1, 2)"),
        (lambda vectors: tf.reduce_mean(vectors, 0), "(2,)"),
        (lambda vectors: tf.py_function(lambda x: x, [vectors], tf.float32), "<unknown>"),
    ],
)
def test_output_without_batch_dimension(faults, function, shape):
    (fault,) = faults(lambda image: {"embedding": function(guarded(image)["embedding"])})
    assert f"the output 'embedding' has the shape {shape}, which does not begin" in fault


def test_queue_that_is_shared_by_two_types(faults):
    def summed(run):
        def function(image):
            image = checked(image)
            real, whole = (tf.function(run, autograph=False) for _ in range(2))
            vectors = real(image) + whole(tf.cast(image, tf.uint8))
            return {"embedding": tf.ensure_shape(vectors, [None, 2])}

        return function

    shared = tf.nondifferentiable_batch_function(1, 8, 0, autograph=False)(pooled)
    (fault,) = faults(summed(shared))
    assert fault.startswith("batches of float32 and uint8 share the queue 'batch/', and a request")
    assert faults(summed(batched(pooled))) == []


def test_no_signature(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path))
    assert graph_faults(read_meta_graph(tmp_path)) == ["there is no signature that predicts"]


def test_what_is_no_saved_model(tmp_path):
    with pytest.raises(InputError, match=r"holds no readable saved_model\.pb"):
        read_meta_graph(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"\xff\xff")
    with pytest.raises(InputError, match=r"holds no readable saved_model\.pb"):
        read_meta_graph(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(InputError, match="has no graph with the tag 'serve'"):
        read_meta_graph(tmp_path)
