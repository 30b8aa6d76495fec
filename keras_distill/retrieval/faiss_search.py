"""Nearest-neighbour search with FAISS, for platforms without a wheel of ScaNN."""

import warnings

import numpy as np

from keras_distill.retrieval.direct_search import centred, common_centre
from keras_distill.retrieval.searcher import Searcher


class FaissSearcher(Searcher):
    """FAISS' flat index, which compares each query with each row.

    Of several rows at the distance of the last neighbour, it may return another one than exact
    search does.

    Args:
        gallery: Finite vectors, float32 `(m, dim)`.
    """

    backend = "faiss"

    def __init__(self, gallery: np.ndarray):
        super().__init__(gallery)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of SWIG
            import faiss

        self._index = faiss.IndexFlatL2(gallery.shape[1])
        self._centre = common_centre(gallery)  # FAISS computes from lengths and products too
        self._index.add(np.ascontiguousarray(centred(gallery, self._centre)))

    def _squared(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        squared, indices = self._index.search(centred(queries, self._centre), k)
        return indices, squared
