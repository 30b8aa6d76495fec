"""Finds labels that were not trained on by the mean of the words of labels that were.

    python benchmarks/mean_words.py --model=runs/coco18_seen --classes=person,car,dog \\
        --dataset=labels:data/coco18/labels.csv --word_vectors=data/coco18/vectors18.txt

Purpose: the baseline of a word space. A classifier of some labels gives the probabilities p_c of an
image; its vector is the mean of their word vectors, sum_c p_c u_c / sum_c p_c, and any other label
is scored by the cosine of its word with that vector. Prints a line of JSON for the labels of
--classes that the classifier was not trained on, and one for all of them, each beside the mAP of a
random order, which is the share of positives.
Cost: seconds.
Expected: see benchmarks/RESULTS.md.
"""

import json
import sys
from pathlib import Path

import numpy as np
from absl import app, flags

from keras_distill import (
    InputError,
    evaluation_batches,
    find_labels,
    load_word_vectors,
    multilabel_metrics,
    read_label_targets,
)
from keras_distill.evaluation.label_scores import score_batches
from keras_distill.evaluation.pair_scores import unit_rows
from keras_distill.models.loading import load_model

MODEL = flags.DEFINE_string("model", None, "Run directory of a classifier.", required=True)
DATASET = flags.DEFINE_string("dataset", None, "Images with labels.", required=True)
WORD_VECTORS = flags.DEFINE_string("word_vectors", None, "File of word vectors.", required=True)
CLASSES = flags.DEFINE_list("classes", None, "Labels to find.", required=True)
SPLIT = flags.DEFINE_string("split", "test", "Images to measure on.")
TOP_KS = flags.DEFINE_list("top_ks", ["1", "3"], "The K of F1@K.")


def main(_):
    try:
        model = load_model(Path(MODEL.value) / "model.keras")
        labels = find_labels(model)
        if labels is None or set(CLASSES.value) <= set(labels.names):
            raise InputError(
                f"--model={MODEL.value} must be a classifier that does not know some of --classes."
            )
        images = read_label_targets(
            DATASET.value, classes=CLASSES.value, split=SPLIT.value, other_labels="ignore"
        )
        seen = load_word_vectors(WORD_VECTORS.value, labels.names)
        words = load_word_vectors(WORD_VECTORS.value, images.class_names)
    except InputError as error:
        print(f"mean_words: {error}", file=sys.stderr)
        return 2
    size = model.input_shape[1]
    logits = score_batches(model, evaluation_batches(images.unlabelled, image_size=size))
    shares = np.asarray(labels.probabilities(logits))
    means = shares @ unit_rows(seen) / shares.sum(axis=1, keepdims=True)
    scores = unit_rows(means) @ unit_rows(words).T
    unseen = [name for name in images.class_names if name not in labels.names]
    for case, names in (("unseen", unseen), ("seen and unseen", images.class_names)):
        columns = [images.class_names.index(name) for name in names]
        targets = images.targets[:, columns]
        found = multilabel_metrics(
            scores[:, columns],
            targets,
            top_ks=[int(k) for k in TOP_KS.value if int(k) <= len(names)],
        )
        line = {"benchmark": "mean_words", "case": case, "labels": len(names)}
        wanted = ["mAP", *(name for name in found.means if name.startswith("F1@"))]
        line |= {name: round(found.means[name], 4) for name in wanted}
        print(json.dumps(line | {"chance": round(float((targets == 1).mean(axis=0).mean()), 4)}))
    return 0


if __name__ == "__main__":
    app.run(main)
