"""Proxy-Anchor loss."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_distill.losses.class_vector_loss import ClassVectorLoss
from keras_distill.losses.masked_logsumexp import masked_logsumexp


@keras.saving.register_keras_serializable("keras_distill")
class ProxyAnchor(ClassVectorLoss):
    """Uses a learned vector of each class, its proxy, as the anchor of all images of the batch.

    With the cosine `s` of an image `i` and a proxy `c`, all `C` proxies and the `C+` of them that
    have images in the batch,

        `L = 1/C+ sum_c log(1 + sum_{y_i = c} exp(-alpha (s_ic - margin)))`
        `  + 1/C sum_c log(1 + sum_{y_i != c} exp(alpha (s_ic + margin)))`

    ("Proxy Anchor Loss for Deep Metric Learning", CVPR 2020, arXiv 2003.13911). A sample weight
    multiplies the exponentials of its image: one of weight 2 counts like two, one of 0 like none.

    Args:
        classes: The labels of the training set. Rows with another label contribute nothing.
        margin: By how much cosines should exceed 0 for an image's own proxy, and fall below 0 for
            others.
        alpha: Sharpness of the weights of the images.
        name: Name under which the value is reported.

    Example:
        >>> import numpy as np
        >>> loss = ProxyAnchor(classes=[3, 7])
        >>> loss.build(embedding_dim=2)  # Distiller does it
        >>> loss.layer.set_weights([np.float32([[1, 0], [0, 1]])])
        >>> float(loss([3, 7], [[0.6, 0.8], [0.0, 1.0]]))
        16.0...
    """

    def __init__(
        self,
        classes: Sequence[int] | np.ndarray,
        margin: float = 0.1,
        alpha: float = 32.0,
        name: str = "proxy_anchor",
    ):
        super().__init__(classes, name=name)
        self.margin = margin
        self.alpha = alpha

    @property
    def head_scale(self) -> float:
        """Factor of the cosines; see the base class."""
        return self.alpha

    def compare(self, cosines: Any, own: Any, weights: Any) -> Any:
        """Computes the mean over the proxies; see the base class."""
        counted = weights[:, None] > 0.0
        log_weights = ops.log(ops.where(counted, weights[:, None], 1.0))
        positive = own & counted
        negative = ~own & ops.any(own, axis=1, keepdims=True) & counted
        pull = self.alpha * (self.margin - cosines) + log_weights
        push = self.alpha * (self.margin + cosines) + log_weights
        present = ops.sum(ops.cast(ops.any(positive, axis=0), "float32"))
        pulled = ops.sum(ops.softplus(masked_logsumexp(pull, positive, axis=0)))
        pushed = ops.sum(ops.softplus(masked_logsumexp(push, negative, axis=0)))
        return pulled / ops.maximum(present, 1.0) + pushed / len(self.classes)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "margin": self.margin, "alpha": self.alpha}
