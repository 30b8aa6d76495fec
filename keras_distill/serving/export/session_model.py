"""A SavedModel, loaded as TF-Serving loads it."""

import functools
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from keras_distill.serving.export.signature_defs import predict_signatures


class SessionModel:
    """Answers requests by a session of its own, by feeding and fetching tensors by name.

    Unlike what `tf.saved_model.load` returns, it gives everything back once it is closed or not
    referred to any longer: the threads of batches within a graph would otherwise wake up a thousand
    times a second, each, for as long as the process lives.

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
        threads = tf.config.threading
        config = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=threads.get_intra_op_parallelism_threads(),
            inter_op_parallelism_threads=threads.get_inter_op_parallelism_threads(),
        )
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        self._functions: dict[tuple[str, ...], Callable[..., Any]] = {}
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
        arrays = {}
        for key, tensor in request.inputs.items():
            if tensor.dtype != signature.inputs[key].dtype:
                raise ValueError(f"the input {key!r} of {name} has another type")
            official = tensor_pb2.TensorProto.FromString(tensor.SerializeToString())
            arrays[key] = tf.make_ndarray(official)
        return self.call(name, arrays, list(signature.outputs))

    def call(
        self, signature: str, arrays: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Calls a signature; several threads may do so at once.

        Args:
            signature: Name of the signature.
            arrays: An array for each of its inputs, by name.
            outputs: Names of the outputs to compute.

        Returns:
            The outputs by name.

        Raises:
            tf.errors.OpError: If the graph refuses the arrays.
        """
        function = self._functions.get((signature, *outputs))
        if function is None:
            definition = self.signatures[signature]
            function = self._functions[signature, *outputs] = self._session.make_callable(
                [definition.outputs[name].name for name in outputs],
                [definition.inputs[name].name for name in sorted(definition.inputs)],
            )
        return dict(zip(outputs, function(*(arrays[name] for name in sorted(arrays))), strict=True))

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
