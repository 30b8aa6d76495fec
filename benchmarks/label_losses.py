"""Cost of the losses on labels, against binary cross-entropy.

    python benchmarks/label_losses.py

Purpose: what each loss adds to a training step of MobileNet-0.25 at 128 pixels with batches of 64,
at 80 and at 9,600 classes. A case is the time of a loss and its gradient on given logits, in ms,
against `keras.losses.BinaryCrossentropy(from_logits=True)`, timed by turns; `added` is the
difference as a share of a whole step of that network with the cross-entropy. Labels are int8, 3 of
an image are true, and a half of them is not annotated for the selective loss. The semantic
diversity loss compares 7 vectors of 300 numbers with the words, where the others have logits;
`semantic_diversity_scores` is the same loss against the cross-entropy of the same scores, that is,
what the ranking and the two variances cost.
Cost: about two minutes on two cores.
Expected: added below 0.02 at 80 classes; see benchmarks/RESULTS.md.
"""

import json
import statistics
import time

import keras
import numpy as np
import tensorflow as tf

from keras_distill import (
    AsymmetricLoss,
    AsymmetricSoftmaxLoss,
    PartialSelectiveLoss,
    SemanticDiversityLoss,
    build_embedder,
)

BATCH, SIZE, ROUNDS, SECONDS = 64, 128, 7, 0.3
TRUE, VECTORS, DIM = 3, 7, 300
CLASSES = (80, 9_600)


def targets_of(classes):
    random = np.random.default_rng(0)
    targets = np.zeros((BATCH, classes), np.int8)
    for row in targets:
        row[random.choice(classes, TRUE, replace=False)] = 1
    partly = np.where(random.random(targets.shape) < 0.5, targets, np.int8(-1))
    return targets, partly, random.integers(0, classes, BATCH)


def cases(classes):
    """Losses and cross-entropies by name, each with its targets and what it takes."""
    random = np.random.default_rng(1)
    logits = np.float32(random.normal(size=(BATCH, classes)) * 2 - 4)
    vectors = np.float32(random.normal(size=(BATCH, VECTORS, DIM)))
    words = random.normal(size=(classes, DIM)) / np.sqrt(DIM)
    targets, partly, labels = targets_of(classes)
    prior = random.uniform(0, 0.1, classes)
    binary = keras.losses.BinaryCrossentropy(from_logits=True)
    diverse = SemanticDiversityLoss(words)
    given = np.float32(targets)
    losses = {
        "asymmetric": (AsymmetricLoss(), targets, logits),
        "asymmetric_softmax": (AsymmetricSoftmaxLoss(), labels, logits),
        "partial_selective": (PartialSelectiveLoss(prior=prior), partly, logits),
        "semantic_diversity": (diverse, targets, vectors),
    }

    def of_scores(given, vectors):
        return binary(given, diverse.scores(vectors))

    cross_entropies = {
        "of logits": (binary, given, logits),
        "of scores": (of_scores, given, vectors),
    }
    return losses, cross_entropies


def milliseconds(run):
    """A function that gives the ms of a run, from as many as fit into `SECONDS`."""
    run()
    begun = time.perf_counter()
    run()
    count = max(int(SECONDS / (time.perf_counter() - begun)), 1)

    def measure():
        begun = time.perf_counter()
        for _ in range(count):
            run()
        return (time.perf_counter() - begun) / count * 1e3

    return measure


def loss_alone(loss, targets, outputs):
    targets, outputs = tf.constant(targets), tf.constant(outputs)

    @tf.function
    def run(targets, outputs):
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            value = loss(targets, outputs)
        return tape.gradient(value, outputs)

    # Traced here: TensorFlow takes calls of a function that was made again for retracing.
    traced = run.get_concrete_function(targets, outputs)
    return milliseconds(lambda: traced(targets, outputs).numpy())


def whole_step(classes, loss, targets):
    keras.utils.set_random_seed(0)
    backbone = build_embedder(
        "mobilenet", alpha=0.25, image_size=SIZE, embedding_dim=256, backbone_weights="none"
    )
    logits = keras.layers.Dense(classes)(backbone.output)
    model = keras.Model(backbone.input, logits)
    model.compile(keras.optimizers.Adam(3e-4), loss=loss)
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, SIZE, SIZE, 3), dtype=np.uint8)
    batches = iter(tf.data.Dataset.from_tensors((pixels, targets)).repeat())
    model.optimizer.build(model.trainable_variables)
    model.make_train_function()
    return milliseconds(lambda: model.train_function(batches))


def main():
    for classes in CLASSES:
        losses, cross_entropies = cases(classes)
        runs = {name: loss_alone(*case) for name, case in (losses | cross_entropies).items()}
        runs["step"] = whole_step(classes, *cross_entropies["of logits"][:2])
        measured = [{name: run() for name, run in runs.items()} for _ in range(ROUNDS)]
        cost = {name: statistics.median(each[name] for each in measured) for name in runs}
        compared = [(name, name, cost["of logits"]) for name in losses]
        compared.append(("semantic_diversity_scores", "semantic_diversity", cost["of scores"]))
        for case, name, against in compared:
            line = {
                "benchmark": "label_losses",
                "case": f"{case}_{classes}_classes",
                "value": round(cost[name], 3),
                "unit": "ms/step",
                "against": round(against, 3),
                "ratio": round(cost[name] / against, 3),
                "step": round(cost["step"], 1),
                "added": round((cost[name] - against) / cost["step"], 4),
            }
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
