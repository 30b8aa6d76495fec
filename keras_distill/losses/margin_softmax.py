"""Cross-entropy with an angular margin on the logits of a head of cosines."""

from typing import Any

import keras
from keras import ops

from keras_distill.errors import InputError
from keras_distill.losses.arc_face import ArcFace
from keras_distill.losses.task_loss import TaskLoss


@keras.saving.register_keras_serializable("keras_distill")
class MarginSoftmax(TaskLoss):
    """ArcFace on the logits of a `CosineHead`, which holds the class vectors.

    The logits are `scale` times the cosines of an image with each class; see `ArcFace`. So the
    class vectors are part of the model and trained as its other weights. Rows labelled -1
    contribute nothing.

    Args:
        classes: Number of classes, the width of the logits.
        margin: Angle, in radians, by which an image's own class must be nearer than all others; 0
            for the normalised softmax.
        scale: Factor of the cosines, that of the head.
        name: Name under which the value is reported.

    Raises:
        InputError: If a number is out of range.

    Example:
        >>> import numpy as np
        >>> loss = MarginSoftmax(2, margin=0.0, scale=20.0)
        >>> float(loss([0, 1], 20.0 * np.array([[0.6, 0.8], [0.0, 1.0]])))
        2.009...
    """

    takes_references = False

    def __init__(
        self, classes: int, margin: float = 0.5, scale: float = 64.0, name: str = "margin_softmax"
    ):
        super().__init__(name=name)
        if classes < 2 or not 0 <= margin < 3 or not scale > 0:
            raise InputError(
                f"MarginSoftmax: `classes={classes}` must be 2 or more, `margin={margin}` an angle "
                f"from 0 to below 3, and `scale={scale}` positive."
            )
        self.classes = classes
        self.margin = margin
        self.scale = scale
        self._entropy = ArcFace(range(classes), margin=margin, scale=scale)

    def batch_loss(
        self,
        labels: Any,
        embeddings: Any,
        sample_weight: Any = None,
        ref_labels: Any = None,
        ref_embeddings: Any = None,
    ) -> Any:
        """Computes the mean cross-entropy; `embeddings` are the logits; see the base class."""
        own = labels[:, None] == ops.arange(self.classes, dtype="int64")[None, :]
        weights = ops.ones_like(embeddings[:, 0]) if sample_weight is None else sample_weight
        return self._entropy.compare(embeddings / self.scale, own, weights)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "classes": self.classes,
            "margin": self.margin,
            "scale": self.scale,
        }
