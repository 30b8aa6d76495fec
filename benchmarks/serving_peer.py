"""The in-process side of serving.py: exports a model and calls it without any server.

    python benchmarks/serving_peer.py FOLDER NAME graph|none INTRA_OP_THREADS

Answers each line of standard input, {"input": "uint8", "batch": 8, "concurrency": 2, "seconds": 1},
with the milliseconds of each call and the seconds that all took.
"""

import json
import sys

import numpy as np
import tensorflow as tf
from serving_load import SIZE, images, run_workers

from keras_distill import build_embedder
from keras_distill.serving.export.bundle import export_embedder


def answer(signatures, question):
    items = images(question["input"], question["batch"])
    if question["input"] == "jpeg":
        signature, argument = signatures["serving_default"], "image_bytes"
    else:
        signature, argument = signatures["serve_uint8"], "image"
        items = np.stack(items)

    def call():
        # From and to NumPy, as whoever uses the model has to.
        signature(**{argument: tf.constant(items)})["embedding"].numpy()

    return run_workers(call, question["concurrency"], question["seconds"])


def main(folder, name, batching, intra_op_threads):
    tf.config.threading.set_intra_op_parallelism_threads(int(intra_op_threads))
    model = build_embedder(
        "mobilenet", alpha=0.25, image_size=SIZE, embedding_dim=128, backbone_weights="none"
    )
    exported = export_embedder(model, folder, name=name, batching=batching)
    signatures = tf.saved_model.load(str(exported)).signatures
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(signatures, json.loads(line))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
