"""A SavedModel, loaded as TF-Serving loads it."""

import functools
import logging
import os
from pathlib import Path
from typing import Any, Self

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from keras_distill.serving.export.signature_defs import predict_signatures


class SessionModel:
    """Answers requests by a session of its own, by feeding and fetching tensors by name.

    Args:
        folder: Folder of the SavedModel.

    Raises:
        Exception: Whatever TensorFlow finds wrong with it.

    Example:
        >>> with SessionModel(Path("models/birds/1")) as model:  # doctest: +SKIP
        ...     model.run(request)["embedding"]
    """

    def __init__(self, folder: Path):
        _take_notice()
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        log = logging.getLogger("tensorflow")
        level = log.level
        log.setLevel(logging.ERROR)  # the loader that TF-Serving uses says that it is deprecated
        try:
            with self._session.graph.as_default():
                meta_graph = tf.compat.v1.saved_model.loader.load(
                    self._session, ["serve"], str(folder)
                )
        finally:
            log.setLevel(level)
        self.signatures = predict_signatures(meta_graph)

    def run(self, request: Any) -> dict[str, np.ndarray]:
        """Answers a request.

        Args:
            request: A `PredictRequest`, of which the model's name and version do not count.

        Returns:
            The outputs of the signature by name.

        Raises:
            tf.errors.OpError: If the graph refuses the request.
            ValueError: If the signature does not fit it.
        """
        name = request.model_spec.signature_name or "serving_default"
        if name not in self.signatures:
            raise ValueError(f"there is no signature {name!r}")
        signature = self.signatures[name]
        if set(request.inputs) != set(signature.inputs):
            raise ValueError(
                f"{name} takes {sorted(signature.inputs)}, not {sorted(request.inputs)}"
            )
        feeds = {}
        for key, tensor in request.inputs.items():
            if tensor.dtype != signature.inputs[key].dtype:
                raise ValueError(f"the input {key!r} of {name} has another type")
            official = tensor_pb2.TensorProto.FromString(tensor.SerializeToString())
            feeds[signature.inputs[key].name] = tf.make_ndarray(official)
        fetches = {key: info.name for key, info in signature.outputs.items()}
        return self._session.run(fetches, feeds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()


@functools.cache
def _take_notice() -> None:
    """Lets a session without anything in it be the first one.

    The first of a process says on standard error, past every log level, that it does without MLIR.
    """
    standard_error = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            with tf.Graph().as_default(), tf.compat.v1.Session() as session:
                session.run(tf.no_op())
    finally:
        os.dup2(standard_error, 2)
        os.close(standard_error)
