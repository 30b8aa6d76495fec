"""One side of retrieval.py, in a process of its own, so that its memory is its own too.

    python benchmarks/search_peer.py exact|faiss|scann|build|open FOLDER

Reads the vectors in FOLDER, gets ready, and prints what that took; then answers each line of
standard input, {"recall": [1, 10]} or {"queries": 1000, "k": 10}, so that the sides are timed by
turns; with "one_by_one" each query is a search of its own. `build` writes an index beside the
vectors, and `open` searches it.
"""

import functools
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np

WARM_UP, QUERY_BLOCK = 64, 4096


class Exact:
    def __init__(self, folder):
        self.vectors, self.labels = in_memory(folder)

    def build(self):
        pass  # there is nothing to build

    def search(self, queries, k):
        from keras_distill.retrieval.exact_search import nearest_neighbours

        return nearest_neighbours(queries, self.vectors, k=k)[0]

    @functools.cached_property
    def search_one(self):
        from keras_distill import build_searcher

        searcher = build_searcher(self.vectors, backend="exact")
        return lambda query, k: searcher.search(query, k=k).indices

    def one_by_one(self, queries, k):
        found = [self.search_one(queries[row : row + 1], k) for row in range(len(queries))]
        return np.concatenate(found)

    def recall(self, ks):
        from keras_distill.evaluation.retrieval_metrics import retrieval_metrics

        return retrieval_metrics(self.vectors, self.labels, ks=ks).recall


class Approximate(Exact):
    """Searches by `self.search` and compares labels, all that Recall@K needs."""

    def recall(self, ks):
        ranks = []
        for start in range(0, len(self.vectors), QUERY_BLOCK):
            own = np.arange(start, min(start + QUERY_BLOCK, len(self.vectors)))[:, None]
            found = self.search(self.vectors[own[:, 0]], min(max(ks) + 1, len(self.vectors)))
            match = (self.labels[found] == self.labels[own]) & (found != own)
            rank = match.argmax(1)
            rank -= ((found == own) & (np.arange(found.shape[1]) < rank[:, None])).any(1)
            ranks.append(np.where(match.any(1), rank, len(self.vectors)))
        return {k: float((np.concatenate(ranks) < k).mean()) for k in ks}


class Faiss(Approximate):
    """FAISS itself, not through this package."""

    def __init__(self, folder):
        super().__init__(folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of SWIG
            import faiss
        self.index = faiss.IndexFlatL2(self.vectors.shape[1])

    def build(self):
        self.index.add(self.vectors)

    def search(self, queries, k):
        return self.index.search(queries, k)[1]


class Scann(Approximate):
    def __init__(self, folder):
        super().__init__(folder)
        import scann.scann_ops.py.scann_ops_pybind  # noqa: F401  # not part of building

    def build(self):
        from keras_distill.retrieval.scann_search import ScannSearcher

        self.searcher = ScannSearcher(self.vectors)

    def search(self, queries, k):
        return self.searcher.nearest(queries, k=k)[0]


class Build:
    """Writes an index with ScaNN, as the command `index` does from embeddings."""

    def __init__(self, folder):
        import scann.scann_ops.py.scann_ops_pybind  # noqa: F401

        import keras_distill.retrieval.index_changes  # noqa: F401

        self.folder = folder
        self.vectors, self.labels = in_memory(folder)

    def build(self):
        from keras_distill import IndexEntries, build_index

        names = tuple(f"class_{label}" for label in range(self.labels.max() + 1))
        paths = np.array([f"{row}.jpg" for row in range(len(self.labels))])
        entries = IndexEntries(self.vectors, paths, self.labels, names, self.folder)
        build_index(self.folder / "index", entries, backend="scann")


class Open(Exact):
    """Opens that index, whose vectors are mapped from the disk, and searches it."""

    def __init__(self, folder):
        import scann.scann_ops.py.scann_ops_pybind  # noqa: F401

        self.folder = folder
        self.vectors = np.load(folder / "vectors.npy", mmap_mode="r")

    def build(self):
        from keras_distill import open_index

        self.index = open_index(self.folder / "index")
        self.index.search(self.vectors[:1], k=1, sample=0)

    def search(self, queries, k):
        return self.index.search(queries, k=k, sample=0).indices

    def search_one(self, query, k):
        return self.index.search(query, k=k).indices


PEERS = {"exact": Exact, "faiss": Faiss, "scann": Scann, "build": Build, "open": Open}


def in_memory(folder):
    return np.load(folder / "vectors.npy"), np.load(folder / "labels.npy")


def peak_mb():
    """MB that this process held at most; getrusage would include its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def sample(rows, count):
    return np.sort(np.random.default_rng(1).choice(rows, min(count, rows), replace=False))


def timed(action, *arguments):
    wall, cpu = time.perf_counter(), time.process_time()
    result = action(*arguments)
    return result, {
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mb": peak_mb(),
    }


def main(name, folder):
    peer = PEERS[name](Path(folder))
    _, cost = timed(peer.build)
    print(json.dumps(cost), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "recall" in request:
            ks = request["recall"]
            peer.search(peer.vectors[:WARM_UP], max(ks))
            recall, cost = timed(peer.recall, ks)
            cost["recall"] = {k: round(value, 4) for k, value in recall.items()}
        else:
            rows, k = sample(len(peer.vectors), request["queries"]), request["k"]
            queries = np.ascontiguousarray(peer.vectors[rows])
            peer.search(queries[:WARM_UP], k)
            search = peer.search
            if request.get("one_by_one"):
                search = peer.one_by_one
                search(queries[:2], k)
            found, cost = timed(search, queries, k)
            cost["found"] = found.tolist()
        print(json.dumps(cost), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
