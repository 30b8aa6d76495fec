"""Exports of models whose outputs are not embeddings, or not these alone."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.models.product import EMBEDDING, product_shape
from keras_distill.serving.client import output_contract
from keras_distill.serving.client.golden_pairs import read_golden
from keras_distill.serving.export import model_file
from keras_distill.serving.export.bundle import export_embedder, export_model
from keras_distill.serving.export.bundle_check import check_bundle
from keras_distill.serving.export.checksums import write_sums
from keras_distill.serving.export.file_runtime import load_file
from keras_distill.serving.export.inference_model import inference_model
from keras_distill.serving.export.model_file import export_file
from keras_distill.serving.export.session_model import SessionModel

SIZE = 32
SIGNATURES = ("serve_float", "serve_uint8", "serving_default")


def noise(count, seed=0):
    blocks = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return blocks.repeat(8, 1).repeat(8, 2)


def product(**outputs):
    """A model with outputs that are functions of a pooled feature."""
    image = keras.Input((SIZE, SIZE, 3), name="image")
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    return keras.Model(image, {name: make(pooled) for name, make in outputs.items()})


@pytest.fixture(scope="module")
def model(two_outputs):
    return two_outputs()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    return export_model(model, tmp_path_factory.mktemp("models"), name="crowd")


@pytest.fixture
def expected(model):
    return {name: tensor.numpy() for name, tensor in model(noise(5)).items()}


def test_signatures_return_all_outputs_as_the_keras_model(folder, expected):
    signatures = tf.saved_model.load(str(folder)).signatures
    session = SessionModel(folder)
    for name, dtype in (("serve_uint8", np.uint8), ("serve_float", np.float32)):
        outputs = session.call(
            name, {"image": noise(5).astype(dtype)}, list(signatures[name].structured_outputs)
        )
        assert {key: tensor.shape for key, tensor in outputs.items()} == {
            "logits": (5, 5),
            "density": (5, 4, 4, 1),
        }
        for key, tensor in outputs.items():
            np.testing.assert_allclose(tensor, expected[key], atol=1e-4)
    shapes = {k: s.shape.as_list() for k, s in signatures["serve_uint8"].structured_outputs.items()}
    assert shapes == {"logits": [None, 5], "density": [None, 4, 4, 1]}


@pytest.mark.parametrize("batching", ["graph", pytest.param("none", marks=pytest.mark.slow)])
def test_a_published_product_passes_its_own_check(model, folder, tmp_path, batching):
    if batching == "none":
        folder = export_model(model, tmp_path, name="crowd", batching="none")
    assert check_bundle(folder) == []


def test_golden_requests_have_a_pair_for_each_output(folder):
    pairs = read_golden(folder)
    assert [(pair.signature, pair.output) for pair in pairs] == [
        (signature, output) for signature in SIGNATURES for output in ("density", "logits")
    ]
    for pair in pairs:
        assert list(pair.request.output_filter) == ["density", "logits"]
        assert pair.vectors.shape[1:] == {"logits": (5,), "density": (4, 4, 1)}[pair.output]
        assert pair.label == f"{pair.signature} {pair.output}"
        assert pair.faults(pair.closeness(pair.vectors)) == []
        (fault,) = pair.faults(pair.closeness(pair.vectors * 1.01))
        assert f"of {pair.label} are answered otherwise than by the export: closeness 0.9" in fault


def test_facts_and_card_say_what_the_outputs_are(folder):
    facts = json.loads((folder / "assets.extra" / "distill.json").read_text())
    assert facts["outputs"] == {
        "density": {"shape": [None, 4, 4, 1], "dtype": "float32"},
        "logits": {"shape": [None, 5], "dtype": "float32"},
    }
    assert "embedding" not in facts
    assert facts["embedder"] is None
    checks = facts["checks"]
    assert {name: set(by) for name, by in checks["closeness"].items()} == {
        "density": set(SIGNATURES),
        "logits": set(SIGNATURES),
    }
    assert min(min(by.values()) for by in checks["closeness"].values()) > 0.9999
    card = (folder / "MODEL_CARD.md").read_text()
    assert "| `density` | float32 `(n, 4, 4, 1)` |\n| `logits` | float32 `(n, 5)` |\n" in card
    assert "client predict --model=crowd --images=photos --out=answers.npz\n```\n\n## Che" in card
    assert "| `logits`, serve_uint8 | 1.000000 |" in card
    for word in ("Recall", "mbedder", "ectors of two", "cosine with"):
        assert word not in card


@pytest.mark.slow
def test_embeddings_among_other_outputs_must_be_of_length_1(tmp_path):
    outputs = {"embedding": keras.layers.Dense(4), "score": keras.layers.Dense(1)}
    with pytest.raises(RuntimeError, match=r"serve_uint8 gives vectors that are off length 1 by"):
        export_model(product(**outputs), tmp_path, name="scored")
    unit = keras.layers.UnitNormalization()
    outputs["embedding"] = lambda x: unit(keras.layers.Dense(4)(x))
    folder = export_model(product(**outputs), tmp_path, name="scored")
    facts = json.loads((folder / "assets.extra" / "distill.json").read_text())
    assert facts["outputs"]["embedding"]["length"] == 1
    assert (
        "| `embedding` | float32 `(n, 4)`, vectors of length 1 |"
        in (folder / "MODEL_CARD.md").read_text()
    )
    assert check_bundle(folder) == []


@pytest.mark.slow
def test_a_lone_embedding_by_name_is_an_embedder(small_embedder, tmp_path):
    plain = small_embedder()
    named = keras.Model(plain.input, {"embedding": plain.output})
    facts = [
        json.loads((folder / "assets.extra" / "distill.json").read_text())
        for folder in (
            export_embedder(plain, tmp_path),
            export_model(named, tmp_path, name="embedder"),
        )
    ]
    assert facts[1].pop("embedder") is None
    assert len(facts[0].pop("embedder")) == 32
    for one in facts:
        for key in ("created", "version", "sha256", "bytes"):
            del one[key]
    assert facts[0] == facts[1]


@pytest.mark.slow
@pytest.mark.parametrize("faulty", SIGNATURES)
def test_swapped_outputs_are_not_published(tmp_path, monkeypatch, faulty):
    model = product(one=keras.layers.Dense(3), two=keras.layers.Dense(3))
    run = SessionModel.run

    def swapped(self, request):
        answer = run(self, request)
        if request.model_spec.signature_name == faulty:
            answer["one"], answer["two"] = answer["two"], answer["one"]
        return answer

    monkeypatch.setattr(SessionModel, "run", swapped)
    with pytest.raises(RuntimeError, match="nothing was published") as raised:
        export_model(model, tmp_path, name="swapped")
    for name in ("one", "two"):
        assert f"- the signature {faulty}, output {name!r}, differs from the Keras model: " in str(
            raised.value
        )
    assert str(raised.value).count("\n- ") == 2
    assert not list((tmp_path / "swapped").glob("[0-9]*"))


@pytest.mark.slow
def test_an_output_of_another_name_is_not_published(model, tmp_path, monkeypatch):
    run = SessionModel.run

    def renamed(self, request):
        answer = run(self, request)
        answer["output_0"] = answer.pop("logits")
        return answer

    monkeypatch.setattr(SessionModel, "run", renamed)
    with pytest.raises(RuntimeError, match="nothing was published") as raised:
        export_model(model, tmp_path, name="renamed")
    assert (
        "the signature serve_uint8 returns density, output_0, where the Keras model returns "
        "density, logits" in str(raised.value)
    )


@pytest.mark.slow
def test_another_product_in_a_bundle_is_noticed(model, folder, two_outputs, tmp_path):
    def graft(other):
        own = export_model(model, tmp_path, name="own")
        theirs = export_model(other, tmp_path, name="other")
        for file in ("saved_model.pb", *(f"variables/{p.name}" for p in own.glob("variables/*"))):
            (own / file).write_bytes((theirs / file).read_bytes())
        write_sums(own)
        return check_bundle(own)

    found = graft(two_outputs(seed=1))
    assert len(found) == 6
    assert all("are answered otherwise than by the export: closeness " in fault for fault in found)
    found = graft(keras.Model(model.input, {"logits": model.output["logits"]}))
    assert found == [
        f"golden {signature} density fails: no output 'density', only logits"
        for signature in SIGNATURES
    ]


@pytest.mark.slow
def test_mixed_precision_is_exported_as_float32(two_outputs, dtype_policy, tmp_path):
    dtype_policy("mixed_bfloat16")
    mixed = two_outputs()
    dtype_policy("float32")
    folder = export_model(mixed, tmp_path, name="mixed")
    checks = json.loads((folder / "assets.extra" / "distill.json").read_text())["checks"]
    assert checks["trained_in"] == "mixed_bfloat16"
    assert checks["closeness_as_trained"].keys() == {"logits", "density"}
    assert all(0.9 < least < 1 for least in checks["closeness_as_trained"].values())
    assert (
        "| `logits`, the model as trained, mixed_bfloat16 | 0.9"
        in (folder / "MODEL_CARD.md").read_text()
    )


@pytest.mark.parametrize(
    "kind",
    [
        "float32",
        "onnx",
        *(
            pytest.param(kind, marks=pytest.mark.slow)
            for kind in ("float16", "dynamic_int8", "int8")
        ),
    ],
)
def test_files_return_all_outputs_by_name(model, tmp_path, expected, kind):
    options = {"format": "onnx"} if kind == "onnx" else {"precision": kind}
    file = export_file(model, tmp_path, noise(24), name="crowd", calibration=noise(24), **options)
    within = {"float32": 1e-3, "onnx": 1e-3, "float16": 0.02}.get(kind, 0.2)
    outputs = load_file(file)(noise(5))
    assert outputs.keys() == expected.keys()
    for name, rows in expected.items():
        assert outputs[name].dtype == np.float32
        np.testing.assert_allclose(outputs[name], rows, atol=within * np.abs(rows).max())
    card = json.loads(file.with_suffix(".json").read_text())
    assert card["outputs"] == [
        {"name": "density", "dtype": "float32", "shape": [None, 4, 4, 1]},
        {"name": "logits", "dtype": "float32", "shape": [None, 5]},
    ]
    assert card["closeness"].keys() == {"density", "logits"}
    assert card["closeness"]["logits"]["least"] > 1 - within
    assert not {"output", "cosine", "lengths"} & card.keys()


@pytest.mark.parametrize("format", ["litert", "onnx"])
def test_file_that_differs_is_not_published(format, two_outputs, monkeypatch, tmp_path):
    model, other = two_outputs(), two_outputs(seed=1)
    write = getattr(model_file, f"write_{format}")
    monkeypatch.setattr(
        model_file, f"write_{format}", lambda _, file, **options: write(other, file, **options)
    )
    refused = r"output 'logits': \d+ of 24 images have a closeness below 0.999, the worst .*It was"
    with pytest.raises(RuntimeError, match=refused):
        export_file(model, tmp_path, noise(24), format=format)
    bare = keras.Model(model.input, {"scores": model.output["logits"]})
    monkeypatch.setattr(
        model_file, f"write_{format}", lambda _, file, **options: write(bare, file, **options)
    )
    with pytest.raises(RuntimeError, match=r"returns {'scores': \(24, 5\)}, where .* 'density'"):
        export_file(model, tmp_path, noise(24), format=format)
    assert not list((tmp_path / "embedder" / format).iterdir())


def test_the_advice_of_a_refusal_works(model, monkeypatch, tmp_path):
    write = model_file.write_litert

    def bent(model, file, **options):
        copy = keras.models.clone_model(model)
        copy.set_weights([w * 1.002 for w in model.get_weights()])
        write(copy, file, **options)

    monkeypatch.setattr(model_file, "write_litert", bent)
    with pytest.raises(RuntimeError, match=r"`least_closeness=0\.\d+` takes it\.$") as refused:
        export_file(model, tmp_path, noise(24))
    bound = float(str(refused.value).partition("`least_closeness=")[2].removesuffix("` takes it."))
    card = export_file(model, tmp_path, noise(24), least_closeness=bound).with_suffix(".json")
    outputs = json.loads(card.read_text())["closeness"].values()
    assert {output["asked"] for output in outputs} == {bound}
    with pytest.raises(InputError, match=r"least_closeness=1.5 must be above 0 and at most 1"):
        export_file(model, tmp_path, noise(24), least_closeness=1.5)


@pytest.mark.slow
def test_a_number_for_each_image(tmp_path):
    """An output without any dimension but the batch."""
    model = product(score=lambda x: keras.ops.mean(x, axis=1))
    folder = export_model(model, tmp_path, name="score")
    assert product_shape(model).outputs == {"score": ()}
    assert check_bundle(folder) == []
    assert "| `score` | float32 `(n)` |" in (folder / "MODEL_CARD.md").read_text()
    file = export_file(model, tmp_path, noise(8), name="score")
    np.testing.assert_allclose(load_file(file)(noise(3))["score"], noise(3).mean((1, 2, 3)), 1e-4)


def test_copy_has_the_outputs_of_the_model(model, expected):
    outputs = inference_model(model)(noise(5).astype(np.float32))
    for name, rows in expected.items():
        np.testing.assert_allclose(outputs[name], rows, atol=1e-4)


def test_models_that_are_no_product_are_refused(small_embedder, tmp_path):
    image = keras.Input((SIZE, SIZE, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    for outputs, message in (
        (image, r"returns \(None, 32, 32, 3\); it must return one vector, .* or a dict of outputs"),
        ([pooled, pooled], r"it must return one vector"),
        ({"not a name": pooled}, r"an output 'not a name'; its name must be an identifier"),
        ({"a": keras.ops.argmax(pooled, 1)}, r"output 'a' of int32; it must be of floats"),
        ({"embedding": image}, r"output 'embedding' of shape \(None, 32, 32, 3\), not \(batch"),
    ):
        with pytest.raises(InputError, match=message):
            export_model(keras.Model(image, outputs), tmp_path, name="none")
    with pytest.raises(InputError, match="takes images of any size"):
        export_model(small_embedder(image_size=None), tmp_path, name="none")
    logits = keras.Model(image, {"logits": pooled})
    with pytest.raises(
        InputError, match=r"returns {'logits': .*must have one output \(batch, dim\)"
    ):
        export_embedder(logits, tmp_path)
    assert not list(tmp_path.iterdir())


def test_server_and_client_mean_the_same_output():
    assert output_contract.EMBEDDING == EMBEDDING
