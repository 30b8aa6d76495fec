"""`predict`: outputs other than embeddings, with the refusals and retries of `embed`."""

import grpc
import numpy as np
import pytest

from keras_distill.serving.client.errors import ImagesRefused, ModelMismatch, ServingError

CODES = grpc.StatusCode


@pytest.fixture
def crowd(served):
    """The fake server with the outputs `density` and `score`."""
    served.add_output("density", (3, 2, 1))
    served.add_output("score", (), instead_of="embedding")
    return served


def expected(served, images):
    return {name: np.stack([served.output(i, name) for i in images]) for name in served.rows}


def check(outputs, wanted):
    assert outputs.keys() == wanted.keys()
    for name, rows in outputs.items():
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(rows, wanted[name])


def test_all_outputs_in_the_order_of_the_images(make_client, crowd):
    images = [b"%d" % number for number in range(20)]
    check(make_client(batch_size=3).predict(images), expected(crowd, images))
    assert all(list(r.output_filter) == ["density", "score"] for r in crowd.requests)


def test_chosen_outputs(client, crowd):
    outputs = client.predict(b"x", outputs=["score"])
    assert outputs["score"].shape == (1,)
    assert list(outputs) == ["score"]
    assert list(crowd.requests[0].output_filter) == ["score"]


def test_embedding_is_an_output_too(client, served):
    outputs = client.predict([b"x", b"y"])
    np.testing.assert_array_equal(outputs["embedding"], client.embed([b"x", b"y"]))


def test_no_images(client, crowd):
    outputs = client.predict([])
    assert {name: rows.shape for name, rows in outputs.items()} == {
        "density": (0, 3, 2, 1),
        "score": (0,),
    }


def test_refused_images(make_client, crowd):
    images = [b"1", b"bad", b"3", b""]
    with pytest.raises(ImagesRefused, match="2 of 4 images have no answer: item 1: ") as refused:
        make_client().predict(images)
    result = refused.value.result
    assert [error.index for error in result.errors] == [1, 3]
    wanted = expected(crowd, [b"1", b"3"])
    check({name: rows[[0, 2]] for name, rows in result.outputs.items()}, wanted)
    assert np.isnan(result.outputs["score"][[1, 3]]).all()


def test_passing_failures_are_retried(client, crowd):
    client.connect()
    crowd.failures.extend([(CODES.UNAVAILABLE, "busy")] * 2)
    check(client.predict([b"x"]), expected(crowd, [b"x"]))


def test_a_server_that_fails_on_the_way_costs_no_answers(make_client, crowd):
    def fail_after_three_requests(response):
        if len(crowd.requests) == 3:
            crowd.failures.append((CODES.INTERNAL, "no luck"))

    crowd.change = fail_after_three_requests
    images = [b"%d" % number for number in range(20)]
    client = make_client(batch_size=2, in_flight=1)
    with pytest.raises(ServingError, match=r"no luck\. 6 of 20 images were answered bef") as raised:
        client.predict(images)
    result = raised.value.result
    assert (result.done, result.missing) == (6, tuple(range(6, 20)))
    wanted = expected(crowd, images[:6])
    check({name: rows[:6] for name, rows in result.outputs.items()}, wanted)
    crowd.change = lambda response: None
    rest = client.predict([images[place] for place in result.missing])
    check(rest, expected(crowd, images[6:]))


def test_answers_of_two_versions_are_not_mixed(make_client, crowd):
    def upgrade(response):
        crowd.version = 2

    crowd.change = upgrade
    with pytest.raises(ServingError, match="from version 1 to 2 on the way; their answers do not"):
        make_client(batch_size=1, in_flight=1).predict([b"x", b"y"])


def swap(response):
    swapped = {"density": response.outputs["score"], "score": response.outputs["density"]}
    swapped = {name: tensor.SerializeToString() for name, tensor in swapped.items()}
    for name, content in swapped.items():
        response.outputs[name].ParseFromString(content)


def rename(response):
    response.outputs["output_0"].CopyFrom(response.outputs.pop("score"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (swap, r"answered a tensor of type DT_FLOAT and shape \(1,\), not DT_FLOAT and \(1, 3, 2"),
        (rename, r"answered no output 'score'"),
    ],
)
def test_corrupt_answers(client, crowd, change, message):
    crowd.change = change
    with pytest.raises(ModelMismatch, match=message):
        client.predict([b"x"])


def test_values_that_are_not_finite_are_an_error_of_their_image(client, crowd):
    def spoil(response):
        scores = np.float32([1, np.inf, np.nan])
        response.outputs["score"].tensor_content = scores.tobytes()
        rows = np.frombuffer(response.outputs["density"].tensor_content, np.float32).copy()
        rows[-1] = np.nan
        response.outputs["density"].tensor_content = rows.tobytes()

    crowd.change = spoil
    result = client.predict([b"x", b"y", b"z"], on_error="return")
    assert [(error.index, error.message) for error in result.errors] == [
        (1, "the model's score is not finite"),
        (2, "the model's density is not finite"),
    ]


def test_embed_names_the_outputs(client, crowd):
    said = r"model 'birds', version 1, has no output 'embedding', only density, score: `predict`"
    with pytest.raises(ModelMismatch, match=said):
        client.embed([b"x"])
    with pytest.raises(ModelMismatch, match=r"no output 'logits', only density, score\.$"):
        client.predict([b"x"], outputs=["logits"])


def test_outputs_that_cannot_be_returned_are_left_out(client, served):
    served.add_output("density", (3, 2, 1))
    served.add_output("boxes", (2, 4))
    served.add_output("labels", (1,))
    served.add_output("scores", (1,))
    signatures = served.signatures.signature_def
    for signature in signatures.values():
        signature.outputs["boxes"].tensor_shape.dim[1].size = -1
        signature.outputs["labels"].dtype = 9
    del signatures["serve_float"].outputs["scores"]
    assert client.connect().outputs == {"density": (3, 2, 1), "embedding": (4,)}


def test_a_model_without_floats_is_no_model_of_images(client, served):
    served.add_output("labels", (1,), instead_of="embedding")
    for signature in served.signatures.signature_def.values():
        signature.outputs["labels"].dtype = 9
    with pytest.raises(ModelMismatch, match="serving_default has no output 'embedding', only labe"):
        client.connect()


def test_inputs_of_another_model_are_told(client, crowd):
    crowd.signatures.signature_def["serve_uint8"].inputs["image"].dtype = 1
    with pytest.raises(ModelMismatch, match="is not a model of keras_distill: input 'image' of se"):
        client.connect()
