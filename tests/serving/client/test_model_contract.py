import pytest
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import get_model_metadata_pb2

from keras_distill.serving.client.errors import ModelMismatch, ServingError
from keras_distill.serving.client.messages import SignatureDefMap
from keras_distill.serving.export.bundle import export_embedder


def connect(make_client, **options):
    return make_client(**options).connect()


@pytest.fixture(scope="module")
def exported(small_embedder, tmp_path_factory):
    """The signatures of an exported embedder, as a server gives them out."""
    folder = export_embedder(small_embedder(dim=5), tmp_path_factory.mktemp("models"))
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in saved.meta_graphs[0].signature_def.items():
        signatures.signature_def[name].CopyFrom(signature)
    return SignatureDefMap.FromString(signatures.SerializeToString())


def test_an_exported_embedder_is_one(make_client, served, exported):
    served.signatures = exported
    model = connect(make_client, dim=5)
    assert (model.dim, model.image_shape) == (5, (32, 32, 3))


def test_images_of_any_size(make_client, served):
    for dim in served.signatures.signature_def["serve_uint8"].inputs["image"].tensor_shape.dim:
        dim.size = -1
    assert connect(make_client).image_shape == (None, None, None)


def test_all_differences_are_told(make_client, served):
    signatures = served.signatures.signature_def
    del signatures["serve_float"]
    signatures["serve_uint8"].inputs["image"].dtype = 1
    signatures["serve_uint8"].outputs["embedding"].tensor_shape.dim.add(size=1)
    inputs = signatures["serving_default"].inputs
    inputs["bytes"].CopyFrom(inputs.pop("image_bytes"))
    with pytest.raises(ModelMismatch) as raised:
        connect(make_client)
    assert str(raised.value).partition(": ")[2] == (
        "serving_default has no input 'image_bytes', only bytes; input 'image' of serve_uint8 is "
        "DT_FLOAT, not DT_UINT8; output 'embedding' of serve_uint8 has rank 3; it has no signature "
        "'serve_float', only serve_uint8, serving_default. Export it by "
        "`python -m keras_distill.export`."
    )


def test_a_model_without_signatures(make_client, served):
    served.signatures.Clear()
    with pytest.raises(ModelMismatch, match="no signature 'serving_default', only none"):
        connect(make_client)


def test_widths_differ(make_client, served):
    signature = served.signatures.signature_def["serve_float"]
    signature.outputs["embedding"].tensor_shape.dim[1].size = 9
    with pytest.raises(ModelMismatch, match=r"widths \[4, 4, 9\], not of one"):
        connect(make_client)


def test_width_is_not_the_one_asked_for(make_client):
    with pytest.raises(
        ModelMismatch, match=r"'birds' at .* gives embeddings of width 4, not of dim="
    ):
        connect(make_client, dim=128)


def test_no_such_model(make_client):
    with pytest.raises(ServingError, match=r"'birdz' at .* NOT_FOUND: Servable .*\. Check name"):
        connect(make_client, model="birdz")
