import hashlib
import json
import sys

import keras
import numpy as np
import pytest

from keras_distill.errors import InputError
from keras_distill.models.embedder import build_embedder
from keras_distill.models.file_formats import LEAST_COSINE, PRECISIONS
from keras_distill.models.fused_batch_norm import fuse_batch_norm
from keras_distill.serving.export import model_file
from keras_distill.serving.export.inference_model import inference_model
from keras_distill.serving.export.model_file import export_file
from keras_distill.teachers.loading import load_teacher

SIZE = 32


def trained(model, images):
    """Moves batch normalisations to what the images give, without which all vectors are alike."""
    for _ in range(30):
        model(images.astype(np.float32), training=True)
    fuse_batch_norm(model)
    return model


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (24, 4, 4, 3), dtype=np.uint8)
    return blocks.repeat(8, 1).repeat(8, 2)


@pytest.fixture(scope="module")
def model(images):
    keras.utils.set_random_seed(0)
    embedder = build_embedder(
        "mobilenet",
        alpha=0.25,
        image_size=SIZE,
        embedding_dim=256,
        backbone_weights="none",
        backbone_layer="conv_pw_3_relu",
    )
    return trained(embedder, images)


KINDS = [*(pytest.param(each, marks=pytest.mark.slow) for each in PRECISIONS), "onnx"]


@pytest.fixture(scope="module")
def litert(model, images, tmp_path_factory):
    """A file of each precision, by the precision."""
    out = tmp_path_factory.mktemp("models")
    return {
        precision: export_file(
            model, out, images, name="birds", precision=precision, calibration=images
        )
        for precision in PRECISIONS
    }


@pytest.fixture(scope="module")
def onnx(model, images, tmp_path_factory):
    return export_file(
        model, tmp_path_factory.mktemp("models"), images, name="birds", format="onnx"
    )


@pytest.fixture
def file(request, kind):
    """The file of a precision, or the ONNX file."""
    if kind == "onnx":
        return request.getfixturevalue("onnx")
    return request.getfixturevalue("litert")[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_card_says_what_the_file_is(file, kind, images):
    precision = "float32" if kind == "onnx" else kind
    folder, suffix = ("onnx", "onnx") if kind == "onnx" else ("litert", "tflite")
    assert file.parent.name == folder
    assert file.name == f"birds_{precision}.{suffix}"
    card = json.loads(file.with_suffix(".json").read_text())
    assert card["bytes"] == file.stat().st_size
    assert card["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert card["input"]["dtype"] == ("uint8" if kind == "int8" else "float32")
    assert card["input"]["shape"] == [None, SIZE, SIZE, 3]
    assert card["output"] == {"name": "embedding", "dtype": "float32", "shape": [None, 256]}
    cosine = card["cosine"]
    assert cosine["asked"] == LEAST_COSINE[precision] <= cosine["low"] <= cosine["mean"] <= 1.000001
    assert cosine["least"] <= cosine["low"]
    assert card["versions"]["keras"] == keras.__version__
    assert len(list(file.parent.iterdir())) == (2 if kind == "onnx" else 8)


@pytest.mark.parametrize("kind", KINDS)
def test_any_batch_gives_what_the_model_gives(file, kind, model, images):
    loaded = load_teacher(file)
    assert (loaded.image_size, loaded.embedding_dim) == (SIZE, 256)
    expected = np.asarray(model(images.astype(np.float32), training=False))
    within = {"float32": 1e-4, "onnx": 1e-4, "float16": 0.02}.get(kind, 0.2)
    for rows in (5, 1, 24):
        np.testing.assert_allclose(loaded(images[:rows]), expected[:rows], atol=within)
    one, many = loaded.runtime(1), loaded.runtime(2)
    pixels = images[:3].astype(np.float32)
    np.testing.assert_allclose(one(pixels), many(pixels), atol=1e-5)
    np.testing.assert_allclose(one(pixels), loaded(images[:3]), atol=1e-5)


@pytest.mark.slow
def test_names_types_and_sizes(litert):
    from ai_edge_litert.interpreter import Interpreter

    sizes = {kind: file.stat().st_size for kind, file in litert.items()}
    assert sizes["int8"] < sizes["float16"] < sizes["float32"]
    assert sizes["dynamic_int8"] < sizes["float16"]
    for precision in PRECISIONS:
        interpreter = Interpreter(str(litert[precision]))
        (signature,) = interpreter.get_signature_list().values()
        assert signature == {"inputs": ["image"], "outputs": ["embedding"]}
        (image,) = interpreter.get_input_details()
        (vector,) = interpreter.get_output_details()
        assert image["shape_signature"].tolist() == [-1, SIZE, SIZE, 3]
        assert vector["dtype"] == np.float32
        if precision == "int8":
            assert (image["dtype"], image["quantization"]) == (np.uint8, (1.0, 0))
        else:
            assert image["dtype"] == np.float32


@pytest.mark.slow
def test_image_without_black_or_white_keeps_the_scale(model, images, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    dull = images // 4 + 90
    file = export_file(model, tmp_path, dull, precision="int8", calibration=dull)
    (image,) = Interpreter(str(file)).get_input_details()
    assert image["quantization"] == (1.0, 0)


def test_copy_is_plain(model, images):
    copy = inference_model(model)
    layers = [la for la in copy._flatten_layers() if type(la) is keras.layers.BatchNormalization]
    assert layers
    assert not any("call" in vars(layer) for layer in layers)
    pixels = images.astype(np.float32)
    np.testing.assert_allclose(copy(pixels)["embedding"], model(pixels), atol=1e-5)


def test_mixed_precision_becomes_float32(small_embedder, dtype_policy, images, tmp_path):
    dtype_policy("mixed_bfloat16")
    mixed = small_embedder()
    dtype_policy("float32")
    copy = inference_model(mixed)
    assert {layer.dtype_policy.name for layer in copy._flatten_layers()} == {"float32"}
    for ours, theirs in zip(copy.get_weights(), mixed.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("kind", ["litert", "onnx"])
def test_file_that_differs_is_not_published(kind, small_embedder, images, monkeypatch, tmp_path):
    model, other = small_embedder(), small_embedder(seed=1)
    write = getattr(model_file, f"write_{kind}")
    monkeypatch.setattr(
        model_file, f"write_{kind}", lambda _, file, **options: write(other, file, **options)
    )
    refused = (
        r"differs .*: \d+ of 24 images have a cosine below 0.9999, the worst -?0\.\d+\. It was"
    )
    with pytest.raises(RuntimeError, match=refused):
        export_file(model, tmp_path, images, format=kind)
    assert not list((tmp_path / "embedder" / kind).iterdir())


def test_the_advice_of_a_refusal_works(small_embedder, images, monkeypatch, tmp_path):
    model = small_embedder()

    def write(model, file, **options):
        bent = keras.models.clone_model(model)
        bent.set_weights([w + 0.01 * np.abs(w).max() * (w.ndim == 2) for w in model.get_weights()])
        write_litert(bent, file, **options)

    write_litert = model_file.write_litert
    monkeypatch.setattr(model_file, "write_litert", write)
    with pytest.raises(RuntimeError, match=r"`least_cosine=0\.\d+` takes it, and") as refused:
        export_file(model, tmp_path, images)
    bound = float(str(refused.value).partition("`least_cosine=")[2].partition("`")[0])
    file = export_file(model, tmp_path, images, least_cosine=bound)
    assert json.loads(file.with_suffix(".json").read_text())["cosine"]["asked"] == bound
    for wrong in (0.0, 1.5):
        with pytest.raises(InputError, match=f"least_cosine={wrong} must be above 0 and at most"):
            export_file(model, tmp_path, images, least_cosine=wrong)


def test_replaces_what_is_there(small_embedder, images, tmp_path):
    first = export_file(small_embedder(), tmp_path, images)
    before = first.read_bytes()
    assert export_file(small_embedder(seed=1), tmp_path, images) == first
    assert first.read_bytes() != before
    card = json.loads(first.with_suffix(".json").read_text())
    assert card["sha256"] == hashlib.sha256(first.read_bytes()).hexdigest()


def test_refused(small_embedder, images, monkeypatch, tmp_path):
    with pytest.raises(InputError, match="precision='int8' needs images to calibrate with"):
        export_file(small_embedder(), tmp_path, images, precision="int8")
    with pytest.raises(InputError, match="model takes images of any size"):
        inference_model(small_embedder(image_size=None))
    for missing, format, extra in (
        ("tf2onnx", "onnx", "onnx"),
        ("ai_edge_litert", "litert", "litert"),
    ):
        monkeypatch.setitem(sys.modules, missing, None)
        with pytest.raises(
            InputError, match=rf"needs {missing}; .* pip install 'keras_distill\[{extra}\]'"
        ):
            export_file(small_embedder(), tmp_path, images, format=format)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_operation_that_litert_does_not_know(images, tmp_path, capfd):
    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = keras.layers.GlobalAveragePooling2D()(image)
    x = keras.ops.erfinv(keras.ops.tanh(x))
    with pytest.raises(RuntimeError, match="The model could not be converted"):
        export_file(keras.Model(image, x), tmp_path, images)
    assert "Ignored output_format" in capfd.readouterr().err  # the converter's log, once it fails
