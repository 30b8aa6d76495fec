"""ArcFace loss, which is the normalised softmax if it has no margin."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_distill.losses.class_vector_loss import ClassVectorLoss

_FLOOR = 1e-7  # of a squared sine; keeps the root's gradient finite


@keras.saving.register_keras_serializable("keras_distill")
class ArcFace(ClassVectorLoss):
    """Cross-entropy of the class, predicted from the angles to one learned vector for each class.

    `L_i = -log(exp(scale cos(a_iy + margin)) / (exp(scale cos(a_iy + margin)) + sum_{c != y}
    exp(scale cos a_ic)))` with the angle `a_ic` between the embedding `i` and the vector of class
    `c`, and `y` the class of `i` ("ArcFace", CVPR 2019, arXiv 1801.07698). Where `a_iy + margin`
    exceeds pi, `cos a_iy - margin sin(margin)` takes its place, as in the authors' code.

    Without a margin this is the normalised softmax of "Classification is a Strong Baseline for Deep
    Metric Learning" (BMVC 2019, arXiv 1811.12649): `ArcFace(classes, margin=0.0, scale=20.0)`.

    Args:
        classes: The labels of the training set. Rows with another label contribute nothing.
        margin: Angle, in radians, by which an image's own class must be nearer than all others.
        scale: Factor of the cosines, the inverse of a temperature.
        name: Name under which the value is reported.

    Example:
        >>> import numpy as np
        >>> loss = ArcFace(classes=[3, 7], margin=0.0, scale=20.0)
        >>> loss.build(embedding_dim=2)  # Distiller does it
        >>> loss.layer.set_weights([np.float32([[1, 0], [0, 1]])])
        >>> float(loss([3, 7], [[0.6, 0.8], [0.0, 1.0]]))
        2.009...
    """

    def __init__(
        self,
        classes: Sequence[int] | np.ndarray,
        margin: float = 0.5,
        scale: float = 64.0,
        name: str = "arc_face",
    ):
        super().__init__(classes, name=name)
        self.margin = margin
        self.scale = scale

    @property
    def head_scale(self) -> float:
        """Factor of the cosines; see the base class."""
        return self.scale

    def compare(self, cosines: Any, own: Any, weights: Any) -> Any:
        """Computes the mean cross-entropy; see the base class."""
        cosine = ops.sum(ops.where(own, cosines, 0.0), axis=1)
        sine = ops.sqrt(ops.maximum(1.0 - ops.square(cosine), _FLOOR))
        cos_margin, sin_margin = math.cos(self.margin), math.sin(self.margin)
        target = ops.where(
            cosine > -cos_margin,
            cosine * cos_margin - sine * sin_margin,
            cosine - self.margin * sin_margin,
        )
        logits = self.scale * ops.where(own, target[:, None], cosines)
        losses = ops.logsumexp(logits, axis=1) - self.scale * target
        known = ops.cast(ops.any(own, axis=1), "float32")
        return ops.sum(losses * known * weights) / ops.maximum(ops.sum(known), 1.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "margin": self.margin, "scale": self.scale}
