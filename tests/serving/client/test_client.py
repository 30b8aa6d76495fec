import io
import threading
import time

import grpc
import numpy as np
import pytest
from fake_server import FakeServer
from PIL import Image

from keras_distill.serving.client.channel import Tls
from keras_distill.serving.client.errors import ImagesRefused, ModelMismatch, ServingError

CODES = grpc.StatusCode


def expected(images):
    return np.stack([FakeServer.embedding(image) for image in images])


def pixels(count, seed=0, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 6, 3)).astype(dtype)


def sizes(served):
    return [
        next(iter(request.inputs.values())).tensor_shape.dim[0].size for request in served.requests
    ]


def test_bytes_paths_and_arrays_mixed_keep_their_order(client, served, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"file a")
    noise, real = pixels(2), pixels(2, 1, np.float64)
    items = [
        b"x",
        noise[0],
        tmp_path / "a.jpg",
        real[0],
        str(tmp_path / "a.jpg"),
        noise[1],
        real[1],
    ]
    vectors = client.embed(items)
    assert (vectors.dtype, vectors.shape) == (np.float32, (7, 4))
    files = b"file a"
    images = [b"x", noise[0], files, real[0], files, noise[1], real[1]]
    np.testing.assert_array_equal(vectors, expected(images))
    seen = {
        (request.model_spec.name, request.model_spec.signature_name, *request.inputs)
        for request in served.requests
    }
    assert seen == {
        ("birds", "serving_default", "image_bytes"),
        ("birds", "serve_uint8", "image"),
        ("birds", "serve_float", "image"),
    }
    assert all(list(request.output_filter) == ["embedding"] for request in served.requests)


def test_single_images_give_one_row(client, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"file a")
    noise = pixels(1)[0]
    for item, image in (
        (b"x", b"x"),
        (bytearray(b"x"), b"x"),
        (tmp_path / "a.jpg", b"file a"),
        (str(tmp_path / "a.jpg"), b"file a"),
        (noise, noise),
        (Image.fromarray(noise), noise),
    ):
        np.testing.assert_array_equal(client.embed(item), expected([image]))


def test_a_folder_is_embedded_in_the_order_of_its_paths(client, tmp_path):
    for name in ("b/2.PNG", "a/1.jpeg", "c.jpg", "a/.hidden.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    np.testing.assert_array_equal(
        client.embed(tmp_path), expected([b"a/1.jpeg", b"b/2.PNG", b"c.jpg"])
    )


def test_arrays_of_images_and_generators(client):
    noise = pixels(3)
    np.testing.assert_array_equal(client.embed(noise), expected(noise))
    np.testing.assert_array_equal(client.embed(image for image in noise), expected(noise))
    fortran = np.asfortranarray(noise)[:, ::-1]
    np.testing.assert_array_equal(client.embed(fortran), expected(noise[:, ::-1]))


def test_no_images_give_no_rows_and_no_request(client, served, tmp_path):
    for nothing in ([], iter([]), tmp_path, np.zeros((0, 8, 6, 3), np.uint8)):
        vectors = client.embed(nothing)
        assert (vectors.dtype, vectors.shape) == (np.float32, (0, 4))
    assert not served.requests


@pytest.mark.parametrize("content", [False, True])
def test_both_encodings_of_vectors_are_read(client, served, content):
    served.content = content
    np.testing.assert_array_equal(client.embed([b"x", b"y"]), expected([b"x", b"y"]))


def test_requests_hold_32_images_and_several_are_under_way(make_client, served):
    served.slow = 0.05
    images = [b"%d" % number for number in range(200)]
    np.testing.assert_array_equal(make_client(in_flight=3).embed(images), expected(images))
    assert sorted(sizes(served)) == [8, 32, 32, 32, 32, 32, 32]
    assert served.most_at_once == 3


def test_generators_are_read_no_further_than_requests_are_sent(make_client, served):
    read = []

    def images():
        for number in range(100):
            read.append(number)
            yield b"%d" % number

    seen = []
    served.change = lambda response: seen.append(len(read))
    make_client(in_flight=2, batch_size=5).embed(images())
    assert seen[0] <= 15
    assert len(read) == 100


def test_requests_stay_below_the_limit_of_the_server(make_client, served):
    options = [("grpc.max_receive_message_length", 3000)]
    images = [bytes([65 + number]) * 1000 for number in range(7)]
    with FakeServer().running(options=options) as narrow:
        vectors = make_client(narrow.address, most_bytes=2500).embed(images)
        np.testing.assert_array_equal(vectors, expected(images))
        assert sorted(sizes(narrow)) == [1, 2, 2, 2]


def test_requests_above_the_limit_of_the_server_are_halved(make_client):
    options = [("grpc.max_receive_message_length", 3000)]
    images = [bytes([65 + number]) * 1000 for number in range(6)] + [b"huge" * 1000]
    with FakeServer().running(options=options) as narrow:
        result = make_client(narrow.address).embed(images, on_error="return")
        np.testing.assert_array_equal(result.vectors[:6], expected(images[:6]))
        (error,) = result.errors
        assert (error.index, error.source) == (6, "item 6")
        assert "larger than max" in error.message
        # The huge image and each half that was still too large were sent once: retries do not help.
        assert len(narrow.calls) <= 1 + 4


def test_more_than_4_mib_go_and_come(make_client, served):
    served.dim = 70_000
    for signature in served.signatures.signature_def.values():
        signature.outputs["embedding"].tensor_shape.dim[1].size = served.dim
    with served.running(options=[("grpc.max_receive_message_length", -1)]):
        images = [bytes([number]) * 10 for number in range(20)] + [b"x" * 5_000_000]
        served.embedding = lambda image, dim: np.full(dim, image[0], np.float32)
        vectors = make_client(served.address).embed(images)
    assert vectors.shape == (21, 70_000)
    np.testing.assert_array_equal(vectors[:, -1], [*range(20), ord("x")])


def test_one_bad_image_among_32(client, served):
    images = [b"%d" % number for number in range(32)]
    images[11] = b"bad"
    result = client.embed(images, on_error="return")
    (error,) = result.errors
    assert (error.index, error.source) == (11, "item 11")
    assert error.message == NOT_AN_IMAGE_FIRST_LINE
    assert np.isnan(result.vectors[11]).all()
    good = [number for number in range(32) if number != 11]
    np.testing.assert_array_equal(
        result.vectors[good], expected([images[number] for number in good])
    )
    assert result.version == 1
    assert len(served.requests) <= 1 + 2 * 5


NOT_AN_IMAGE_FIRST_LINE = "Unknown image file format. One of JPEG, PNG, GIF, BMP, WebP required"


def test_every_fault_of_an_image_is_told_and_none_stops_the_others(client, served, tmp_path):
    (tmp_path / "empty.jpg").touch()
    nan = pixels(1, 0, np.float32)[0]
    nan[0, 0, 0] = np.nan
    items = [
        b"x",
        tmp_path / "missing.jpg",
        tmp_path,
        tmp_path / "empty.jpg",
        b"bad",
        np.zeros((6, 8, 3), np.uint8),
        np.zeros((1, 8, 6, 3), np.uint8),
        np.zeros((8, 6, 3), np.int64),
        nan,
        None,
        b"y",
    ]
    with pytest.raises(ImagesRefused, match=r"9 of 11 images have no embedding: .*missing.jpg: No"):
        client.embed(items)
    result = client.embed(items, on_error="return")
    messages = {error.index: error.message for error in result.errors}
    assert messages == {
        1: "No such file or directory",
        2: "Is a directory",
        3: "no bytes",
        4: NOT_AN_IMAGE_FIRST_LINE,
        5: "shape (6, 8, 3), where the model takes (8, 6, 3)",
        6: "shape (1, 8, 6, 3), where the model takes (8, 6, 3)",
        7: "type int64, where the model takes uint8 or float32, 0 to 255",
        8: "pixels are not finite",
        9: "shape (), where the model takes (8, 6, 3)",
    }
    assert [error.source for error in result.errors][:2] == [
        str(tmp_path / "missing.jpg"),
        str(tmp_path),
    ]
    np.testing.assert_array_equal(result.vectors[[0, 10]], expected([b"x", b"y"]))


@pytest.mark.parametrize(
    ("scale", "low", "remedy"),
    [
        (lambda image: np.float32(image / 255), 0, r"image \* 255"),
        (lambda image: np.float64(image / 127.5 - 1), -1, r"\(image \+ 1\) \* 127\.5"),
        (lambda image: np.uint8(image / 255 + 0.5), 0, "an image that was not cut to 0 and 1"),
    ],
)
def test_scaled_images_are_warned_of_once(client, served, scale, low, remedy):
    images = [b"x", *map(scale, pixels(3))]
    with pytest.warns(
        UserWarning, match=rf"item 1: the pixels lie in {low}…1, .* takes 0…255; .*{remedy}"
    ) as warned:
        vectors = client.embed(images)
    assert len(warned) == 1
    assert len(vectors) == 4


def test_dark_images_are_not_warned_of(client):
    dark = np.zeros((8, 6, 3), np.float32)
    light = dark.copy()
    light[0, 0, 0] = 1.5
    client.embed([dark, dark + 1, light, np.zeros((8, 6, 3), np.uint8), dark.astype(np.uint8) + 1])


def test_raised_refusals_hold_the_vectors_of_the_others(client):
    with pytest.raises(ImagesRefused) as refused:
        client.embed([b"bad", b"x"])
    np.testing.assert_array_equal(refused.value.result.vectors[1], FakeServer.embedding(b"x"))
    assert str(refused.value.result.errors[0]) == f"item 0: {NOT_AN_IMAGE_FIRST_LINE}"


@pytest.mark.parametrize("code", [CODES.UNAVAILABLE, CODES.RESOURCE_EXHAUSTED])
def test_passing_failures_are_retried(client, served, code):
    client.connect()
    served.failures.extend([(code, "Server Threadpool Exhausted")] * 2)
    np.testing.assert_array_equal(client.embed([b"x"]), expected([b"x"]))
    assert [name for name, *_ in served.calls] == ["GetModelMetadata"] + 3 * ["Predict"]


@pytest.mark.parametrize(
    "code",
    [CODES.INTERNAL, CODES.UNKNOWN, CODES.NOT_FOUND, CODES.FAILED_PRECONDITION, CODES.ABORTED],
)
def test_other_failures_are_not(client, served, code):
    client.connect()
    served.failures.append((code, "no luck"))
    with pytest.raises(ServingError, match=rf"'birds' at localhost:\d+: {code.name}: no luck") as e:
        client.embed([b"x"])
    assert e.value.code is code
    assert len(served.calls) == 2


def test_a_server_that_stays_unavailable_is_given_up_in_time(make_client, served):
    client = make_client(timeout=2)
    client.connect()
    served.failures.extend([(CODES.UNAVAILABLE, "down")] * 100)
    with pytest.raises(ServingError, match=r"UNAVAILABLE: down\. Check that the server runs"):
        client.embed([b"x"])
    assert 2 <= len(served.calls) <= 1 + 11


def test_nothing_listens(make_client):
    with pytest.raises(ServingError, match=r"localhost:1: UNAVAILABLE: .* gRPC port") as raised:
        make_client("localhost:1", timeout=2).embed([b"x"])
    assert raised.value.code is CODES.UNAVAILABLE


def test_every_call_has_a_deadline(make_client, served):
    client = make_client(timeout=5)
    served.failures.append((CODES.UNAVAILABLE, "down"))
    client.embed([b"x"])
    client.status()
    left = [seconds for _, _, seconds in served.calls]
    assert len(left) == 4
    assert all(0 < seconds < 5.5 for seconds in left)


def test_a_slow_server_meets_the_deadline(make_client, served):
    client = make_client(timeout=2)
    client.connect()
    served.slow = 60
    with pytest.raises(ServingError, match=r"DEADLINE_EXCEEDED.* Raise timeout") as raised:
        client.embed([b"x"])
    assert raised.value.code is CODES.DEADLINE_EXCEEDED
    assert [name for name, *_ in served.calls].count("Predict") == 1


def test_a_failed_request_ends_the_others(make_client, served):
    client = make_client(batch_size=1)
    client.connect()
    served.slow = 0.3
    served.failures.append((CODES.INTERNAL, "no luck"))
    with pytest.raises(ServingError, match="no luck"):
        client.embed([b"%d" % number for number in range(100)])
    assert len(served.calls) <= 1 + 5


@pytest.mark.parametrize("generator", [False, True])
def test_a_server_that_fails_on_the_way_costs_no_vectors(make_client, served, generator):
    """What was received comes with the error, and the rest can be embedded later."""
    images = [b"%d" % number for number in range(20)]
    images[2] = b"bad"

    def fail_after_three_requests(response):
        if len(served.requests) == 5:  # a refused pair is sent again, one by one
            served.failures.extend([(CODES.INTERNAL, "no luck")])

    served.change = fail_after_three_requests
    client = make_client(batch_size=2, in_flight=1)
    with pytest.raises(ServingError, match=r"no luck\. \d+ of \d+ images were embedded") as raised:
        client.embed(iter(images) if generator else images)
    result = raised.value.result
    assert raised.value.code is CODES.INTERNAL
    assert [error.index for error in result.errors] == [2]
    done = [number for number in range(len(result.vectors)) if number not in (2, *result.missing)]
    assert result.done == len(done) >= 4
    np.testing.assert_array_equal(result.vectors[done], expected([images[i] for i in done]))
    assert np.isnan(result.vectors[[2, *result.missing]]).all()
    assert len(result.vectors) == (max(done + list(result.missing)) + 1 if generator else 20)

    rest = [images[number] for number in (*result.missing, *range(len(result.vectors), 20))]
    np.testing.assert_array_equal(client.embed(rest), expected(rest))


def test_a_change_of_version_costs_no_vectors(make_client, served):
    def upgrade(response):
        served.version = 2

    served.change = upgrade
    with pytest.raises(ServingError, match="changed from version 1 to 2 on the way") as raised:
        make_client(batch_size=1, in_flight=1).embed([b"x", b"y", b"z"])
    assert (raised.value.result.version, raised.value.result.missing) == (1, (1, 2))
    np.testing.assert_array_equal(raised.value.result.vectors[:1], expected([b"x"]))


def test_a_failing_generator_ends_the_requests(client, served):
    def images():
        yield from [b"x"] * 40
        raise KeyError("the source dried up")

    with pytest.raises(KeyError, match="dried up"):
        client.embed(images())


def test_progress(make_client):
    for items, total in ([b"x"] * 5 + [b"bad", b""], 7), (iter([b"x"] * 7), None):
        seen = []
        make_client(batch_size=2, in_flight=1).embed(
            items, on_error="return", progress=lambda *both, seen=seen: seen.append(both)
        )
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)
        assert seen[-1] == (7, total)


def test_metadata_version_and_label_are_sent(make_client, served):
    secret = {"X-Api-Key": "open sesame"}
    make_client(version=3, metadata=secret).embed([b"x"])
    make_client(label="stable", metadata=[("x-api-key", "open sesame")]).status()
    assert served.requests[0].model_spec.version.value == 3
    assert all(("x-api-key", "open sesame") in metadata for _, metadata, _ in served.calls)
    assert len(served.calls) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"address": "localhost"}, r"address='localhost' has no port; give host:port"),
        ({"model": ""}, r"model='' is empty"),
        ({"version": 1, "label": "stable"}, r"version=1 and label='stable': give one"),
        ({"version": 0}, r"version=0 is not positive"),
        ({"timeout": 0}, r"timeout=0 is not positive"),
        ({"batch_size": 0}, r"batch_size=0 is not positive"),
        ({"in_flight": -1}, r"in_flight=-1 is not positive"),
        ({"most_bytes": 0}, r"most_bytes=0 is not positive"),
        ({"metadata": {"Key-bin": "x"}}, r"metadata: 'key-bin' is a binary header"),
        ({"metadata": {"a b": "x"}}, r"metadata: 'a b' is no name of a header"),
        ({"metadata": {"key": "hidden\n"}}, r"metadata: the value of 'key' holds a line break"),
        ({"label": ""}, r"label='' is empty; give a label such as stable, or None"),
        ({"dim": 0}, r"dim=0 is not positive"),
        ({"timeout": float("nan")}, r"timeout=nan is not positive"),
        ({"timeout": float("inf")}, r"timeout=inf is too long; give at most 100000000\."),
        ({"address": "localhost:"}, r"address='localhost:' has no port"),
        ({"address": "localhost:http"}, r"address='localhost:http' has no port"),
        ({"address": ":8500"}, r"address=':8500' has no host; give host:port"),
        ({"address": "localhost:65536"}, r"has a port beyond 65535"),
        ({"address": "localhost:0"}, r"address='localhost:0' has no port"),
        ({"address": "localhost:8500/v1"}, r"address='localhost:8500/v1' has no port"),
        ({"address": "dns:///localhost"}, r"address='dns:///localhost' has no port"),
        ({"address": "::1:8500"}, r"write an IPv6 address in brackets, such as \[::1\]:8500"),
        ({"address": "http://box:8500"}, r"is a URL; give host:port of the gRPC port, such as l"),
        ({"address": "https://box"}, r"is a URL; .* localhost:8500 and tls=Tls\(\) for encryption"),
    ],
)
def test_unusable_arguments(make_client, options, message):
    with pytest.raises(ValueError, match=message) as raised:
        make_client(**options)
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"address": 8500},
            r"address=8500 is of type int; give a str, host:port, such as localhost:8500",
        ),
        ({"model": None}, r"model=None; give a str, the name under which it is served\."),
        ({"version": "3"}, r"version='3' is of type str; give an int, or None"),
        ({"version": True}, r"version=True is of type bool; give an int, or None"),
        ({"label": 3}, r"label=3 is of type int; give a str, a label such as stable, or None"),
        ({"dim": "64"}, r"dim='64' is of type str; give an int, or None"),
        ({"timeout": "30"}, r"timeout='30' is of type str; give a number of seconds"),
        ({"timeout": None}, r"timeout=None; give a number of seconds"),
        ({"batch_size": 1.5}, r"batch_size=1.5 is of type float; give an int"),
        ({"in_flight": True}, r"in_flight=True is of type bool; give an int"),
        ({"most_bytes": None}, r"most_bytes=None; give an int\."),
        (
            {"tls": True},
            r"tls=True is of type bool; give keras_distill\.Tls\(\), or Tls\(root_cert",
        ),
        ({"tls": False}, r"tls=False is of type bool; .*, or None for no encryption"),
        ({"tls": "ca.crt"}, r"tls='ca.crt' is of type str; give keras_distill\.Tls\(\)"),
        ({"tls": Tls(b"PEM")}, r"root_certificates is of type bytes; give the path of a PEM file"),
        ({"metadata": None}, r"metadata is of type NoneType; give a dict of headers"),
        ({"metadata": "key=hidden"}, r"metadata is of type str; give a dict of headers"),
        ({"metadata": ["key=hidden"]}, r"metadata: a str is no pair of a header's name and text"),
        ({"metadata": [("key", "hidden", "")]}, r"metadata: \(str, str, str\) is no pair"),
        ({"metadata": {"key": b"hidden"}}, r"metadata: \(str, bytes\) is no pair .*, both str"),
    ],
)
def test_arguments_of_the_wrong_type(make_client, options, message):
    with pytest.raises(TypeError, match=message) as raised:
        make_client(**options)
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize(
    "address",
    ["box:1", "10.0.0.1:65535", "[::1]:8500", "dns:///box:8500", "dns:box:8500", "unix:/run/tfs"],
)
def test_usable_addresses(make_client, address):
    make_client(address, version=np.int64(3), timeout=1, dim=np.int32(4), metadata=[])


def test_unusable_limits_of_waiting(client, served):
    for limit, error in ((0, ValueError), (float("nan"), ValueError), ("60", TypeError)):
        with pytest.raises(error, match="limit="):
            client.wait(limit)
    assert not served.calls


def test_unusable_items(client, served):
    with pytest.raises(TypeError, match="items of type int; give paths, bytes or arrays"):
        client.embed(7)
    with pytest.raises(ValueError, match="on_error='ignore' must be 'raise' or 'return'"):
        client.embed([b"x"], on_error="ignore")
    assert not served.requests


def shorten(response):
    response.outputs["embedding"].tensor_shape.dim[1].size = 3


def of_double(response):
    response.outputs["embedding"].dtype = 2


def unnamed(response):
    response.outputs["output_0"].CopyFrom(response.outputs.pop("embedding"))


def too_few(response):
    response.outputs["embedding"].tensor_content = b"1234"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            shorten,
            r"answered a tensor of type DT_FLOAT and shape \(1, 3\), not DT_FLOAT and \(1, 4",
        ),
        (of_double, r"answered a tensor of type DT_DOUBLE"),
        (unnamed, r"answered no output 'embedding'"),
        (too_few, r"answered 4 bytes in a float32 tensor \(1, 4\)"),
    ],
)
def test_corrupt_answers(client, served, change, message):
    served.change = change
    with pytest.raises(ModelMismatch, match=message):
        client.embed([b"x"])


def test_an_embedding_that_is_not_finite_is_an_error_of_its_image(client, served):
    def spoil(response):
        response.outputs["embedding"].float_val[5] = np.nan

    served.change = spoil
    result = client.embed([b"x", b"y", b"z"], on_error="return")
    assert [(error.index, error.message) for error in result.errors] == [
        (1, "the model's embedding is not finite")
    ]
    np.testing.assert_array_equal(result.vectors[[0, 2]], expected([b"x", b"z"]))


def test_embeddings_of_two_versions_are_not_mixed(make_client, served):
    def upgrade(response):
        served.version = 2

    served.change = upgrade
    with pytest.raises(ServingError, match="changed from version 1 to 2 on the way"):
        make_client(batch_size=1, in_flight=1).embed([b"x", b"y"])


def test_a_version_that_came_between_two_calls_is_welcome(client, served):
    client.connect()
    served.version = 2
    assert client.embed([b"x"], on_error="return").version == 2


def test_connect_tells_what_is_served(client, served):
    model = client.connect()
    assert (model.name, model.version, model.dim) == ("birds", 1, 4)
    assert model.image_shape == (8, 6, 3)
    client.embed([b"x"])
    assert [name for name, *_ in served.calls].count("GetModelMetadata") == 1


def test_status(client, served):
    served.states = [(1, 50, 3, "no warm-up"), (3, 20, 0, ""), (2, 30, 0, "")]
    assert [(state.version, state.state, state.error) for state in client.status()] == [
        (3, "LOADING", ""),
        (2, "AVAILABLE", ""),
        (1, "END", "INVALID_ARGUMENT: no warm-up"),
    ]
    served.states = []
    with pytest.raises(ServingError, match="NOT_FOUND: Could not find any versions of model birds"):
        client.status()


def test_wait_ends_when_a_version_is_available(client, served, monkeypatch):
    monkeypatch.setattr("keras_distill.serving.client.model_status._INTERVAL", 0.01)
    served.states = []
    served.failures.append((CODES.UNAVAILABLE, "starting"))

    def load():
        while len(served.calls) < 3:
            time.sleep(0.001)
        served.states = [(2, 20, 0, "")]
        while len(served.calls) < 5:
            time.sleep(0.001)
        served.states = [(1, 30, 0, ""), (2, 30, 0, "")]

    loading = threading.Thread(target=load)
    loading.start()
    state = client.wait()
    loading.join()
    assert (state.version, state.state) == (2, "AVAILABLE")


def test_wait_gives_up(make_client, served):
    served.states = [(2, 20, 0, "")]
    with pytest.raises(ServingError, match=r"not available within 1 s: version 2 LOADING\.$"):
        make_client().wait(limit=1)
    assert len(served.calls) > 1
    served.states = [(2, 50, 3, "no warm-up")]
    with pytest.raises(ServingError, match=r"will not be available: version 2 END \(INVALID_ARG"):
        make_client(version=2).wait()
    served.failures.append((CODES.UNAUTHENTICATED, "who are you?"))
    with pytest.raises(ServingError, match=r"UNAUTHENTICATED: who are you\?"):
        make_client().wait()


def test_png_of_the_library_reaches_the_server_unchanged(client, served):
    file = io.BytesIO()
    Image.fromarray(pixels(1)[0]).save(file, "PNG")
    client.embed([memoryview(file.getvalue())])
    assert list(served.requests[0].inputs["image_bytes"].string_val) == [file.getvalue()]
