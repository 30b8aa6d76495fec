import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tensorflow.core.framework import tensor_pb2

from keras_distill.serving.client.messages import TensorProto
from keras_distill.serving.client.tensors import decode_float, encode_array, encode_strings

FLOATS = arrays.arrays(np.float32, arrays.array_shapes(max_dims=4, max_side=4))
BYTES = arrays.arrays(np.uint8, arrays.array_shapes(min_dims=4, max_dims=4, max_side=4))


@given(FLOATS | BYTES)
def test_arrays_are_the_bytes_of_tensorflow(array):
    ours = encode_array(array)
    if array.size > 1:  # of a single number TensorFlow makes float_val or int_val
        assert ours.SerializeToString() == tf.make_tensor_proto(array).SerializeToString()
    read = tf.make_ndarray(tensor_pb2.TensorProto.FromString(ours.SerializeToString()))
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=5))
def test_strings_are_the_bytes_of_tensorflow(strings):
    official = tf.make_tensor_proto(strings, tf.string)
    assert encode_strings(strings).SerializeToString() == official.SerializeToString()


@given(FLOATS)
def test_float_arrays_come_back(array):
    np.testing.assert_array_equal(decode_float(encode_array(array), array.shape), array)
    as_numbers = TensorProto(dtype=1, float_val=array.ravel())
    as_numbers.tensor_shape.CopyFrom(encode_array(array).tensor_shape)
    np.testing.assert_array_equal(decode_float(as_numbers, array.shape), array)


@pytest.mark.parametrize("values", [[], [2.5], [2.5, 3.0, 7.0]])
def test_short_encodings_mean_what_they_mean_in_tensorflow(values):
    tensor = TensorProto(dtype=1, float_val=values)
    for size in (2, 3):
        tensor.tensor_shape.dim.add(size=size)
    official = tensor_pb2.TensorProto.FromString(tensor.SerializeToString())
    np.testing.assert_array_equal(decode_float(tensor, (2, 3)), tf.make_ndarray(official))


def test_what_does_not_fit_is_refused():
    tensor = encode_array(np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match=r"DT_FLOAT and shape \(2, 3\), not DT_FLOAT and \(3, 2\)"):
        decode_float(tensor, (3, 2))
    with pytest.raises(ValueError, match="type DT_UINT8 and shape"):
        decode_float(encode_array(np.zeros((2, 3), np.uint8)), (2, 3))
    tensor.tensor_content = b"12345678"
    with pytest.raises(ValueError, match=r"8 bytes in a float32 tensor \(2, 3\)"):
        decode_float(tensor, (2, 3))
    tensor.ClearField("tensor_content")
    tensor.float_val.extend(range(7))
    with pytest.raises(ValueError, match=r"7 numbers in a float32 tensor \(2, 3\)"):
        decode_float(tensor, (2, 3))
    tensor.tensor_shape.unknown_rank = True
    with pytest.raises(ValueError, match="a tensor of type"):
        decode_float(tensor, (2, 3))
