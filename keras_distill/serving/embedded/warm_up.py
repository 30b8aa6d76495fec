"""Warm-up of a new version by recorded requests."""

from pathlib import Path
from typing import Any

import grpc
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from keras_distill.serving.embedded.graph_errors import graph_refusal
from keras_distill.serving.embedded.refusal import Refusal, invalid

_RECORDS = "assets.extra/tf_serving_warmup_requests"
_MOST = 1000


def warm_up(servable: Any, folder: Path) -> int:
    """Replays the warm-up requests of a version, as TF-Serving does.

    Args:
        servable: The version, loaded.
        folder: Its folder, which may hold a TFRecord file of `PredictionLog`s.

    Returns:
        The number of requests.

    Raises:
        Refusal: If one fails, or the file cannot be read.
    """
    file = folder / _RECORDS
    if not file.exists():
        return 0
    count = 0
    try:
        for record in tf.data.TFRecordDataset(str(file)).take(_MOST + 1).as_numpy_iterator():
            count += 1
            if count > _MOST:
                raise invalid(f"Number of warmup records exceeds the maximum: {_MOST}")
            log = prediction_log_pb2.PredictionLog.FromString(record)
            kind = log.WhichOneof("log_type")
            if kind != "predict_log":
                message = f"Unsupported log_type for warmup: {kind}"
                raise Refusal(grpc.StatusCode.UNIMPLEMENTED, message)
            servable.predict(log.predict_log.request)
    except DecodeError as error:
        raise invalid(f"Failed to parse warmup record: {count}") from error
    except tf.errors.OpError as error:
        raise graph_refusal(error) from error
    return count
