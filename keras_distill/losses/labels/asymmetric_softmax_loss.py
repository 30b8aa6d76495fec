"""Asymmetric loss of classification with one label an image."""

from typing import Any

import keras
from keras import ops

from keras_distill.errors import InputError
from keras_distill.losses.labels.asymmetric_terms import power
from keras_distill.losses.labels.label_loss import LabelLoss


@keras.saving.register_keras_serializable("keras_distill")
class AsymmetricSoftmaxLoss(LabelLoss):
    """Cross-entropy of one label an image that counts the other classes by their probability.

    With `p = softmax(logits)`, the class `t` of an image, the number of classes `C`, and smoothed
    targets `q_t = 1 - label_smoothing + label_smoothing / C` and `q_c = label_smoothing / C`,

    `L = -mean_i (q_t (1 - p_t)^gamma_positive log p_t
    + sum_{c != t} q_c p_c^gamma_negative log p_c)`

    (the single-label form of ASL, ICCV 2021, arXiv 2009.14119, as in its code, where the gradient
    flows through the weights as well). Without smoothing, other classes have no part, and with
    `gamma_positive=0` it is the cross-entropy. Rows labelled -1 count for nothing; a label beyond
    the classes makes the loss NaN.

    Args:
        gamma_positive: Exponent of the image's class; 0 for no focusing.
        gamma_negative: Exponent of the other classes.
        label_smoothing: Share of the target that is spread over all classes.
        reduction: `"mean"` over the labelled rows, or `"sum"`.
        name: Name under which the value is reported.

    Raises:
        InputError: If an argument is out of range.

    Example:
        >>> loss = AsymmetricSoftmaxLoss(label_smoothing=0.0)
        >>> float(loss([0, -1], [[0.0, 0.0], [5.0, 0.0]]))  # labels, logits
        0.693...
    """

    def __init__(
        self,
        gamma_positive: float = 0.0,
        gamma_negative: float = 4.0,
        label_smoothing: float = 0.1,
        reduction: str = "mean",
        *,
        name: str = "asymmetric_softmax_loss",
    ):
        for argument, value in (
            ("gamma_positive", gamma_positive),
            ("gamma_negative", gamma_negative),
        ):
            if not value >= 0:
                raise InputError(f"AsymmetricSoftmaxLoss: `{argument}={value}` must be 0 or more.")
        if not 0 <= label_smoothing < 1:
            raise InputError(
                f"AsymmetricSoftmaxLoss: `label_smoothing={label_smoothing}` must be at least 0 "
                "and below 1, such as 0.1."
            )
        super().__init__(reduction, name)
        self.gamma_positive = gamma_positive
        self.gamma_negative = gamma_negative
        self.label_smoothing = label_smoothing

    def total_and_count(self, targets: Any, outputs: Any, sample_weight: Any) -> tuple[Any, Any]:
        """Computes the sum over the labelled rows and their number; see the base class.

        Args:
            targets: Integer tensor `(batch,)` or `(batch, 1)`; -1 for unlabelled.
            outputs: float32 tensor `(batch, classes)`, the logits.
            sample_weight: float32 tensor `(batch,)`, or `None`.

        Returns:
            Two scalar float32 tensors.
        """
        classes = outputs.shape[-1]
        if len(outputs.shape) != 2 or (len(targets.shape) == 2 and targets.shape[1] != 1):
            raise InputError(
                f"{self.name}: `labels` have shape {tuple(targets.shape)} and the logits "
                f"{tuple(outputs.shape)}; give labels (batch,) and logits (batch, classes)."
            )
        # Under a strategy, Keras traces a step with labels averaged over the replicas, as floats.
        labels = ops.cast(ops.reshape(targets, (-1,)), "int64")
        own = labels[:, None] == ops.arange(classes, dtype="int64")
        log_p = ops.log_softmax(outputs, axis=-1)
        p = ops.exp(log_p)
        # The sum of the other probabilities: 1 - p may be below 0 by rounding.
        rest = ops.sum(ops.where(own, 0.0, p), axis=-1, keepdims=True)
        smoothing = self.label_smoothing / classes
        # exp keeps the gradient of a power finite where p is 0.
        others = smoothing * ops.exp(self.gamma_negative * log_p)
        of_class = (1.0 - self.label_smoothing + smoothing) * power(rest, self.gamma_positive)
        losses = -ops.sum(ops.where(own, of_class, others) * log_p, axis=-1)
        losses = ops.where(labels < classes, losses, float("nan"))
        labelled = labels >= 0
        if sample_weight is not None:
            losses *= ops.reshape(sample_weight, (-1,))
        return ops.sum(ops.where(labelled, losses, 0.0)), ops.sum(ops.cast(labelled, "float32"))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "gamma_positive": self.gamma_positive,
            "gamma_negative": self.gamma_negative,
            "label_smoothing": self.label_smoothing,
        }
