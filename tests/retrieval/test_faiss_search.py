import numpy as np

from keras_distill.retrieval.exact_search import nearest_neighbours
from keras_distill.retrieval.faiss_search import FaissSearcher


def test_it_agrees_with_exact_search(clustered):
    vectors = clustered(3000, 32)
    found = FaissSearcher(vectors).search(vectors, k=10, leave_one_out=True)
    exact, distances = nearest_neighbours(vectors, k=10)
    assert (found.indices == exact).mean() > 0.999  # distances in another order of summing
    np.testing.assert_allclose(found.distances**2, distances**2, atol=2e-6)
    assert found.agreement.share > 0.999


def test_it_takes_memory_mapped_vectors(clustered, tmp_path):
    vectors = clustered(100, 8)
    np.save(tmp_path / "vectors.npy", vectors)
    searcher = FaissSearcher(np.load(tmp_path / "vectors.npy", mmap_mode="r"))
    np.testing.assert_array_equal(searcher.search(vectors, k=1).indices[:, 0], np.arange(100))
