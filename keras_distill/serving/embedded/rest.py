"""REST interface, a WSGI application."""

import json
import re
import threading
from collections.abc import Callable, Iterable
from typing import Any

import grpc
from google.protobuf import json_format
from prometheus_client import CONTENT_TYPE_LATEST
from tensorflow_serving.apis import get_model_status_pb2, model_pb2, predict_pb2
from werkzeug.wrappers import Request, Response

from keras_distill.serving.embedded.json_tensors import request_tensors, response_values
from keras_distill.serving.embedded.metrics import Metrics
from keras_distill.serving.embedded.model_information import (
    SIGNATURES,
    model_status,
    signature_map,
)
from keras_distill.serving.embedded.other_inference import single_refusal
from keras_distill.serving.embedded.predicting import Predicting, as_refusal
from keras_distill.serving.embedded.refusal import Refusal, invalid
from keras_distill.serving.embedded.request_checks import find_signature
from keras_distill.serving.embedded.secret import HEADER, REFUSED, knows
from keras_distill.serving.embedded.servable import DEFAULT_SIGNATURE

METRICS_PATH = "/monitoring/prometheus/metrics"
_MODEL = r"(?P<name>[^/:]+)(?:/versions/(?P<version>\d{1,18})|/labels/(?P<label>[^/:]+))?"
_POST = re.compile(rf"/v1/models/{_MODEL}:(?P<verb>classify|regress|predict)", re.I)
_GET = re.compile(rf"/v1/models/{_MODEL}(?P<metadata>/metadata)?", re.I)
_HTML = "<HTML><HEAD>\n<TITLE>{0}</TITLE>\n</HEAD><BODY>\n<H1>{1}</H1>\n</BODY></HTML>\n"
_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


class Rest:
    """Predict, metadata and status of models, and the metrics.

    Args:
        predicting: Runs predictions.
        metrics: Metrics for Prometheus.
        secret: Secret that callers must send; `None` for none.
    """

    def __init__(self, predicting: Predicting, metrics: Metrics, secret: bytes | None):
        self._predicting = predicting
        self._models = predicting.models
        self._metrics = metrics
        self._secret = secret
        # JSON takes up to twenty times its length in memory, and Python reads one at a time anyway.
        self._reading = threading.Lock()

    def __call__(self, environ: Any, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answers a request."""
        request = Request(environ)
        try:
            response = self._answer(request)
        except Exception as error:
            refusal = as_refusal(error)
            response = _json({"error": refusal.message}, _STATUS.get(refusal.code, 500))
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        if self._secret is not None and not knows(self._secret, request.headers.get(HEADER)):
            raise Refusal(grpc.StatusCode.UNAUTHENTICATED, REFUSED)
        if request.path == METRICS_PATH and request.method == "GET":
            return Response(self._metrics.text(), content_type=CONTENT_TYPE_LATEST)
        if request.path != "/v1/models" and not request.path.startswith("/v1/models/"):
            return Response(_HTML.format("404 Not Found", "Not Found"), 404, mimetype="text/html")
        found = {"GET": _GET, "POST": _POST}.get(request.method, _GET).fullmatch(request.path)
        if found is None or request.method not in ("GET", "POST"):
            raise invalid(f"Malformed request: {request.method} {request.path}")
        spec = model_pb2.ModelSpec(name=found["name"])
        if found["version"]:
            spec.version.value = int(found["version"])
        elif found["label"]:
            spec.version_label = found["label"]
        if request.method == "POST":
            return self._post(spec, found["verb"].lower(), request)
        return self._metadata(spec) if found["metadata"] else self._status(spec)

    def _post(self, spec: Any, verb: str, request: Request) -> Response:
        def predict() -> Response:
            servable = self._models.find(spec)
            with self._reading:
                body = _read_json(request)
                spec.signature_name = body.get("signature_name", "")
                if verb != "predict":
                    method = f"tensorflow/serving/{verb}"
                    raise single_refusal(servable, spec.signature_name, method)
                name = spec.signature_name or DEFAULT_SIGNATURE
                tensors, rows = request_tensors(body, find_signature(servable.signatures, name))
                del body
            message = predict_pb2.PredictRequest(model_spec=spec, inputs=tensors)
            return _json(response_values(servable.predict(message).outputs, rows=rows))

        return self._predicting.answer(spec.name, "REST", predict)

    def _status(self, spec: Any) -> Response:
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=spec)
        return _json(_message(model_status(self._models, request)))

    def _metadata(self, spec: Any) -> Response:
        servable = self._models.find(spec)
        answered = {"name": servable.name, "signature_name": "", "version": str(servable.version)}
        signatures = _message(signature_map(servable.signatures))
        return _json({"model_spec": answered, "metadata": {SIGNATURES: signatures}})


def _read_json(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(request.get_data(cache=False))
    except json.JSONDecodeError as error:
        raise invalid(f"JSON Parse error: {error.msg} at offset: {error.pos}") from error
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise invalid(f"JSON Parse error: {error}") from error
    if not isinstance(body, dict):
        raise invalid("The request has to be a JSON object.")
    name = body.get("signature_name", "")
    if not isinstance(name, str) or any("\ud800" <= letter <= "\udfff" for letter in name):
        raise invalid("'signature_name' key must be a string value.")
    return body


def _json(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(value), status, mimetype="application/json")


def _message(message: Any) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
