"""Search backends by name."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from keras_distill.errors import InputError
from keras_distill.retrieval.faiss_search import FaissSearcher
from keras_distill.retrieval.neighbours import Agreement
from keras_distill.retrieval.scann_search import ScannSearcher, ScannSettings
from keras_distill.retrieval.searcher import ExactSearcher, Searcher
from keras_distill.retrieval.vector_checks import checked_vectors

BACKENDS = ("exact", "scann", "faiss")
# From here on approximate search saves more than it costs.
_APPROXIMATE_ROWS = 20_000
# `auto` searches exactly where less of the nearest rows would be found, as in one dimension.
_LEAST_AGREEMENT = 0.8
_SAMPLE, _SAMPLE_K = 100, 10
_REMEDIES = {
    "scann": "its wheels are for Linux: pip install 'scann[tf]'; or choose exact or faiss.",
    "faiss": "pip install faiss-cpu; or choose exact or scann.",
}


def check_backend(backend: str) -> None:
    """Checks that a search backend is known and installed.

    Args:
        backend: One of `BACKENDS`, or `auto`.

    Raises:
        InputError: If it is not.
    """
    if backend not in (*BACKENDS, "auto"):
        raise InputError(f"`backend={backend}` is unknown; give auto, {', '.join(BACKENDS)}.")
    if backend in _REMEDIES and not _installed(backend):
        raise InputError(f"`backend={backend}` is not installed; {_REMEDIES[backend]}")


def choose_backend(rows: int) -> str:
    """Returns the backend that `auto` tries first.

    Exact search below 20,000 rows; from there on ScaNN, or FAISS where ScaNN is not installed.

    Args:
        rows: Rows of the gallery.

    Returns:
        One of `BACKENDS`.

    Example:
        >>> choose_backend(1_000)
        'exact'
    """
    if rows >= _APPROXIMATE_ROWS:
        for backend in ("scann", "faiss"):
            if _installed(backend):
                return backend
    return "exact"


def build_searcher(gallery: np.ndarray, *, backend: str = "auto") -> Searcher:
    """Builds the searcher of a gallery.

    Args:
        gallery: float array `(m, dim)`.
        backend: `exact`; `scann`, which is approximate; `faiss`, which compares all rows; or
            `auto`, which is the choice of `choose_backend`, or `exact` if that choice finds less
            than 80 % of the 10 nearest neighbours of 100 sampled rows.

    Returns:
        An object with `search(queries, k=...)`.

    Raises:
        InputError: If the gallery cannot be searched, or the backend is not installed.

    Example:
        >>> import numpy as np
        >>> searcher = build_searcher(np.array([[0.0], [1.0], [3.0]]))
        >>> searcher.search(np.array([[0.9]]), k=2).indices
        array([[1, 0]])
    """
    check_backend(backend)
    gallery = checked_vectors("gallery", gallery)
    if not len(gallery):
        raise InputError("`gallery` has no rows; there is nothing to search.")
    if backend != "auto":
        return _searcher(backend, gallery)
    searcher = _searcher(choose_backend(len(gallery)), gallery)
    agreement = sampled_agreement(searcher)
    if agreement is None or agreement.share >= _LEAST_AGREEMENT:
        return searcher
    logging.warning(
        "%s finds only %.0f %% of the %d nearest here; they are searched exactly.",
        searcher.backend,
        100 * agreement.share,
        agreement.k,
    )
    return ExactSearcher(gallery)


def sampled_agreement(searcher: Searcher) -> Agreement | None:
    """Measures which share of the 10 nearest neighbours a searcher finds, on 100 random rows.

    Args:
        searcher: The searcher.

    Returns:
        The agreement with exact search; `None` if it is exact itself.
    """
    if not searcher.approximate:
        return None
    chosen = np.random.default_rng(0).permutation(len(searcher.gallery))[:_SAMPLE]
    return searcher.search(searcher.gallery[chosen], k=_SAMPLE_K, sample=_SAMPLE).agreement


def load_searcher(
    backend: str, gallery: np.ndarray, settings: Mapping[str, Any], assets: Path
) -> Searcher:
    """Loads a searcher that was saved.

    Args:
        backend: One of `BACKENDS`.
        gallery: The same vectors, float32 `(m, dim)`.
        settings: The settings that it was built with.
        assets: Folder that `Searcher.save` was given.

    Returns:
        The searcher.

    Raises:
        InputError: If the backend is not installed.
    """
    check_backend(backend)
    return _searcher(backend, gallery, settings, assets)


def _searcher(
    backend: str,
    gallery: np.ndarray,
    settings: Mapping[str, Any] | None = None,
    assets: Path | None = None,
) -> Searcher:
    if backend == "scann":
        chosen = None if settings is None else ScannSettings(**settings)
        return ScannSearcher(gallery, chosen, assets=assets)
    if backend == "faiss":
        return FaissSearcher(gallery)
    return ExactSearcher(gallery)


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
