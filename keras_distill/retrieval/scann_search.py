"""Approximate nearest-neighbour search with ScaNN."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_distill.errors import InputError
from keras_distill.native_log import quiet_native_log
from keras_distill.retrieval.searcher import Searcher

# ScaNN advises to compare with every row below this.
BRUTE_FORCE_ROWS = 20_000
# Farther from length 1 than this, rows with the largest dot product need not be the nearest.
_UNIT = 1e-4
_TRAINING_ROWS = 100_000
_ANISOTROPIC_THRESHOLD = 0.2  # what ScaNN's documentation has for vectors of length 1
# Share of the squared lengths that the tree and the hashes see.
_SPREAD_KEPT = 0.985
# A smaller reduction would not pay for the projection of the queries.
_LEAST_REDUCTION = 0.25


@dataclass(frozen=True)
class ScannSettings:
    """Settings of ScaNN's search.

    Attributes:
        num_leaves: Leaves of the tree that the gallery is divided into; 0 to compare with every
            row.
        leaves_to_search: Leaves that are searched.
        reorder: Rows whose distance is computed in float32, chosen by their hashes; at least
            `reorder_factor` times k.
        reorder_factor: See `reorder`.
        principal: Principal directions that the tree and the hashes see, of rows of length 1; 0 for
            all dimensions.
    """

    num_leaves: int = 0
    leaves_to_search: int = 0
    reorder: int = 200
    reorder_factor: int = 5
    principal: int = 0


def scann_settings(rows: int, principal: int = 0) -> ScannSettings:
    """Chooses settings from the size of the gallery.

    Below 20,000 rows every row is compared (ScaNN's advice). From there on a tree of 2 √rows
    leaves, a twentieth of which is searched, asymmetric hashing of two dimensions a block, and
    300 rows, or 5 k, compared in float32.

    Args:
        rows: Rows of the gallery.
        principal: Principal directions that the tree and the hashes see, see
            `principal_directions`; 0 for all dimensions.

    Returns:
        The settings.

    Example:
        >>> settings = scann_settings(90_000)
        >>> settings.num_leaves, settings.leaves_to_search, settings.reorder
        (600, 30, 300)
    """
    if rows < BRUTE_FORCE_ROWS:
        return ScannSettings()
    leaves = round(2 * math.sqrt(rows))
    return ScannSettings(leaves, math.ceil(leaves / 20), reorder=300, principal=principal)


def principal_directions(gallery: np.ndarray) -> int:
    """Counts the principal directions that hold nearly all of a gallery.

    These are the fewest, in eights, with 98.5 % of the squared lengths of the rows. Networks leave
    most directions of a wide embedding nearly empty: without them a query costs half, and the
    float32 distances of the candidates restore the order.

    Args:
        gallery: Vectors, float32 `(m, dim)`, at most 20,000 of which are used.

    Returns:
        Their number; 0 if that is more than three quarters of `dim`.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(500, 64)) * np.arange(1, 65) ** -1.0
        >>> principal_directions(rows.astype(np.float32))
        24
    """
    dim = gallery.shape[1]
    sample = gallery[:: -(-len(gallery) // BRUTE_FORCE_ROWS)]
    spreads = np.linalg.eigvalsh(sample.T.astype(np.float64) @ sample)[::-1].clip(0)
    count = 1 + np.searchsorted(spreads.cumsum(), _SPREAD_KEPT * spreads.sum())
    count = 8 * math.ceil(count / 8)
    return count if count <= (1 - _LEAST_REDUCTION) * dim else 0


class ScannSearcher(Searcher):
    """ScaNN: a tree, asymmetric hashing, and float32 distances of the candidates.

    Where all rows have length 1 it compares by dot product, for which ScaNN hashes best, and by
    squared distance otherwise. Queries for which the searched leaves hold fewer than k rows are
    searched exactly.

    Args:
        gallery: Finite vectors, float32 `(m, dim)`.
        settings: Settings of the search; by default `scann_settings` chooses them.
        assets: Folder that `save` wrote; by default the search is built from the gallery.

    Raises:
        InputError: If the settings do not fit the gallery.
    """

    backend = "scann"

    def __init__(
        self,
        gallery: np.ndarray,
        settings: ScannSettings | None = None,
        *,
        assets: Path | None = None,
    ):
        super().__init__(gallery)
        self._by_dot = bool((np.abs(self._squared_lengths - 1) < _UNIT).all())
        if settings is None:
            settings = scann_settings(len(gallery))
            if settings.num_leaves and self._by_dot:
                settings = dataclasses.replace(settings, principal=principal_directions(gallery))
        self._settings = settings
        if settings.num_leaves > len(gallery):
            raise InputError(
                f"`num_leaves={settings.num_leaves}` is more than the gallery's {len(gallery)} "
                "rows; a leaf needs at least one."
            )
        if settings.num_leaves and not 0 < settings.leaves_to_search <= settings.num_leaves:
            raise InputError(
                f"`leaves_to_search={settings.leaves_to_search}` must be from 1 to "
                f"`num_leaves={settings.num_leaves}`."
            )
        if not 0 <= settings.principal <= gallery.shape[1]:
            raise InputError(
                f"`principal={settings.principal}` must be from 0 to the width of the gallery, "
                f"{gallery.shape[1]}."
            )
        if settings.principal and not self._by_dot:
            raise InputError(
                f"`principal={settings.principal}` needs rows of length 1; ScaNN cannot combine it "
                "with squared distances. Normalise the rows, or leave it 0."
            )
        from scann.scann_ops.py import scann_ops_pybind  # imports TensorFlow

        if assets is not None:
            with quiet_native_log():
                self._scann = scann_ops_pybind.load_searcher(str(assets))
            return
        measure = "dot_product" if self._by_dot else "squared_l2"
        builder = scann_ops_pybind.builder(np.ascontiguousarray(gallery), 10, measure)
        if not settings.num_leaves:
            self._scann = builder.score_brute_force().build()
            return
        dim = gallery.shape[1]
        if settings.principal:
            dim = settings.principal
            builder = builder.pca(dim, pca_significance_threshold=None)
        builder = (
            builder.tree(
                settings.num_leaves,
                settings.leaves_to_search,
                training_sample_size=min(len(gallery), _TRAINING_ROWS),
                spherical=self._by_dot,
                quantize_centroids=True,
            )
            .score_ah(
                min(2, dim),
                anisotropic_quantization_threshold=(
                    _ANISOTROPIC_THRESHOLD if self._by_dot else math.nan
                ),
                training_sample_size=min(len(gallery), _TRAINING_ROWS),
            )
            .reorder(settings.reorder)
        )
        with quiet_native_log():
            self._scann = builder.build()

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that it was built with, as plain values."""
        return dataclasses.asdict(self._settings)

    def save(self, folder: Path) -> None:
        """Writes ScaNN's assets, with a link to the vectors, `vectors.npy` next to the folder."""
        folder.mkdir()
        self._scann.serialize(str(folder), relative_path=True)
        dataset = folder / "dataset.npy"
        if dataset.is_file():
            dataset.unlink()
            dataset.symlink_to("../vectors.npy")

    def _squared(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        settings, rows = self._settings, len(self.gallery)
        reorder: int | None = None
        leaves: int | None = None
        if settings.num_leaves:
            reorder = min(max(settings.reorder, settings.reorder_factor * k), rows)
            # As many leaves as hold what is to be reordered, if they are of equal size.
            needed = math.ceil(reorder * settings.num_leaves / rows)
            leaves = max(settings.leaves_to_search, needed)
        search = self._scann.search_batched_parallel
        if len(queries) == 1:
            search = self._scann.search_batched
        indices, scores = search(queries, k, reorder, leaves)
        missing = np.isnan(scores)
        indices = np.where(missing, -1, indices.astype(np.int64))
        if self._by_dot:
            lengths = np.square(queries).sum(1)[:, None] + self._squared_lengths[indices]
            scores = lengths - 2 * scores
        return indices, np.where(missing, np.inf, scores)
