"""Asymmetric loss of multi-label classification."""

from typing import Any

import keras
from keras import ops

from keras_distill.losses.labels.asymmetric_terms import (
    asymmetric_terms,
    check_asymmetry,
    check_shapes,
    power,
    weighted_sum,
)
from keras_distill.losses.labels.label_loss import LabelLoss


@keras.saving.register_keras_serializable("keras_distill")
class AsymmetricLoss(LabelLoss):
    """Cross-entropy of independent labels that focuses on few positives among many negatives.

    With `p = sigmoid(logit)` and the shifted probability `p_m = max(p - clip, 0)`,

    `L = sum_{images, classes} w (-y log p - (1 - y) log(1 - p_m))`,
    `w = (y (1 - p) + (1 - y) p_m) ^ (y gamma_positive + (1 - y) gamma_negative)`

    (ASL, ICCV 2021, arXiv 2009.14119, as in its code). So a negative counts the less the surer it
    is, and not at all if its probability is below `clip`, and one of a very high probability, which
    may be a label that was forgotten, can be outweighed by the others. The sum over a batch is
    in the hundreds, and belongs to a batch size and a number of classes; the published learning
    rates are for it.

    Special cases, in the order in which the authors advise to try them:

    | Loss | `gamma_positive` | `gamma_negative` | `clip` |
    |---|---|---|---|
    | binary cross-entropy | 0 | 0 | 0 |
    | focal loss | 2 | 2 | 0 |
    | asymmetric loss | 1 | 2 | 0.05 |
    | the default, for many negatives | 1 | 4 | 0.05 |
    | as in the published training on COCO | 0 | 4 | 0.05 |

    With `reduction="mean"` and `detach_focusing=False`, the first two are those of Keras.

    Args:
        gamma_positive: Exponent of positives; 0 for no focusing.
        gamma_negative: Exponent of negatives. `AdaptiveAsymmetry` changes it in a training.
        clip: By how much the probability of negatives is shifted; 0 for not at all.
        detach_focusing: Whether `w` is a constant in the gradient, which is the default of the
            published code and not the gradient of the formula.
        reduction: `"sum"` over images and classes as in the reference, or `"mean"`.
        epsilon: Least argument of the logarithms. The reference has 1e-8, so that a positive whose
            logit is below -18.4 has no gradient; 0 keeps the gradient.
        name: Name under which the value is reported.

    Raises:
        InputError: If an argument is out of range.

    Example:
        >>> loss = AsymmetricLoss()
        >>> float(loss([[1, 0, 0]], [[0.0, 0.0, -4.0]]))  # targets, logits
        0.371...
        >>> float(AsymmetricLoss(0, 0, clip=0, reduction="mean")([[1, 0]], [[0.0, 0.0]]))
        0.693...
    """

    def __init__(
        self,
        gamma_positive: float = 1.0,
        gamma_negative: float = 4.0,
        clip: float = 0.05,
        detach_focusing: bool = True,
        reduction: str = "sum",
        *,
        epsilon: float = 0.0,
        name: str = "asymmetric_loss",
    ):
        check_asymmetry(
            "AsymmetricLoss",
            clip,
            epsilon,
            gamma_positive=gamma_positive,
            gamma_negative=gamma_negative,
        )
        super().__init__(reduction, name)
        self.gamma_positive = gamma_positive
        self.gamma_negative: Any = gamma_negative
        self.clip = clip
        self.detach_focusing = detach_focusing
        self.epsilon = epsilon

    def total_and_count(self, targets: Any, outputs: Any, sample_weight: Any) -> tuple[Any, Any]:
        """Computes the sum and the number of the entries; see the base class.

        Args:
            targets: Tensor `(batch, classes)`, 1 for a true label, 0 for a false one, or between;
                -1 counts as 0, see `PartialSelectiveLoss`.
            outputs: float32 tensor `(batch, classes)`, the logits.
            sample_weight: float32 tensor `(batch,)` or `(batch, classes)`, or `None`.

        Returns:
            Two scalar float32 tensors.
        """
        targets = check_shapes(self.name, targets, outputs)
        terms = asymmetric_terms(outputs, self.clip, self.epsilon)
        if keras.backend.is_float_dtype(targets.dtype):
            y = ops.maximum(ops.cast(targets, "float32"), 0.0)
            losses = y * terms.positive + (1.0 - y) * terms.negative
            error = y * terms.positive_error + (1.0 - y) * terms.negative_error
            weights = power(error, y * self.gamma_positive + (1.0 - y) * self.gamma_negative)
        else:  # the same, with two exponents that are known
            y = ops.cast(targets, "int32") > 0
            losses = ops.where(y, terms.positive, terms.negative)
            weights = ops.where(
                y,
                power(terms.positive_error, self.gamma_positive),
                power(terms.negative_error, self.gamma_negative),
            )
        if self.detach_focusing:
            weights = ops.stop_gradient(weights)
        return weighted_sum(weights * losses, sample_weight)

    def make_adaptive(self) -> None:
        """Makes `gamma_negative` a variable, which can be assigned to while a model is trained."""
        if isinstance(self.gamma_negative, int | float):
            self.gamma_negative = keras.Variable(
                float(self.gamma_negative), trainable=False, name="gamma_negative"
            )

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "gamma_positive": self.gamma_positive,
            "gamma_negative": float(ops.convert_to_numpy(self.gamma_negative)),
            "clip": self.clip,
            "detach_focusing": self.detach_focusing,
            "epsilon": self.epsilon,
        }
