"""Batches made of several requests, inside the graph."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

ALLOWED_BATCH_SIZES = (1, 2, 4, 8, 16, 32)
SETTINGS: dict[str, Any] = {
    "num_batch_threads": 2,
    # Larger ones are padded to; a request of more rows is split.
    "allowed_batch_sizes": ALLOWED_BATCH_SIZES,
    # Of a request, and above the largest batch: else a request of more than 32 rows is refused.
    "max_batch_size": 1024,
    "enable_large_batch_splitting": True,
    # What a lone request waits for company, at most; it is the price of batching.
    "batch_timeout_micros": 2000,
    # Beyond them requests fail as UNAVAILABLE, and clients come back later.
    "max_enqueued_batches": 100,
}


def batched(network: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[tf.Tensor], tf.Tensor]:
    """Lets concurrent calls of a network share batches, wherever its graph runs.

    Unlike TF-Serving's `--enable_batching`, which merges requests before anything has looked at
    them, only what has been decoded and checked gets here: a bad image fails its own request.
    Calls from all signatures of a model meet in one queue, so `network` must be the same for all
    of them, its input of one dtype.

    Args:
        network: From a batch of images to a batch of vectors; row by row, for the rows of a batch
            come from anyone.

    Returns:
        A function that does the same; not differentiable, and its result has no static shape.
    """
    return tf.nondifferentiable_batch_function(**SETTINGS, autograph=False)(network)
