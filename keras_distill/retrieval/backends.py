"""The ways to search a gallery, by their names."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_distill.errors import InputError
from keras_distill.retrieval.faiss_search import FaissSearcher
from keras_distill.retrieval.scann_search import ScannSearcher, ScannSettings
from keras_distill.retrieval.searcher import ExactSearcher, Searcher
from keras_distill.retrieval.vector_checks import checked_vectors

BACKENDS = ("exact", "scann", "faiss")
# From here on approximate search saves more than it costs.
_APPROXIMATE_ROWS = 20_000
_REMEDIES = {
    "scann": "its wheels are for Linux: pip install 'scann[tf]'; or choose exact or faiss.",
    "faiss": "pip install faiss-cpu; or choose exact or scann.",
}


def check_backend(backend: str, *, argument: str = "backend") -> None:
    """Checks that a way to search is known and installed.

    Args:
        backend: One of `BACKENDS`, or `auto`.
        argument: Name of the argument that an error message should name.

    Raises:
        InputError: If it is not.
    """
    if backend not in (*BACKENDS, "auto"):
        raise InputError(f"{argument}={backend!r} is unknown; give auto, {', '.join(BACKENDS)}.")
    if backend in _REMEDIES and not _installed(backend):
        raise InputError(f"{argument}={backend} is not installed; {_REMEDIES[backend]}")


def choose_backend(rows: int) -> str:
    """Returns what `auto` stands for.

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
    """Prepares the search of a gallery.

    Args:
        gallery: float array `(m, dim)`.
        backend: `exact`; `scann`, which is approximate; `faiss`, which compares all; or `auto`,
            see `choose_backend`.

    Returns:
        An object with `search(queries, k=...)`.

    Raises:
        InputError: If the gallery is of no use, or the backend is not installed.

    Example:
        >>> import numpy as np
        >>> searcher = build_searcher(np.array([[0.0], [1.0], [3.0]]))
        >>> searcher.search(np.array([[0.9]]), k=2).indices
        array([[1, 0]])
    """
    check_backend(backend)
    gallery = checked_vectors("gallery", gallery)
    if not len(gallery):
        raise InputError("gallery has no rows; there is nothing to search.")
    return _searcher(choose_backend(len(gallery)) if backend == "auto" else backend, gallery)


def load_searcher(
    backend: str, gallery: np.ndarray, settings: Mapping[str, Any], assets: Path
) -> Searcher:
    """Prepares a search as it was built before.

    Args:
        backend: One of `BACKENDS`.
        gallery: The same vectors, float32 `(m, dim)`.
        settings: The settings that it had.
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
