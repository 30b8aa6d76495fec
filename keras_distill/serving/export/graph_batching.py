"""Batches made of several requests, inside the graph."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_distill.serving.export.request_bounds import MOST_ROWS

ALLOWED_BATCH_SIZES = (1, 2, 4, 8, 16, 32)
SETTINGS: dict[str, Any] = {
    # Batches computed at one time, by all requests together. The graph cannot know the cores of the
    # machine that will serve it. On two, 4 cost no more CPU time than 2, and 8 up to a tenth, for
    # batches are begun before they are full. Where one operation has one thread, no more cores than
    # this compute; TensorFlow's default, a thread a core, leaves none idle.
    "num_batch_threads": 4,
    # Larger ones are padded to; a request of more rows is split.
    "allowed_batch_sizes": ALLOWED_BATCH_SIZES,
    # Of a request, and above the largest batch: else a request of more than 32 rows is refused.
    "max_batch_size": MOST_ROWS,
    "enable_large_batch_splitting": True,
    # What a lone request waits for company, at most; it is the price of batching.
    "batch_timeout_micros": 2000,
    # Beyond them requests fail as UNAVAILABLE, and clients come back later.
    "max_enqueued_batches": 100,
}


def batched(network: Callable[[tf.Tensor], Any]) -> Callable[[tf.Tensor], Any]:
    """Lets concurrent calls of a network share batches, wherever its graph runs.

    Unlike TF-Serving's `--enable_batching`, which merges requests before anything has looked at
    them, only what has been decoded and checked gets here: a bad image fails its own request.
    Calls whose input is of one dtype meet in one queue, also from several signatures of a model, so
    `network` must be the same for all of them.

    Args:
        network: From a batch of images to batches of outputs by name. The images have the dtype in
            which they come: what is converted within is copied as uint8 until then. Row by row, as
            the rows of a batch come from anyone.

    Returns:
        A function that does the same; not differentiable, and its result has no static shape.
    """
    run = tf.nondifferentiable_batch_function(**SETTINGS, autograph=False)(network)

    def call(images: tf.Tensor) -> Any:
        # A queue is shared by all that have the name of its scope, whatever they put into it; to
        # concatenate rows of two dtypes aborts the server.
        with tf.name_scope(images.dtype.name):
            return run(images)

    return call
