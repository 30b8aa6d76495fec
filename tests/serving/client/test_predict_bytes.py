import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_serving.apis import predict_pb2

from keras_distill.serving.client.messages import ModelSpec
from keras_distill.serving.client.predict_bytes import predict_bytes

SPECS = [{}, {"version": {"value": 3}}, {"version_label": "stable"}]


def official(spec, name, tensor):
    request = predict_pb2.PredictRequest(output_filter=["embedding"])
    request.model_spec.ParseFromString(spec.SerializeToString())
    request.inputs[name].CopyFrom(tensor)
    return request.SerializeToString()


@pytest.mark.parametrize("which", SPECS)
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5))
def test_files_are_written_as_by_the_official_stubs(which, files):
    spec = ModelSpec(name="birds", signature_name="serving_default", **which)
    expected = official(spec, "image_bytes", tf.make_tensor_proto(files, tf.string))
    assert predict_bytes(spec, files) == expected


@pytest.mark.parametrize("which", SPECS)
@pytest.mark.parametrize(
    ("signature", "dtype"), [("serve_uint8", np.uint8), ("serve_float", np.float32)]
)
@pytest.mark.parametrize("count", [1, 2, 33])
def test_pixels_are_written_as_by_the_official_stubs(which, signature, dtype, count):
    spec = ModelSpec(name="birds", signature_name=signature, **which)
    images = np.random.default_rng(0).integers(0, 256, (count, 9, 10, 3)).astype(dtype)
    expected = official(spec, "image", tf.make_tensor_proto(images))
    assert predict_bytes(spec, list(images)) == expected
    everted = [np.asfortranarray(image) for image in images]
    swapped = [image.astype(image.dtype.newbyteorder(">")) for image in images]
    assert predict_bytes(spec, everted) == predict_bytes(spec, swapped) == expected
    wide = np.repeat(images, 2, axis=2)[:, :, ::2]
    assert predict_bytes(spec, list(wide)) == expected
