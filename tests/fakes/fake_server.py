"""A gRPC server that answers like TF-Serving with an embedder, and fails on demand."""

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import numpy as np

from keras_distill.serving.client.messages import (
    METHODS,
    GetModelMetadataResponse,
    GetModelStatusResponse,
    PredictResponse,
    SignatureDefMap,
)

NOT_AN_IMAGE = (
    "Unknown image file format. One of JPEG, PNG, GIF, BMP, WebP required.\n\t [[{{node}}]]"
)
SIGNATURES = {
    "serving_default": ("image_bytes", 7, [-1]),
    "serve_uint8": ("image", 4, [-1, 8, 6, 3]),
    "serve_float": ("image", 1, [-1, 8, 6, 3]),
}


class FakeServer:
    """What the tests set: how it answers, and what it has seen.

    Attributes:
        name, version, dim: Of the model.
        signatures: The SignatureDefMap that it gives out.
        states: (version, state, error code, error message) of the model's versions.
        failures: (status code, message) for the next calls, one each.
        slow: Seconds that each Predict takes, unless its caller gives up.
        content: Whether vectors come as tensor_content rather than float_val.
        rows: Shapes of a row of further outputs, by name; `add_output` fills it.
        change: Changes a PredictResponse before it is sent.
        requests: The PredictRequests seen.
        calls: (method, metadata, seconds left) of all calls seen.
        most_at_once: The most Predicts that were there at once.
    """

    def __init__(self):
        self.name, self.version, self.dim = "birds", 1, 4
        self.signatures = SignatureDefMap()
        for name, (key, dtype, shape) in SIGNATURES.items():
            self._add(self.signatures.signature_def[name].inputs[key], dtype, shape)
            self._add(self.signatures.signature_def[name].outputs["embedding"], 1, [-1, self.dim])
        self.states = [(1, 30, 0, "")]
        self.failures = deque()
        self.slow = 0.0
        self.content = False
        self.change = lambda response: None
        self.rows = {}
        self.requests, self.calls = [], []
        self.most_at_once = self._at_once = 0
        self.address = ""

    @staticmethod
    def embedding(image, dim=4):
        """The embedding of an image: of the bytes of a file, or of pixels as float32."""
        data = image if isinstance(image, bytes) else np.asarray(image, np.float32).tobytes()
        vector = np.random.default_rng(list(data)).normal(size=dim)
        return (vector / np.linalg.norm(vector)).astype(np.float32)

    def add_output(self, name, shape, *, instead_of=None):
        """Serves a further output, in place of another one or beside all others."""
        self.rows[name] = tuple(shape)
        for signature in self.signatures.signature_def.values():
            self._add(signature.outputs[name], 1, [-1, *shape])
            if instead_of:
                del signature.outputs[instead_of]

    def output(self, image, name):
        """A row of an output of `add_output`."""
        shape = self.rows[name]
        return self.embedding(image, int(np.prod(shape))).reshape(shape) + len(name)

    @contextmanager
    def running(self, credentials=None, options=(), port=0):
        """Serves at `address` meanwhile."""
        server = grpc.server(ThreadPoolExecutor(40), options=options)
        for service in ("PredictionService", "ModelService"):
            handlers = {
                name: grpc.unary_unary_rpc_method_handler(
                    self._handler(name),
                    request_deserializer=method.request.FromString,
                    response_serializer=method.response.SerializeToString,
                )
                for name, method in METHODS.items()
            }
            server.add_generic_rpc_handlers(
                [grpc.method_handlers_generic_handler(f"tensorflow.serving.{service}", handlers)]
            )
        place = f"localhost:{port}"
        if credentials:
            port = server.add_secure_port(place, credentials)
        else:
            port = server.add_insecure_port(place)
        self.address = f"localhost:{port}"
        server.start()
        try:
            yield self
        finally:
            server.stop(None).wait()

    def _handler(self, name):
        def handle(request, context):
            self.calls.append((name, context.invocation_metadata(), context.time_remaining()))
            if self.failures:
                context.abort(*self.failures.popleft())
            return getattr(self, name)(request, context)

        return handle

    def Predict(self, request, context):
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        given_up = threading.Event()
        if context.add_callback(given_up.set):
            given_up.wait(self.slow)
        self._at_once -= 1
        self.requests.append(request)
        images = self._images(request, context)
        response = PredictResponse(model_spec=request.model_spec)
        response.model_spec.version.value = self.version
        tensor = response.outputs["embedding"]
        self._add(tensor, 1, [len(images), self.dim])
        vectors = np.stack([self.embedding(image, self.dim) for image in images])
        if self.content:
            tensor.tensor_content = vectors.tobytes()
        else:
            tensor.float_val.extend(vectors.ravel())
        for name, shape in self.rows.items():
            tensor = response.outputs[name]
            self._add(tensor, 1, [len(images), *shape])
            rows = np.stack([self.output(image, name) for image in images])
            tensor.tensor_content = rows.astype(np.float32).tobytes()
        for name in set(response.outputs) - set(request.output_filter or response.outputs):
            del response.outputs[name]
        self.change(response)
        return response

    def GetModelMetadata(self, request, context):
        if request.model_spec.name != self.name:
            message = f"Servable not found for request: Latest({request.model_spec.name})"
            context.abort(grpc.StatusCode.NOT_FOUND, message)
        response = GetModelMetadataResponse(model_spec=request.model_spec)
        response.model_spec.version.value = self.version
        for field in request.metadata_field:
            response.metadata[field].value = self.signatures.SerializeToString()
        return response

    def GetModelStatus(self, request, context):
        if not self.states:
            message = f"Could not find any versions of model {request.model_spec.name}"
            context.abort(grpc.StatusCode.NOT_FOUND, message)
        response = GetModelStatusResponse()
        for version, state, code, message in self.states:
            status = response.model_version_status.add(version=version, state=state)
            status.status.error_code, status.status.error_message = code, message
        return response

    def _images(self, request, context):
        (key, tensor), *_ = request.inputs.items()
        if key == "image_bytes":
            if any(data.startswith(b"bad") for data in tensor.string_val):
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, NOT_AN_IMAGE)
            return list(tensor.string_val)
        dtype = {1: np.float32, 4: np.uint8}[tensor.dtype]
        shape = [dim.size for dim in tensor.tensor_shape.dim]
        return list(np.frombuffer(tensor.tensor_content, dtype).reshape(shape))

    @staticmethod
    def _add(tensor, dtype, shape):
        tensor.dtype = dtype
        for size in shape:
            tensor.tensor_shape.dim.add(size=size)
