"""Cost of drawing a batch with 50,000 classes, against the same with 50.

    python benchmarks/class_sampler.py

Purpose: the claim that the cost of a batch does not grow with the number of classes.
Cost: about 20 seconds on one CPU.
Expected: a ratio near 1.
"""

import json
import time

import numpy as np
import tensorflow as tf

from keras_distill.data.class_sampler import ClassSampler

IMAGES_PER_CLASS = 5
BATCHES = 200
ROUNDS = 9


def batches(classes):
    """Endless draws of 8 classes x 8 images, as `training_batches` makes them."""
    labels = np.repeat(np.arange(classes), IMAGES_PER_CLASS)
    sampler = ClassSampler(labels, classes_per_batch=8, images_per_class=8)
    return iter(tf.data.Dataset.range(tf.int64.max).map(sampler.rows))


def microseconds(iterator):
    start = time.perf_counter()
    for _ in range(BATCHES):
        next(iterator)
    return (time.perf_counter() - start) / BATCHES * 1e6


def main():
    few, many = batches(50), batches(50_000)
    microseconds(few), microseconds(many)  # warm up
    rounds = [(microseconds(few), microseconds(many)) for _ in range(ROUNDS)]
    few_cost, many_cost = (min(costs) for costs in zip(*rounds, strict=True))
    print(
        json.dumps(
            {
                "benchmark": "class_sampler",
                "case": "50000_vs_50_classes",
                "value": round(many_cost, 1),
                "unit": "us/batch",
                "against": round(few_cost, 1),
                "ratio": round(many_cost / few_cost, 3),
            }
        )
    )


if __name__ == "__main__":
    main()
