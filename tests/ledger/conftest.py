import numpy as np
import pytest

from keras_distill.evaluation.metric_figures import MEANING
from keras_distill.ledger.contents import report_contents, rows_by_importance
from keras_distill.ledger.cost import machine
from keras_distill.ledger.ledger import Ledger
from keras_distill.ledger.pictures import picture_uri
from keras_distill.ledger.stage import exact_stage, index_stage
from keras_distill.retrieval.searcher import ExactSearcher

KS = (1, 2, 4)


@pytest.fixture(scope="session")
def labelled():
    """Vectors of length 1 around a centre a class, as noisy as asked."""

    def make(noise, *, classes=12, each=8, dim=16, seed=0):
        labels = np.repeat(np.arange(classes), each)
        centres = np.random.default_rng(0).normal(size=(classes, dim))
        rng = np.random.default_rng(seed)
        vectors = centres[labels] + noise * rng.normal(size=(len(labels), dim))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors.astype(np.float32), labels

    return make


@pytest.fixture(scope="session")
def stage(labelled):
    """A stage of so noisy vectors."""

    def make(noise, name="student", **shape):
        vectors, labels = labelled(noise, **shape)
        return exact_stage(name, f"{name}.keras", vectors, labels, ks=KS)

    return make


@pytest.fixture(scope="session")
def ledger(labelled):
    """Teacher, student, an export that lost its normalisation, and an index of it."""
    size = {"classes": 12, "each": 8}
    (teacher, labels), (student, _) = labelled(0.7, **size), labelled(1.1, **size)
    cost = {
        "megabytes": 9.6,
        "parameters": 2_257_984,
        "milliseconds": 22.0,
        "milliseconds_quartiles": [21.0, 25.0],
        "milliseconds_from_jpeg": 23.0,
        "milliseconds_from_jpeg_quartiles": [22.0, 26.0],
        "timed_in": "Keras",
        "images_per_second": 50.0,
        "image_size": 224,
        "route": "the centre of each image",
    }
    small = cost | {"megabytes": 0.6, "parameters": 180_000, "milliseconds": 4.0}
    served = small | {"megabytes": 0.9, "milliseconds": 6.0, "timed_in": "SavedModel"}
    scaled = student * np.random.default_rng(0).uniform(0.2, 3, (96, 1)).astype(np.float32)
    stages = [
        exact_stage("teacher", "teacher.keras", teacher, labels, ks=KS, cost=cost),
        exact_stage("student", "student.keras", student, labels, ks=KS, cost=small),
        exact_stage("export", "models/1", scaled, labels, ks=KS, cost=served),
    ]
    searched = {"megabytes": 0.1, "queries_per_second": 9e4, "exact_queries_per_second": 3e4}
    index = index_stage(
        "index", stages[-1], ExactSearcher, ks=KS, cost=lambda searcher, gallery, k: searched
    )
    return Ledger([*stages, index])


@pytest.fixture(scope="session")
def contents(ledger, drawn):
    """What a report says of that, with what the command knows besides."""
    return {
        "run": "runs/shades",
        "data": "folder:shades",
        "split": "test",
        "classes": 12,
        "ks": list(KS),
        "settings_of_the_run": {"dataset": "folder:shades"},
        "classes_seen_in_training": [],
        "intervals_shown": "queries",
        "interval_meaning": MEANING,
        "batch_size": 64,
        "machine": machine(),
        "skipped_images": [],
        "date": "2026-11-22",
        "pictures": {"shown": 96, "named": 96},
        **report_contents(ledger, drawn, most_queries=2000),
    }


@pytest.fixture(scope="session")
def pictures(contents, drawn):
    """The pictures of the first 60 rows that the page needs."""
    rows = rows_by_importance(contents)[:60]
    return {str(row): picture_uri(drawn.root / drawn.paths[row]) for row in rows}
