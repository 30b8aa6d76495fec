"""Rank correlation, or error of counts, on held-out images during training."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_distill.data.point_images import PointImages
from keras_distill.data.scored_images import ScoredImages
from keras_distill.evaluation.image_densities import ImageCounter
from keras_distill.evaluation.image_scores import ImageScorer
from keras_distill.training.epoch_validation import EpochValidation

VALIDATION_SROCC, VALIDATION_MAE = "val_SROCC", "val_MAE"


class RegressionValidation(EpochValidation):
    """Adds `val_SROCC` of scores, or `val_MAE` of counts, to the logs of an epoch.

    Args:
        images: Held-out images: `ScoredImages`, each with a score, or `PointImages`.
        product: Model with the output `score` or `density`.
        crops: Seeded crops of an image whose mean is its score; 0 for the whole image.
        **options: `every`, `prepare` and `common` of `EpochValidation`.

    Raises:
        InputError: If a number is too small, or the product has no such output.
    """

    def __init__(
        self,
        images: ScoredImages | PointImages,
        product: keras.Model,
        *,
        crops: int = 5,
        **options: Any,
    ):
        super().__init__(**options)
        self._measure: Callable[[], float]
        if isinstance(images, ScoredImages):
            self.metric, self.direction = VALIDATION_SROCC, "max"
            self._measure = self._srocc(images, ImageScorer(product, crops=crops))
        else:
            self.metric, self.direction = VALIDATION_MAE, "min"
            self._measure = self._mae(images, ImageCounter(product))

    def outputs(self) -> float:
        """Returns the figure."""
        return self._measure()

    def value(self, outputs: float) -> float:
        """Returns the figure."""
        return outputs

    @staticmethod
    def _srocc(images: ScoredImages, scorer: ImageScorer) -> Callable[[], float]:
        from scipy.stats import spearmanr

        def measure() -> float:
            scores = scorer(images.unlabelled)
            if np.ptp(scores) == 0 or np.ptp(images.scores) == 0:
                return 0.0
            return float(spearmanr(scores, images.scores)[0])

        return measure

    @staticmethod
    def _mae(images: PointImages, counter: ImageCounter) -> Callable[[], float]:
        def measure() -> float:
            counts = [float(density.sum()) for density, _ in counter(images.unlabelled)]
            return float(np.abs(np.array(counts) - images.counts).mean())

        return measure
