"""Cost of ranking by one forward pass, against a network of two branches.

    python benchmarks/efficient_siamese.py

Purpose: what it saves to pass each image once and to form all pairs on the outputs
(`AllPairsRankingHinge`), with the mini-batch of RankIQA for TID2013: 9 distortions x 5 levels, 45
images and 90 pairs, on MobileNet-0.25 at 128 pixels. A case is the time of the loss and of its
gradient for all weights, in ms, against a network of two branches that is shown both images of each
pair, timed by turns; both have the same loss and, up to rounding, the same gradient.
Cost: about a minute on two cores.
Expected: ratio at least 3, since 180 images pass instead of 45; see benchmarks/RESULTS.md.
"""

import json
import statistics
import time

import keras
import numpy as np
import tensorflow as tf

from keras_distill import AllPairsRankingHinge, build_embedder

KINDS, LEVELS, SIZE, MARGIN, ROUNDS = 9, 5, 128, 1.0, 7


def scorer():
    keras.utils.set_random_seed(0)
    backbone = build_embedder(
        "mobilenet", alpha=0.25, image_size=SIZE, embedding_dim=64, backbone_weights="none"
    )
    return keras.Model(backbone.input, keras.layers.Dense(1)(backbone.output))


def steps(model, images):
    """The step that passes each image once, and the one that passes both images of each pair."""
    levels, groups = np.tile(np.arange(LEVELS), KINDS), np.repeat(np.arange(KINDS), LEVELS)
    ordered = (levels[:, None] < levels) & (groups[:, None] == groups)
    better, worse = np.nonzero(ordered)
    loss = AllPairsRankingHinge(MARGIN, "pairs")
    weights = [variable.value for variable in model.trainable_variables]

    @tf.function
    def once():
        with tf.GradientTape() as tape:
            value = loss(levels, model(images, training=False), groups)
        return value, tape.gradient(value, weights)

    @tf.function
    def two_branches():
        with tf.GradientTape() as tape:
            better_scores = model(tf.gather(images, better), training=False)
            worse_scores = model(tf.gather(images, worse), training=False)
            value = tf.reduce_mean(tf.nn.relu(MARGIN - (better_scores - worse_scores)))
        return value, tape.gradient(value, weights)

    return once, two_branches, len(better)


def seconds(run):
    begun = time.perf_counter()
    run()[0].numpy()
    return time.perf_counter() - begun


def main():
    random = np.random.default_rng(0)
    images = tf.constant(random.integers(0, 256, (KINDS * LEVELS, SIZE, SIZE, 3), np.uint8))
    once, two_branches, pairs = steps(scorer(), images)
    for ours, theirs in zip(once()[1], two_branches()[1], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3 * np.linalg.norm(theirs))
    measured = [(seconds(once), seconds(two_branches)) for _ in range(ROUNDS)]
    ours, theirs = (statistics.median(column) for column in zip(*measured, strict=True))
    line = {
        "benchmark": "efficient_siamese",
        "case": f"{KINDS}_kinds_{LEVELS}_levels_{pairs}_pairs",
        "value": round(ours * 1e3, 1),
        "unit": "ms/step",
        "against": round(theirs * 1e3, 1),
        "ratio": round(theirs / ours, 2),
    }
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
