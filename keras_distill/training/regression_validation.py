"""Rank correlation, or error of counts, on held-out images during training."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_distill.data.point_images import PointImages
from keras_distill.data.scored_images import ScoredImages
from keras_distill.errors import InputError
from keras_distill.evaluation.image_densities import ImageCounter
from keras_distill.evaluation.image_scores import ImageScorer
from keras_distill.training.divergence_guard import TrainingDiverged

VALIDATION_SROCC, VALIDATION_MAE = "val_SROCC", "val_MAE"


class RegressionValidation(keras.callbacks.Callback):
    """Adds `val_SROCC` of scores, or `val_MAE` of counts, to the logs of an epoch.

    Args:
        images: Held-out images: `ScoredImages`, each with a score, or `PointImages`.
        product: Model with the output `score` or `density`.
        crops: Seeded crops of an image whose mean is its score; 0 for the whole image.
        every: Number of epochs from one evaluation to the next; the last epoch is always evaluated.
        prepare: Called before each evaluation, such as `AveragedStudent.refresh`.
        common: Turns the value that this process measured into the value of all processes.

    Raises:
        InputError: If a number is too small, or the product has no such output.
    """

    def __init__(
        self,
        images: ScoredImages | PointImages,
        product: keras.Model,
        *,
        crops: int = 5,
        every: int = 1,
        prepare: Callable[[], None] = lambda: None,
        common: Callable[[float], float] = lambda value: value,
    ):
        super().__init__()
        if every < 1:
            raise InputError(f"`every={every}` must be at least 1.")
        self._images, self._every = images, every
        self._prepare, self._common = prepare, common
        self._measure: Callable[[], float]
        if isinstance(images, ScoredImages):
            self.metric, self.direction = VALIDATION_SROCC, "max"
            self._measure = self._srocc(images, ImageScorer(product, crops=crops))
        else:
            self.metric, self.direction = VALIDATION_MAE, "min"
            self._measure = self._mae(images, ImageCounter(product))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        last = epoch + 1 == (self.params or {}).get("epochs")
        if logs is None or ((epoch + 1) % self._every and not last):
            return
        self._prepare()
        try:
            value = self._measure()
        except InputError as error:
            raise TrainingDiverged(f"In epoch {epoch + 1}, {error}") from error
        logs[self.metric] = self._common(value)

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
