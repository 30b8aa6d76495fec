"""Cost of search by words: memory and time of an index of several vectors an image.

    python benchmarks/word_search.py
    python benchmarks/word_search.py --images=20000 --rows=7

Purpose: what an index of word-space vectors costs, searched exactly and by ScaNN, against exact
search. The vectors are generated: 2,000 words of 300 numbers, and for each image --rows mixtures of
one of them with noise, of lengths from 1 to 3. A case gives the ms of a search for one word, the MB
of the index on disk, the seconds to build it, and the share of the 10 best images of exact search
that it finds.
Cost: about two minutes on two cores, 2 GB of memory and disk.
Expected: see benchmarks/RESULTS.md.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, flags

from keras_distill.retrieval.index_changes import build_index
from keras_distill.retrieval.word_rows import search_by_words, word_entries, word_facts

IMAGES = flags.DEFINE_integer("images", 100_000, "Images.")
ROWS = flags.DEFINE_integer("rows", 2, "Vectors of each.")
SEARCHES = flags.DEFINE_integer("searches", 50, "Words that are searched for, one by one.")
WIDTH, WORDS, NOISE, K = 300, 2_000, 1.0, 10


def generated():
    """Vectors of images `(n, rows, width)`, and of words."""
    random = np.random.default_rng(0)
    words = np.float32(random.normal(size=(WORDS, WIDTH)) / np.sqrt(WIDTH))
    shape = (IMAGES.value, ROWS.value)
    shown = words[random.integers(WORDS, size=shape)]
    noise = random.standard_normal((*shape, WIDTH), np.float32) * np.float32(NOISE / np.sqrt(WIDTH))
    lengths = random.uniform(1, 3, (*shape, 1)).astype(np.float32)
    return lengths * (shown + noise), words


def measured(folder, entries, facts, backend, words):
    begun = time.perf_counter()
    index = build_index(folder, entries, backend=backend, details={"words": vars(facts)})
    seconds = time.perf_counter() - begun
    search_by_words(index, words[:1], k=K)  # opens what is opened once
    found, times = [], []
    for word in words[: SEARCHES.value]:
        begun = time.perf_counter()
        found.append(search_by_words(index, word[None], k=K).rows)
        times.append(time.perf_counter() - begun)
    return {
        "ms": statistics.median(times) * 1e3,
        "megabytes": sum(index.manifest["files"].values()) / 1e6,
        "build": seconds,
        "found": found,
    }


def main(_):
    vectors, words = generated()
    facts = word_facts(vectors)
    paths = np.array([f"{number}.jpg" for number in range(len(vectors))])
    labels = np.full(len(paths), -1, np.int64)
    entries = word_entries(vectors, facts, paths, labels, (), Path())
    with tempfile.TemporaryDirectory() as folder:
        cases = {
            backend: measured(Path(folder) / backend, entries, facts, backend, words)
            for backend in ("exact", "scann")
        }
    exact = cases["exact"]
    for backend, case in cases.items():
        pairs = zip(case["found"], exact["found"], strict=True)
        line = {
            "benchmark": "word_search",
            "case": f"{backend}_{IMAGES.value}_images_{ROWS.value}_rows",
            "value": round(case["ms"], 2),
            "unit": "ms/search",
            "against": round(exact["ms"], 2),
            "ratio": round(case["ms"] / exact["ms"], 3),
            "megabytes": round(case["megabytes"], 1),
            "build_seconds": round(case["build"], 1),
            "found": round(float(np.mean([np.isin(b, a).mean() for a, b in pairs])), 4),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    app.run(main)
