"""Client of the REST interface of a model server."""

import base64
import json
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np

from keras_distill.serving.client.errors import ServingError
from keras_distill.serving.client.model_reference import ModelReference
from keras_distill.serving.client.output_contract import EMBEDDING

METRICS_PATH = "/monitoring/prometheus/metrics"
_MODEL_NAME = re.compile(
    r'^:tensorflow:serving:request_count\{(?:.*,)?model_name="((?:[^"\\]|\\.)+)"', re.M
)
_MODEL_PATH = re.compile(
    r'^:tensorflow:cc:saved_model:load_attempt_count\{(?:.*,)?model_path="((?:[^"\\]|\\.)+)"', re.M
)
_LONGEST_REASON = 300


class RestClient:
    """The REST interface of TF-Serving, or of `keras_distill.serve`.

    Args:
        address: `host:port`, or a URL that begins with `http://` or `https://`.
        timeout: Seconds for one request.
        metadata: Headers of each request, as pairs.
        root_certificates: For https, PEM file of those who may sign the server's certificate; by
            default those of the operating system.

    Raises:
        ValueError: If the address has no host or no port, or the file cannot be read.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: float,
        metadata: Iterable[tuple[str, str]] = (),
        root_certificates: str | None = None,
    ):
        url = address if "://" in address else f"http://{address}"
        parts = urlsplit(url)
        try:
            complete = parts.hostname and (parts.port or "://" in address)
        except ValueError:
            complete = False
        if parts.scheme not in ("http", "https") or not complete:
            raise ValueError(
                f"`address={address!r}` is no address; give host:port of the REST port, such as "
                "localhost:8501."
            )
        self.url = url.rstrip("/")
        self._timeout = timeout
        self._headers = dict(metadata)
        try:
            self._tls = ssl.create_default_context(cafile=root_certificates)
        except OSError as error:
            raise ValueError(
                f"`root_certificates={root_certificates!r}` cannot be read: {error}."
            ) from error

    def predict(
        self,
        reference: ModelReference,
        signature: str,
        images: Sequence[bytes | np.ndarray],
        output: str = EMBEDDING,
    ) -> np.ndarray:
        """Requests an output for images; arrays go one by one, as JSON makes them long.

        Args:
            reference: The model.
            signature: `serving_default`, `serve_uint8` or `serve_float`.
            images: Bytes of JPEG or PNG files for `serving_default`; else arrays of that type.
            output: Name of the output.

        Returns:
            float64 `(n, ...)`, of embeddings `(n, dim)`, as it was answered: there may be too few
            rows, and values that are not finite.

        Raises:
            ServingError: If the server does not answer, refuses, or answers something else.
        """
        if signature == "serving_default":
            files = [{"b64": base64.b64encode(bytes(image)).decode()} for image in images]
            rows = self._rows(reference, signature, files, output)
        else:
            rows = [
                row
                for image in images
                for row in self._rows(reference, signature, [np.asarray(image).tolist()], output)
            ]
        try:
            vectors = np.array(rows, np.float64)
        except (ValueError, TypeError) as error:
            what = "embeddings of one width" if output == EMBEDDING else f"{output!r} of one shape"
            raise ServingError(f"the predictions are no {what}: {error}") from error
        if output == EMBEDDING and vectors.ndim != 2:
            raise ServingError(f"the predictions have {vectors.ndim} dimensions, not 2")
        return vectors

    def model_names(self) -> list[str]:
        """Lists the names that models may have, by what Prometheus is told.

        TF-Serving has no call that lists its models. It counts, however, the requests by model, and
        the versions that it loaded by their folder, whose parent usually has the model's name.

        Returns:
            The names, sorted; each must be verified. Models of which no version was ever loaded are
            not among them.

        Raises:
            ServingError: If the server does not answer, or shows no metrics.
        """
        text = self._answer(METRICS_PATH).decode(errors="replace")
        folders = [path.rstrip("/").split("/")[:-1] for path in _MODEL_PATH.findall(text)]
        names = {folder[-1] for folder in folders if folder} | set(_MODEL_NAME.findall(text))
        return sorted(re.sub(r"\\(.)", r"\1", name) for name in names if name)

    def _rows(
        self, reference: ModelReference, signature: str, instances: list[Any], output: str
    ) -> list[Any]:
        path = f"/v1/models/{quote(reference.name, safe='')}"
        if reference.version is not None:
            path += f"/versions/{reference.version}"
        elif reference.label is not None:
            path += f"/labels/{quote(reference.label, safe='')}"
        body = json.dumps({"signature_name": signature, "instances": instances}).encode()
        answer = self._answer(f"{path}:predict", body)
        try:
            rows = json.loads(answer)["predictions"]
            return [row[output] if isinstance(row, dict) else row for row in rows]
        except (ValueError, KeyError, TypeError) as error:
            what = "embeddings" if output == EMBEDDING else repr(output)
            raise ServingError(
                f"{self.url}{path}:predict answers no {what} ({type(error).__name__}: {error}): "
                f"{_shortened(answer)}"
            ) from error

    def _answer(self, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(f"{self.url}{path}", body, self._headers)
        try:
            with urllib.request.urlopen(
                request, timeout=self._timeout, context=self._tls
            ) as response:
                return bytes(response.read())
        except urllib.error.HTTPError as error:
            with error:
                said = _shortened(error.read())
            raise ServingError(f"{self.url}{path}: HTTP status {error.code}: {said}") from error
        except (OSError, HTTPException) as error:
            why = getattr(error, "reason", None) or error
            why = getattr(why, "strerror", None) or why
            raise ServingError(f"{self.url}{path} does not answer: {why}.") from error


def _shortened(answer: bytes) -> str:
    text = " ".join(answer[: 4 * _LONGEST_REASON].decode(errors="replace").split())
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}…"
