"""The requests that TF-Serving answers to itself before a version becomes available."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_distill.serving.client.messages import PredictionLog, TensorProto
from keras_distill.serving.client.output_contract import EMBEDDING
from keras_distill.serving.client.predict_requests import tensor_request
from keras_distill.serving.client.tensors import DT_FLOAT, DT_UINT8, encode_strings
from keras_distill.serving.export.session_model import SessionModel

WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")
BATCH_SIZES = (1, 8, 32)
_GREY = 127


def write_warmup(folder: Path, size: int, outputs: Sequence[str] = (EMBEDDING,)) -> None:
    """Writes requests for each signature and each of `BATCH_SIZES` into a SavedModel.

    The pixels are grey, so that the file stays below a few kilobytes: a tensor of one value
    repeated is written as that value.

    Args:
        folder: Folder of the SavedModel.
        size: Height and width of the images that it takes, in pixels.
        outputs: Names of the outputs to request.
    """
    file = folder / WARMUP_FILE
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for request in _requests(size, outputs):
            log = PredictionLog()
            log.predict_log.request.CopyFrom(request)
            writer.write(log.SerializeToString(deterministic=True))


def warmup_faults(model: SessionModel, folder: Path) -> list[str]:
    """Answers the warm-up requests of a SavedModel, as TF-Serving does while it loads one.

    A request that fails would fail the version.

    Args:
        model: The loaded SavedModel.
        folder: Its folder; without a file of requests there is no fault.

    Returns:
        A sentence for each request that fails, or is not answered by one row for each of its.
    """
    if not (folder / WARMUP_FILE).exists():
        return []
    faults = []
    for number, request in enumerate(_read(folder / WARMUP_FILE), start=1):
        name = request.model_spec.signature_name
        rows = next(iter(request.inputs.values())).tensor_shape.dim[0].size
        try:
            answered = {len(output) for output in model.run(request).values()}
        except (tf.errors.OpError, ValueError) as error:
            faults.append(f"warm-up request {number} ({name}, {rows} rows) fails: {error}")
        else:
            if answered != {rows}:
                faults.append(
                    f"warm-up request {number} ({name}, {rows} rows) gives {answered} rows"
                )
    return faults


def _requests(size: int, outputs: Sequence[str]) -> Iterator[Any]:
    grey = tf.fill([size, size, 3], tf.constant(_GREY, tf.uint8))
    picture = tf.io.encode_jpeg(grey).numpy()
    for rows in BATCH_SIZES:
        yield tensor_request("serving_default", encode_strings([picture] * rows), outputs)
        for name, tensor in (
            ("serve_uint8", TensorProto(dtype=DT_UINT8, int_val=[_GREY])),
            ("serve_float", TensorProto(dtype=DT_FLOAT, float_val=[_GREY])),
        ):
            for length in (rows, size, size, 3):
                tensor.tensor_shape.dim.add(size=length)
            yield tensor_request(name, tensor, outputs)


def _read(file: Path) -> Iterator[Any]:
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        yield PredictionLog.FromString(record).predict_log.request
