import io
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2

from keras_distill.data.views import centre_view
from keras_distill.errors import InputError
from keras_distill.models.embedder import build_embedder
from keras_distill.serving import bundle
from keras_distill.serving.bundle import export_embedder

SIZE, DIM = 32, 8
INPUTS = {
    "serving_default": ("image_bytes", [None], tf.string),
    "serve_uint8": ("image", [None, SIZE, SIZE, 3], tf.uint8),
    "serve_float": ("image", [None, SIZE, SIZE, 3], tf.float32),
}


def build(seed=0, **more):
    keras.utils.set_random_seed(seed)
    options = {"alpha": 0.25, "image_size": SIZE, "embedding_dim": DIM, "trunk_weights": "none"}
    return build_embedder("mobilenet", trunk_layer="conv_pw_1_relu", **(options | more))


def encode(pixels, kind="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    return export_embedder(model, tmp_path_factory.mktemp("models"), name="striped", version=7)


@pytest.fixture(scope="module")
def signatures(folder):
    loaded = tf.saved_model.load(str(folder))
    return {name: loaded.signatures[name] for name in loaded.signatures}


@pytest.fixture(scope="module")
def graph(folder):
    file = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    (meta_graph,) = file.meta_graphs
    return meta_graph


@pytest.fixture(scope="module")
def served(folder, graph):
    """Calls a signature in a session that, as that of TF-Serving, lets any shape through."""
    fed, fetched = {}, {}
    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        for name in INPUTS:
            signature = graph.signature_def[name]
            (info,) = signature.inputs.values()
            fed[name] = info.name, tf.compat.v1.placeholder(tf.as_dtype(info.dtype))
            fetched[name] = signature.outputs["embedding"].name
        tf.compat.v1.saved_model.loader.load(
            session, ["serve"], str(folder), input_map=dict(fed.values())
        )

    def call(name, value):
        return session.run(fetched[name], {fed[name][1]: value})

    yield call
    session.close()


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3), np.uint8)


def test_signatures_have_the_names_shapes_and_types_of_the_contract(signatures, graph):
    assert signatures.keys() == INPUTS.keys()
    for name, (argument, shape, dtype) in INPUTS.items():
        ((key, spec),) = signatures[name].structured_input_signature[1].items()
        assert (key, spec.shape.as_list(), spec.dtype) == (argument, shape, dtype)
        ((key, output),) = signatures[name].structured_outputs.items()
        assert (key, output.shape.as_list(), output.dtype) == ("embedding", [None, DIM], tf.float32)
        assert graph.signature_def[name].method_name == "tensorflow/serving/predict"


@pytest.mark.parametrize("rows", [1, 5])
def test_pixels_give_the_embeddings_of_the_model(model, signatures, pixels, rows):
    images = pixels[:rows]
    expected = model(images)
    whole = signatures["serve_uint8"](image=tf.constant(images))["embedding"]
    real = signatures["serve_float"](image=tf.constant(images, tf.float32))["embedding"]
    np.testing.assert_allclose(whole, expected, atol=1e-5)
    np.testing.assert_allclose(real, expected, atol=1e-5)


def test_bytes_are_embedded_by_their_centre(model, signatures):
    """7/8 of a short side of 37 pixels are 32: nothing is resized, and slicing shows the centre."""
    wide = np.random.default_rng(1).integers(0, 256, (37, 50, 3), np.uint8)
    tall = wide.transpose(1, 0, 2)
    grey = wide[..., 0]
    transparent = np.dstack([wide, grey])
    soft = np.full((37, 50, 3), np.linspace(20, 230, 50)[:, None], np.uint8)
    jpeg, grey_jpeg = encode(soft, "JPEG", quality=95), encode(soft[..., 0], "JPEG", quality=95)
    files = [encode(wide), encode(tall), encode(grey), encode(transparent), jpeg, grey_jpeg]
    decoded = [wide, tall, np.dstack([grey] * 3), wide]
    decoded += [np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files[4:]]
    centres = [
        image[2:34, 9:41] if image.shape[1] == 50 else image[9:41, 2:34] for image in decoded
    ]
    embedding = signatures["serving_default"](image_bytes=tf.constant(files))["embedding"]
    np.testing.assert_allclose(embedding, model(np.stack(centres)), atol=1e-5)


def test_large_photographs_are_shrunk(model, signatures):
    fine = np.random.default_rng(2).integers(0, 256, (8, 8, 3), np.uint8)
    large = fine.repeat(64, 0).repeat(64, 1)  # 512 pixels, of which the centre has 448 = 14 x 32
    embedding = signatures["serving_default"](image_bytes=tf.constant([encode(large)]))
    centre = Image.fromarray(large[32:480, 32:480]).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    expected = model(np.asarray(centre)[None])
    np.testing.assert_allclose(embedding["embedding"], expected, atol=0.01)


def test_session_serves_the_signatures(model, served, pixels):
    expected = model(pixels)
    np.testing.assert_allclose(served("serve_uint8", pixels), expected, atol=1e-5)
    np.testing.assert_allclose(served("serve_float", pixels.astype("f")), expected, atol=1e-5)
    framed = np.pad(pixels, ((0, 0), (2, 3), (2, 3), (0, 0)))  # 37 pixels
    files = np.array([encode(image) for image in framed], object)
    np.testing.assert_allclose(served("serving_default", files), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("serve_uint8", np.zeros((SIZE, SIZE, 3), np.uint8)),
        ("serve_uint8", np.zeros((1, SIZE, SIZE), np.uint8)),
        ("serve_uint8", np.zeros((1, 16, 16, 3), np.uint8)),
        ("serve_uint8", np.zeros((1, SIZE, SIZE, 1), np.uint8)),
        ("serve_uint8", np.uint8(0)),
        ("serve_float", np.zeros((1, 1, SIZE, SIZE, 3), np.float32)),
        ("serve_float", np.zeros(DIM, np.float32)),
        ("serving_default", np.array(b"scalar", object)),
        ("serving_default", np.array([[b"a"], [b"b"]], object)),
        ("serving_default", np.array([b"no image"], object)),
        ("serving_default", np.array([b""], object)),
    ],
)
def test_input_of_another_shape_is_an_invalid_argument(served, name, value):
    with pytest.raises(tf.errors.InvalidArgumentError):
        served(name, value)


def consumers(function, argument):
    """The nodes of a function that take an argument, with its place among their inputs."""
    for node in function.node_def:
        for place, taken in enumerate(node.input):
            if taken.split(":")[0] == argument:
                yield node, place


@pytest.mark.parametrize("name", INPUTS)
def test_shape_is_checked_before_anything_else(graph, name):
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    (fed,) = graph.signature_def[name].inputs.values()
    taken = [node for node in graph.graph_def.node if fed.name.split(":")[0] in node.input]
    calls = [(node, list(node.input).index(fed.name.split(":")[0])) for node in taken]
    checks = []
    while calls:
        node, place = calls.pop()
        if node.op in ("StatefulPartitionedCall", "PartitionedCall"):
            function = functions[node.attr["f"].func.name]
            calls += consumers(function, function.signature.input_arg[place].name)
        else:
            checks.append(node)
    shape = tf.TensorShape(INPUTS[name][1])
    assert [node.op for node in checks] == ["EnsureShape"]
    assert tf.TensorShape(checks[0].attr["shape"].shape) == shape


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_lower_precision_is_exported_as_float32(dtype_policy, tmp_path, pixels, policy):
    dtype_policy(policy)
    model = build()
    assert model.get_layer("head").compute_dtype == policy.removeprefix("mixed_")
    folder = export_embedder(model, tmp_path)
    graph = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    text = str(graph.meta_graphs[0].graph_def)
    assert "DT_FLOAT" in text
    assert "DT_HALF" not in text
    assert "DT_BFLOAT16" not in text
    embedding = tf.saved_model.load(str(folder)).signatures["serve_uint8"](image=pixels)
    cosine = np.sum(embedding["embedding"] * model(pixels), axis=1)
    assert cosine.min() > 0.999


@pytest.fixture
def write_nothing(monkeypatch):
    """Publishes folders without a model in them, which is quick."""
    monkeypatch.setattr(bundle, "_write", lambda model, folder, size: (folder / "pb").touch())
    monkeypatch.setattr(bundle, "_compare", lambda model, folder, size: None)


def test_first_version_is_1_and_the_next_one_follows_the_highest(model, tmp_path, write_nothing):
    assert export_embedder(model, tmp_path) == tmp_path / "embedder" / "1"
    assert export_embedder(model, tmp_path, name="birds") == tmp_path / "birds" / "1"
    for other in ("9", "010", ".tmp-77-x", "77-old", "notes"):
        (tmp_path / "embedder" / other).mkdir()
    assert export_embedder(model, str(tmp_path)) == tmp_path / "embedder" / "11"
    assert export_embedder(model, tmp_path, version=5) == tmp_path / "embedder" / "5"


@pytest.mark.parametrize(
    ("version", "said"), [(3, "exists"), (4, "exists"), (0, "not positive"), (-1, "not positive")]
)
def test_version_that_cannot_be_is_refused(model, tmp_path, write_nothing, version, said):
    for present in ("3", "04"):
        (tmp_path / "embedder" / present).mkdir(parents=True)
    with pytest.raises(InputError, match=rf"version={version} of .*{said}"):
        export_embedder(model, tmp_path, version=version)
    assert sorted(path.name for path in (tmp_path / "embedder").iterdir()) == ["04", "3"]


@pytest.mark.parametrize("faulty", INPUTS)
@pytest.mark.parametrize("factor", [-1.0, 0.0, np.nan])
def test_signature_that_differs_is_not_published(model, tmp_path, monkeypatch, faulty, factor):
    def signature(name):
        def call(image=None, image_bytes=None):
            if image is None:
                image = tf.stack([centre_view(data, SIZE) for data in image_bytes])
            return {"embedding": model(image) * (factor if name == faulty else 1.0)}

        return call

    loaded = SimpleNamespace(signatures={name: signature(name) for name in INPUTS})
    monkeypatch.setattr(bundle, "_write", lambda model, folder, size: (folder / "pb").touch())
    monkeypatch.setattr(tf.saved_model, "load", lambda folder: loaded)
    with pytest.raises(RuntimeError, match=rf"signature {faulty} differs.*Nothing was published"):
        export_embedder(model, tmp_path)
    assert not list((tmp_path / "embedder").iterdir())


def test_model_that_is_no_embedder_is_refused(tmp_path):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))
    with pytest.raises(InputError, match="takes images of any size; build it with a fixed"):
        export_embedder(model, tmp_path)
    vector = keras.Input((5,))
    with pytest.raises(InputError, match="square RGB images"):
        export_embedder(keras.Model(vector, keras.layers.Dense(3)(vector)), tmp_path)
    assert not list(tmp_path.iterdir())


def test_place_that_cannot_be_written_is_refused(model, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="could not be written"):
        export_embedder(model, tmp_path / "file")
