import hashlib
import io
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2

from keras_distill.data.image_set import read_pictures
from keras_distill.errors import InputError
from keras_distill.models.embedder import build_embedder
from keras_distill.serving.client.golden_pairs import read_golden
from keras_distill.serving.client.messages import PredictRequest
from keras_distill.serving.export.bundle import export_embedder
from keras_distill.serving.export.bundle_check import check_bundle
from keras_distill.serving.export.session_model import SessionModel
from keras_distill.teachers.embedder_fingerprint import embedder_fingerprint
from keras_distill.teachers.teacher import as_teacher

SIZE, DIM = 32, 8
INPUTS = {
    "serving_default": ("image_bytes", [None], tf.string),
    "serve_uint8": ("image", [None, SIZE, SIZE, 3], tf.uint8),
    "serve_float": ("image", [None, SIZE, SIZE, 3], tf.float32),
}


def build(seed=0, **more):
    keras.utils.set_random_seed(seed)
    options = {"alpha": 0.25, "image_size": SIZE, "embedding_dim": DIM, "backbone_weights": "none"}
    return build_embedder("mobilenet", backbone_layer="conv_pw_1_relu", **(options | more))


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
def embed(folder):
    """Calls a signature as TF-Serving does, and returns the embeddings."""
    with SessionModel(folder) as model:

        def call(name, value):
            value = np.array(value, object) if name == "serving_default" else value
            return model.call(name, {INPUTS[name][0]: value}, ["embedding"])["embedding"]

        yield call


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


def test_signatures_have_the_names_shapes_and_types_of_the_contract(folder, graph):
    signatures = tf.saved_model.load(str(folder)).signatures
    assert signatures.keys() == INPUTS.keys()
    for name, (argument, shape, dtype) in INPUTS.items():
        ((key, spec),) = signatures[name].structured_input_signature[1].items()
        assert (key, spec.shape.as_list(), spec.dtype) == (argument, shape, dtype)
        ((key, output),) = signatures[name].structured_outputs.items()
        assert (key, output.shape.as_list(), output.dtype) == ("embedding", [None, DIM], tf.float32)
        assert graph.signature_def[name].method_name == "tensorflow/serving/predict"


@pytest.mark.parametrize("rows", [1, 5])
def test_pixels_give_the_embeddings_of_the_model(model, embed, pixels, rows):
    images = pixels[:rows]
    expected = model(images)
    np.testing.assert_allclose(embed("serve_uint8", images), expected, atol=1e-5)
    np.testing.assert_allclose(embed("serve_float", np.float32(images)), expected, atol=1e-5)


def test_bytes_are_embedded_by_their_centre(model, embed):
    """7/8 of a short side of 37 pixels are 32: nothing is resized, and slicing shows the centre."""
    wide = np.random.default_rng(1).integers(0, 256, (37, 50, 3), np.uint8)
    tall = wide.transpose(1, 0, 2)
    grey = wide[..., 0]
    transparent = np.dstack([wide, grey])
    on_white = Image.new("RGB", (50, 37), "white")
    on_white.paste(Image.fromarray(wide), mask=Image.fromarray(grey))
    soft = np.full((37, 50, 3), np.linspace(20, 230, 50)[:, None], np.uint8)
    jpeg, grey_jpeg = encode(soft, "JPEG", quality=95), encode(soft[..., 0], "JPEG", quality=95)
    files = [encode(wide), encode(tall), encode(grey), encode(transparent), jpeg, grey_jpeg]
    decoded = [wide, tall, np.dstack([grey] * 3), np.asarray(on_white)]
    decoded += [np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files[4:]]
    centres = [
        image[2:34, 9:41] if image.shape[1] == 50 else image[9:41, 2:34] for image in decoded
    ]
    np.testing.assert_allclose(embed("serving_default", files), model(np.stack(centres)), atol=1e-5)


def test_photographs_are_embedded_upright(folder, embed, photograph):
    stored, upright = zip(*map(photograph, range(1, 9)), strict=True)
    damaged = [data.replace(b"II*\0", b"II*\1").replace(b"MM\0*", b"MM\1*") for data in stored]
    plain = [data.replace(b"Exif", b"exif") for data in stored]
    vectors, expected, without, unread = (
        embed("serving_default", files) for files in (stored, upright, damaged, plain)
    )
    np.testing.assert_allclose((vectors * expected).sum(1), 1, atol=1e-5)
    np.testing.assert_array_equal(without, unread)  # as if there were no EXIF
    assert ((unread * expected).sum(1)[1:] < 1 - 1e-4).all()
    message = PredictRequest()
    message.model_spec.signature_name = "serving_default"
    message.inputs["image_bytes"].MergeFromString(tf.make_tensor_proto(stored).SerializeToString())
    with SessionModel(folder) as session:
        np.testing.assert_allclose(session.run(message)["embedding"], vectors, atol=1e-6)


def test_large_photographs_are_shrunk(model, embed):
    fine = np.random.default_rng(2).integers(0, 256, (8, 8, 3), np.uint8)
    large = fine.repeat(64, 0).repeat(64, 1)  # 512 pixels, of which the centre has 448 = 14 x 32
    centre = Image.fromarray(large[32:480, 32:480]).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    expected = model(np.asarray(centre)[None])
    np.testing.assert_allclose(embed("serving_default", [encode(large)]), expected, atol=0.01)


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


def test_rows_and_pixels_are_bounded_before_anything_is_decoded(served):
    """Where the first image alone is decoded, nothing else could be said of it than that."""
    for rows, said in ((1024, "neither a JPEG nor a PNG"), (1025, "A request may hold 1024 im")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=said):
            served("serving_default", np.array([b"no image"] * rows, object))
    bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\1\0\0\0\1\0\0"  # 65,536 squared
    with pytest.raises(tf.errors.InvalidArgumentError, match="the largest one claims"):
        served("serving_default", np.array([b"no image", bomb], object))
    for name, kind in (("serve_uint8", np.uint8), ("serve_float", np.float32)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="A request may hold 1024 images"):
            served(name, np.zeros((1025, SIZE, SIZE, 3), kind))


def test_pixels_are_queued_in_the_type_in_which_they_come(graph):
    queued = [
        (node.attr["shared_name"].s, tf.as_dtype(kind))
        for function in graph.graph_def.library.function
        for node in function.node_def
        if node.op == "BatchFunction"
        for kind in node.attr["Tin"].list.type
    ]
    whole = b"uint8/batch/", tf.uint8
    assert sorted(queued) == [(b"float32/batch/", tf.float32), whole, whole]


@pytest.mark.slow
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
    with SessionModel(folder) as session:
        answer = session.call("serve_uint8", {"image": pixels}, ["embedding"])
    cosine = np.sum(answer["embedding"] * model(pixels), axis=1)
    assert cosine.min() > 0.999
    facts = json.loads((folder / "assets.extra" / "distill.json").read_text())
    assert facts["checks"]["trained_in"] == policy
    assert 0.999 < facts["checks"]["least_cosine_as_trained"] < 1


@pytest.mark.slow
@pytest.mark.parametrize("faulty", INPUTS)
def test_signature_that_differs_is_not_published(model, tmp_path, monkeypatch, faulty):
    run = SessionModel.run

    def other(self, request):
        answer = run(self, request)
        if request.model_spec.signature_name == faulty:
            bent = answer["embedding"] * np.where(np.arange(DIM) % 2, 1, 0.9)
            answer["embedding"] = bent / np.linalg.norm(bent, axis=1, keepdims=True)
        return answer

    monkeypatch.setattr(SessionModel, "run", other)
    with pytest.raises(RuntimeError, match="nothing was published") as raised:
        export_embedder(model, tmp_path)
    assert f"- the signature {faulty} differs from the Keras model: cosine 0.99" in str(
        raised.value
    )
    assert str(raised.value).count("\n- ") == 1
    assert [path.name for path in (tmp_path / "embedder").iterdir()] == [".export.lock"]


def test_embeddings_that_are_not_finite_are_not_published(tmp_path):
    model = build()
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    with pytest.raises(RuntimeError, match=r"cosine nan < 0\.9999"):
        export_embedder(model, tmp_path)


def test_grouped_convolutions_are_refused(tmp_path):
    """As ConvNeXt has: Keras compiles them by XLA, which a server does not."""
    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = keras.layers.Conv2D(4, 3)(image)
    x = keras.layers.Conv2D(4, 3, groups=2)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    with pytest.raises(RuntimeError, match=r"compiled by XLA.*choose another backbone"):
        export_embedder(keras.Model(image, keras.layers.UnitNormalization()(x)), tmp_path)
    assert not list((tmp_path / "embedder").glob("[0-9]*"))


@pytest.mark.slow
def test_vectors_that_are_not_of_length_1_are_not_published(tmp_path):
    image = keras.Input((SIZE, SIZE, 3), name="image")
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))
    with pytest.raises(RuntimeError, match=r"serve_uint8 gives vectors that are off length 1 by"):
        export_embedder(model, tmp_path)
    assert not list((tmp_path / "embedder").glob("[0-9]*"))


@pytest.mark.slow
def test_convnext_is_refused(tmp_path):
    options = {"image_size": SIZE, "embedding_dim": DIM, "backbone_weights": "none"}
    with pytest.raises(RuntimeError, match="as in ConvNeXt"):
        export_embedder(build_embedder("convnext_tiny", **options), tmp_path)


def test_a_published_bundle_passes_its_own_check_and_tells_what_it_is(model, folder):
    assert check_bundle(folder) == []
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {
        "MODEL_CARD.md",
        "SHA256SUMS",
        "assets.extra/distill.json",
        "assets.extra/golden/serve_float.pb",
        "assets.extra/golden/serve_uint8.pb",
        "assets.extra/golden/serving_default.pb",
        "assets.extra/tf_serving_warmup_requests",
        "fingerprint.pb",
        "saved_model.pb",
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
    }
    facts = json.loads((folder / "assets.extra" / "distill.json").read_text())
    assert (facts["name"], facts["version"]) == ("striped", 7)
    assert facts["embedding"]["dim"] == DIM
    assert facts["image"]["size"] == SIZE
    assert facts["embedder"] == embedder_fingerprint(as_teacher(model), SIZE)
    assert facts["batching"]["allowed_batch_sizes"] == [1, 2, 4, 8, 16, 32]
    assert facts["signatures"]["serve_uint8"]["inputs"]["image"] == {
        "dtype": "uint8",
        "shape": [None, SIZE, SIZE, 3],
    }
    assert min(facts["checks"]["least_cosine"].values()) >= 0.9999
    for file, digest in facts["sha256"].items():
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == digest
    assert facts["golden"] == "drawn pictures"
    assert facts["training"] is facts["data"] is facts["data_licence"] is None


@pytest.mark.slow
def test_golden_requests_show_given_images_only_if_asked(model, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    ramp = np.linspace(10, 240, 800)[None, :, None] * [1.0, 0.5, 0.7]
    photo = Image.fromarray(np.broadcast_to(ramp, (600, 800, 3)).astype(np.uint8))
    photo.save(folder / "a.jpg", exif=exif)
    (folder / "b.jpg").write_bytes(b"no image")
    photographs = read_pictures(folder)
    plain = export_embedder(model, tmp_path, images=photographs)
    facts = json.loads((plain / "assets.extra" / "distill.json").read_text())
    assert facts["checks"]["images"] == f"5 pictures, some drawn, some of {folder}"
    assert facts["golden"] == "drawn pictures"
    shown = [Image.open(io.BytesIO(data)).size for data in read_golden(plain)[2].images]
    assert sorted(shown) == [(160, 120), (160, 160), (160, 160), (160, 160)]

    kept = export_embedder(model, tmp_path, images=photographs, keep_images=True)
    (data,) = read_golden(kept)[2].images
    assert b"taken at home" in (folder / "a.jpg").read_bytes()
    assert b"taken at home" not in data
    shown = Image.open(io.BytesIO(data))
    assert shown.size == (512, 384)
    small = photo.resize(shown.size, Image.Resampling.BICUBIC)
    assert np.abs(np.asarray(shown, float) - np.asarray(small)).mean() < 5
    assert check_bundle(kept) == []


def test_images_of_which_none_can_be_read_are_refused(model, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(InputError, match="none of 1 images can be decoded"):
        export_embedder(model, tmp_path / "out", images=read_pictures(tmp_path))
    assert not (tmp_path / "out").exists()


def test_unknown_batching_is_refused(model, tmp_path):
    with pytest.raises(InputError, match="batching='always' is unknown; give one of graph, none"):
        export_embedder(model, tmp_path, batching="always")


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
