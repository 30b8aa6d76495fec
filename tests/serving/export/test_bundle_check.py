import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from keras_distill.errors import InputError
from keras_distill.serving.client.golden_pairs import GoldenPair, read_golden, write_golden
from keras_distill.serving.client.same_calibration import read_same_probability
from keras_distill.serving.export.bundle import export_embedder
from keras_distill.serving.export.bundle_check import check_bundle
from keras_distill.serving.export.checksums import checksum_faults, write_sums
from keras_distill.serving.export.session_model import SessionModel
from keras_distill.serving.export.warmup import WARMUP_FILE

SIZE, DIM = 32, 4


@pytest.fixture(scope="module")
def published(small_embedder, tmp_path_factory):
    return export_embedder(small_embedder(DIM), tmp_path_factory.mktemp("models"), batching="none")


@pytest.fixture
def bundle(published, tmp_path):
    """A copy that may be damaged."""
    for file in published.rglob("*"):
        if file.is_file():
            copy = tmp_path / file.relative_to(published)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    return tmp_path


def logs(folder):
    records = tf.data.TFRecordDataset(str(folder / WARMUP_FILE)).as_numpy_iterator()
    return [prediction_log_pb2.PredictionLog.FromString(record) for record in records]


def test_warmup_has_a_request_for_each_signature_and_batch_size(published):
    seen = {}
    for log in logs(published):
        request = log.predict_log.request
        ((key, tensor),) = request.inputs.items()
        value = tf.make_ndarray(tensor)
        seen[request.model_spec.signature_name, len(value)] = (key, value.dtype.name, value.shape)
        if value.dtype != object:
            np.testing.assert_array_equal(np.unique(value), 127)
    pixels = (SIZE, SIZE, 3)
    assert seen == {
        **{("serving_default", n): ("image_bytes", "object", (n,)) for n in (1, 8, 32)},
        **{("serve_uint8", n): ("image", "uint8", (n, *pixels)) for n in (1, 8, 32)},
        **{("serve_float", n): ("image", "float32", (n, *pixels)) for n in (1, 8, 32)},
    }
    assert (published / WARMUP_FILE).stat().st_size < 50_000


def test_golden_requests_are_what_a_server_would_answer(published):
    session = SessionModel(published)
    pairs = {pair.signature: pair for pair in read_golden(published)}
    assert sorted(pairs) == ["serve_float", "serve_uint8", "serving_default"]
    for name, key in (("serving_default", "image_bytes"), ("serve_uint8", "image")):
        images = np.array(pairs[name].images, object if name == "serving_default" else np.uint8)
        answer = session.call(name, {key: images}, ["embedding"])
        np.testing.assert_allclose(answer["embedding"], pairs[name].vectors, atol=1e-6)
    np.testing.assert_array_equal(pairs["serve_uint8"].images, pairs["serve_float"].images)
    for name in pairs:
        file = published / "assets.extra" / "golden" / f"{name}.pb"
        log = prediction_log_pb2.PredictLog.FromString(file.read_bytes())
        vectors = tf.make_ndarray(log.response.outputs["embedding"])
        np.testing.assert_array_equal(vectors, pairs[name].vectors)


def test_changed_files_are_named(bundle):
    assert checksum_faults(bundle) == []
    card = bundle / "MODEL_CARD.md"
    card.write_text(card.read_text() + "And it makes coffee.\n")
    (bundle / "fingerprint.pb").unlink()
    (bundle / "notes.txt").touch()
    assert checksum_faults(bundle) == [
        "fingerprint.pb is missing",
        "notes.txt is not in SHA256SUMS",
        "MODEL_CARD.md was changed after the export",
    ]


def test_warmup_request_that_would_fail_the_version(bundle):
    request = logs(bundle)[0]
    request.predict_log.request.inputs["image_bytes"].string_val[0] = b"no image"
    with tf.io.TFRecordWriter(str(bundle / WARMUP_FILE)) as writer:
        writer.write(request.SerializeToString())
    write_sums(bundle)
    (fault,) = check_bundle(bundle)
    assert fault.startswith("warm-up request 1 (serving_default, 1 rows) fails: ")


def test_another_model_is_noticed(bundle, small_embedder, tmp_path_factory):
    other = export_embedder(small_embedder(DIM, seed=1), tmp_path_factory.mktemp("others"))
    for file in (
        "saved_model.pb",
        *(f"variables/{p.name}" for p in (other / "variables").iterdir()),
    ):
        (bundle / file).write_bytes((other / file).read_bytes())
    write_sums(bundle)
    found = check_bundle(bundle)
    assert len(found) == 3
    assert found[0].startswith(
        "the golden requests of serve_float are answered otherwise than by the export: cosine "
    )


def test_saved_model_that_cannot_be_loaded(bundle):
    for file in (bundle / "variables").iterdir():
        file.unlink()
    found = check_bundle(bundle)
    assert found[0] == "variables/variables.data-00000-of-00001 is missing"
    assert any(fault.startswith("it cannot be loaded: ") for fault in found)


def test_a_bare_export_of_keras_is_not_guarded(small_embedder, tmp_path):
    small_embedder().export(str(tmp_path / "bare"), verbose=False)
    found = check_bundle(tmp_path / "bare")
    assert {fault.partition(":")[0] for fault in found} == {"serve", "serving_default"}
    assert all("before tf.ensure_shape(…, (None, 32, 32, 3))" in fault for fault in found)


def test_damaged_golden_requests_are_refused(bundle, tmp_path_factory):
    file = bundle / "assets.extra" / "golden" / "serve_uint8.pb"
    for content in (b"\xff\xff", b"", file.with_stem("serve_float").read_bytes()):
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"serve_uint8\.pb' is no golden request"):
            read_golden(bundle)
    with pytest.raises(InputError, match=r"golden=.* has no golden requests"):
        read_golden(tmp_path_factory.mktemp("nothing"))


def test_golden_answers_of_another_shape_or_direction_are_faults(published, tmp_path):
    pair = read_golden(published)[2]
    vectors = pair.vectors
    assert pair.closeness(vectors) == pytest.approx(1)
    assert pair.faults(pair.closeness(vectors)) == []
    for other in (-vectors, vectors[:1], vectors * np.nan, vectors * 0):
        assert "answered otherwise" in pair.faults(pair.closeness(other))[0]
    write_golden(tmp_path, [GoldenPair(pair.request, vectors)])
    (again,) = read_golden(tmp_path)
    np.testing.assert_array_equal(again.vectors, vectors)
    assert again.images == pair.images


def test_card_says_what_is_known_and_what_is_not(published, small_embedder, tmp_path):
    card = (published / "MODEL_CARD.md").read_text()
    assert "| Licence of the data | not stated |" in card
    assert "| Training | unknown |" in card
    assert "Unknown: no result of" in card
    assert "each request by itself" in card
    result = {"data": "cub", "split": "test", "queries": 7, "recall": {"1": 0.5, "10": 0.75}}
    origin = {
        "model": "runs/x",
        "data": "cub",
        "data_licence": "CC0",
        "training": {"backbone": "mobilenet"},
        "recall": [result],
        "verification": {
            "data": "pairs.csv",
            "same_pairs": 1000,
            "different_pairs": 2000,
            "figures": {"accuracy": 0.75, "tar_at_far": {"1e-1": 0.5, "1e-6": None}},
            "calibration": {
                "slope": 9.0,
                "intercept": -2.0,
                "thresholds": [
                    {
                        "cosine": 0.5,
                        "distance": 1.0,
                        "recall": 0.875,
                        "false_acceptance": 0.125,
                        "precision": 0.875,
                        "probability": 0.92,
                    }
                ],
            },
        },
    }
    folder = export_embedder(small_embedder(DIM), tmp_path, origin=origin, batching="none")
    card = (folder / "MODEL_CARD.md").read_text()
    assert "| Licence of the data | CC0 |\n| backbone | mobilenet |\n\n## Recall" in card
    assert "| Data | Split | Queries | R@1 | R@10 |" in card
    assert "| cub | test | 7 | 0.5000 | 0.7500 |" in card
    facts = json.loads((folder / "assets.extra" / "distill.json").read_text())
    assert facts["recall"] == [result]
    assert facts["verification"] == origin["verification"]
    for line in (
        "## Which similarity means the same",
        "| accuracy | 0.7500 |",
        "| TAR at FAR 1e-6 | not measurable |",
        "| 0.50 | 1.000 | 0.8750 | 0.12 | 0.8750 |",
        "exp(-(9 · cosine -2)))",
        "client match A.jpg B.jpg --model=embedder --calibration=models/embedder/1",
    ):
        assert line in card
    assert read_same_probability(folder).probability(2 / 9) == pytest.approx(0.5)
    with pytest.raises(InputError, match="does not tell which similarity means the same"):
        read_same_probability(published)
    assert facts["libraries"]["keras"] == keras.version()
