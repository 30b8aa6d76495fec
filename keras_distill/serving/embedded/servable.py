"""Loaded version of a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import predict_pb2

from keras_distill.serving.embedded.budget import Budget
from keras_distill.serving.embedded.graph_errors import graph_refusal
from keras_distill.serving.embedded.image_limits import count_pixels
from keras_distill.serving.embedded.refusal import Refusal, invalid
from keras_distill.serving.embedded.request_checks import (
    check_arrays,
    check_names,
    chosen_outputs,
    find_signature,
)
from keras_distill.serving.embedded.request_tensors import read_tensor, write_tensor
from keras_distill.serving.export.session_model import SessionModel

DEFAULT_SIGNATURE = "serving_default"
# TF-Serving's REST interface also tells inputs of files from inputs of text by this suffix.
_FILES = "_bytes"


@dataclass(frozen=True)
class RequestLimits:
    """Limits of a request, and of all requests together.

    Attributes:
        most_bytes: Maximum size of an input in bytes, once unpacked.
        most_pixels: Maximum number of pixels of an image.
        pixels: Pixels that are decoded at a time in all requests; they fill memory.
        rows: Images in the graph at a time in all requests; processor caches hold only so many.
    """

    most_bytes: int
    most_pixels: int
    pixels: Budget
    rows: Budget


class Servable:
    """SavedModel that answers requests, of several threads at once.

    Args:
        folder: The folder of the version.
        name: Name of the model.
        version: Number of the version.
        limits: Limits of requests.

    Raises:
        Refusal: If it cannot be loaded.
    """

    def __init__(self, folder: Path, name: str, version: int, limits: RequestLimits):
        self.name = name
        self.version = version
        self._limits = limits
        try:
            file = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
            (graph,) = (graph for graph in file.meta_graphs if "serve" in graph.meta_info_def.tags)
            self._model = SessionModel(folder)
        except FileNotFoundError as error:
            raise Refusal(grpc.StatusCode.NOT_FOUND, f"No SavedModel in {folder}.") from error
        except tf.errors.OpError as error:
            raise graph_refusal(error) from error
        except (DecodeError, OSError, ValueError) as error:
            raise invalid(f"{folder} cannot be loaded: {error}") from error
        self.signatures = dict(graph.signature_def)

    def predict(
        self, request: Any, check_deadline: Callable[[], None] = lambda: None
    ) -> predict_pb2.PredictResponse:
        """Answers a request for this version.

        Args:
            request: The `PredictRequest`.
            check_deadline: Called right before the model is run; raises if the caller
                has given up.

        Returns:
            The answer.

        Raises:
            Refusal: If the request does not fit the signature, or the graph fails.
        """
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        signature = find_signature(self.signatures, name)
        check_names(signature, request.inputs)
        arrays = {
            key: read_tensor(key, tensor, self._limits.most_bytes)
            for key, tensor in request.inputs.items()
        }
        outputs = chosen_outputs(signature, request.output_filter)
        check_arrays(signature, arrays)
        pixels = sum(
            count_pixels(array.ravel(), self._limits.most_pixels)
            for key, array in arrays.items()
            if array.dtype == object and key.endswith(_FILES)
        )
        rows = max((len(array) for array in arrays.values() if array.ndim), default=0)
        with (
            self._limits.pixels.taking(pixels, check_deadline),
            self._limits.rows.taking(rows, check_deadline),
        ):
            check_deadline()
            results = self._run(name, arrays, outputs)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = self.name
        response.model_spec.version.value = self.version
        response.model_spec.signature_name = name
        for key, array in results.items():
            write_tensor(response.outputs[key], array)
        return response

    def _run(
        self, name: str, arrays: dict[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        if name not in self._model.signatures:  # the initialiser of the graph answers nothing
            find_signature({}, name)
        try:
            return self._model.call(name, arrays, outputs)
        except tf.errors.OpError as error:
            raise graph_refusal(error) from error
