"""Selective loss of multi-label classification with labels that are partly unknown."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_distill.errors import InputError
from keras_distill.losses.labels.asymmetric_terms import (
    asymmetric_terms,
    check_asymmetry,
    check_shapes,
    power,
    weighted_sum,
)
from keras_distill.losses.labels.label_loss import LabelLoss

#: Names of what can be done with labels that are not annotated.
MODES = ("negative", "ignore", "ignore_normalised", "selective")
_LEAST = -3e38  # a logit below any other, finite in float32


@keras.saving.register_keras_serializable("keras_distill")
class PartialSelectiveLoss(LabelLoss):
    """Asymmetric loss on labels of which some are not annotated.

    Targets are 1 and 0 where a label is annotated, and -1 where it is not. With `p` and `p_m` as in
    `AsymmetricLoss`,

    `L = sum_{images, classes} w s`, where `s` is
    `-alpha_positive (1 - p)^gamma_positive log p` for 1,
    `-alpha_negative p_m^gamma_negative log(1 - p_m)` for 0 and
    `-alpha_unannotated p_m^gamma_unannotated log(1 - p_m)` for -1

    (CSL, CVPR 2022, arXiv 2110.10955, as in its code). The powers are constants in the gradient.
    Targets between 0 and 1 mix the first two. The mode says what `w` is:

    | Mode | `w` of annotated labels | `w` of the others |
    |---|---|---|
    | `"negative"` | 1 | 1: they are taken for false |
    | `"ignore"` | 1 | 0 |
    | `"ignore_normalised"` | `1 + 1 / (1 + n)`, `n` of them in the image | 0 |
    | `"selective"` | 1 | 1, but 0 for those that may well be true |

    Which may well be true: all of a class whose `prior` is above `prior_threshold`, and, in the
    batch, the `likelihood_topk * rows` with the highest logits; the former have their part in this
    quota. That is a number of labels for the whole batch, `likelihood_topk` an image on average.
    Rows of sample weight 0 have no part. Among equal logits the first image and class is
    taken. Under `tf.distribute`, the batch is that of the replica, unless a method gathers the rows
    of all and calls `batch_loss`.

    The published training on COCO has `gamma_negative=1, gamma_unannotated=4, prior_threshold=0.5`
    where half of the labels were dropped at random (`drop_annotations`), and `gamma_negative=3,
    gamma_unannotated=4` where a thousand of each class were kept (`keep_annotations_per_class`).

    Args:
        mode: One of the modes above.
        gamma_positive: Exponent of labels that are true.
        gamma_negative: Exponent of labels that are false.
        gamma_unannotated: Exponent of labels that are not annotated.
        clip: By how much the probability is shifted where a label is not true; 0 for not at all.
        likelihood_topk: Labels that are left out, in the mode `"selective"`, an image on average.
        prior: Share of the images for which each class is true, as estimated by `ClassPrior`,
            `(classes,)`; `None` to select by the logits alone.
        prior_threshold: Prior above which a class is left out where it is not annotated.
        reduction: `"sum"` over images and classes as in the reference, or `"mean"`, which divides
            by their number in each mode.
        alpha_positive: Weight of labels that are true.
        alpha_negative: Weight of labels that are false.
        alpha_unannotated: Weight of labels that are not annotated.
        epsilon: Least argument of the logarithms; the reference has 1e-8. See `AsymmetricLoss`.
        name: Name under which the value is reported.

    Raises:
        InputError: If the mode is unknown, an argument out of range, or there is a `prior` that
            the mode does not use.

    Example:
        >>> targets, logits = [[1, 0, -1, -1]], [[0.0, 0.0, 2.0, 1.0]]
        >>> float(PartialSelectiveLoss("ignore", gamma_negative=0)(targets, logits))
        1.386...
        >>> float(PartialSelectiveLoss("negative", 0, 0, 0)(targets, logits))
        4.826...
        >>> loss = PartialSelectiveLoss("selective", 0, 0, 0, likelihood_topk=1)  # leaves out the 2
        >>> float(loss(targets, logits))
        2.699...
    """

    def __init__(
        self,
        mode: str = "selective",
        gamma_positive: float = 0.0,
        gamma_negative: float = 1.0,
        gamma_unannotated: float = 2.0,
        clip: float = 0.0,
        likelihood_topk: int = 5,
        prior: Any = None,
        prior_threshold: float = 0.05,
        reduction: str = "sum",
        *,
        alpha_positive: float = 1.0,
        alpha_negative: float = 1.0,
        alpha_unannotated: float = 1.0,
        epsilon: float = 0.0,
        name: str = "partial_selective_loss",
    ):
        if mode not in MODES:
            raise InputError(
                f"PartialSelectiveLoss: `mode={mode!r}` is not one of "
                f"{', '.join(map(repr, MODES))}."
            )
        check_asymmetry(
            "PartialSelectiveLoss",
            clip,
            epsilon,
            gamma_positive=gamma_positive,
            gamma_negative=gamma_negative,
            gamma_unannotated=gamma_unannotated,
            likelihood_topk=likelihood_topk,
        )
        super().__init__(reduction, name)
        self.mode = mode
        self.gamma_positive = gamma_positive
        self.gamma_negative = gamma_negative
        self.gamma_unannotated = gamma_unannotated
        self.clip = clip
        self.likelihood_topk = int(likelihood_topk)
        self.prior = None if prior is None else _checked_prior(prior, mode)
        self.prior_threshold = prior_threshold
        self.alpha_positive = alpha_positive
        self.alpha_negative = alpha_negative
        self.alpha_unannotated = alpha_unannotated
        self.epsilon = epsilon

    def total_and_count(self, targets: Any, outputs: Any, sample_weight: Any) -> tuple[Any, Any]:
        """Computes the sum and the number of the entries; see the base class.

        Args:
            targets: Tensor `(batch, classes)`, 1, 0, or -1 where a label is not annotated.
            outputs: float32 tensor `(batch, classes)`, the logits.
            sample_weight: float32 tensor `(batch,)` or `(batch, classes)`, or `None`.

        Returns:
            Two scalar float32 tensors.
        """
        targets = ops.cast(check_shapes(self.name, targets, outputs), "float32")
        unannotated = targets < 0.0
        true = ops.maximum(targets, 0.0)
        terms = asymmetric_terms(outputs, self.clip, self.epsilon)
        of_true = self.alpha_positive * power(terms.positive_error, self.gamma_positive)
        of_false = self.alpha_negative * power(terms.negative_error, self.gamma_negative)
        of_unknown = self.alpha_unannotated * power(terms.negative_error, self.gamma_unannotated)
        selected = self._selected(unannotated, outputs, sample_weight)
        positive = ops.stop_gradient(selected * true * of_true)
        negative = ops.stop_gradient(
            selected * (1.0 - true) * ops.where(unannotated, of_unknown, of_false)
        )
        losses = positive * terms.positive + negative * terms.negative
        return weighted_sum(losses, sample_weight)

    def selection(self, targets: Any, logits: Any, sample_weight: Any = None) -> Any:
        """Computes `w`, the weight that the mode gives to each label.

        Args:
            targets: Tensor `(batch, classes)`, 1, 0, or -1 where a label is not annotated.
            logits: Tensor `(batch, classes)`.
            sample_weight: Optional tensor `(batch,)` or `(batch, classes)`.

        Returns:
            float32 tensor `(batch, classes)`.
        """
        targets, logits = ops.convert_to_tensor(targets), ops.cast(logits, "float32")
        weight = None if sample_weight is None else ops.cast(sample_weight, "float32")
        targets = ops.cast(check_shapes(self.name, targets, logits), "float32")
        return self._selected(targets < 0.0, logits, weight)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "mode": self.mode,
            "gamma_positive": self.gamma_positive,
            "gamma_negative": self.gamma_negative,
            "gamma_unannotated": self.gamma_unannotated,
            "clip": self.clip,
            "likelihood_topk": self.likelihood_topk,
            "prior": None if self.prior is None else self.prior.tolist(),
            "prior_threshold": self.prior_threshold,
            "alpha_positive": self.alpha_positive,
            "alpha_negative": self.alpha_negative,
            "alpha_unannotated": self.alpha_unannotated,
            "epsilon": self.epsilon,
        }

    def _selected(self, unannotated: Any, logits: Any, sample_weight: Any) -> Any:
        annotated = 1.0 - ops.cast(unannotated, "float32")
        if self.mode == "negative":
            return ops.ones_like(annotated)
        if self.mode == "ignore":
            return annotated
        if self.mode == "ignore_normalised":
            return annotated * (1.0 + 1.0 / (1.0 + ops.sum(annotated, axis=-1, keepdims=True)))
        left_out = self._likely(unannotated, logits, sample_weight)
        if self.prior is not None:
            self._check_prior(logits.shape[-1])
            left_out = ops.logical_or(left_out, self.prior > self.prior_threshold)
        return ops.where(ops.logical_and(unannotated, left_out), 0.0, 1.0)

    def _likely(self, unannotated: Any, logits: Any, sample_weight: Any) -> Any:
        """The entries of the highest logits among those not annotated, and maybe others."""
        if self.likelihood_topk == 0:
            return ops.zeros_like(unannotated)
        rows, classes = ops.shape(logits)[0], logits.shape[1]
        quota, count = self.likelihood_topk * rows, min(self.likelihood_topk, classes) * rows
        if sample_weight is not None:
            present = ops.reshape(sample_weight, (rows, -1)) > 0.0
            unannotated = ops.logical_and(unannotated, present)
            present_rows = ops.sum(ops.cast(ops.any(present, axis=-1), "int32"))
            quota = self.likelihood_topk * present_rows
        candidates = ops.reshape(ops.where(unannotated, logits, _LEAST), (-1,))
        _, places = ops.top_k(ops.stop_gradient(candidates), count)
        taken = ops.cast(ops.arange(count) < quota, "int32")
        chosen = ops.scatter(places[:, None], taken, (rows * classes,))
        return ops.reshape(chosen, (rows, classes)) > 0

    def _check_prior(self, classes: int) -> None:
        assert self.prior is not None
        if len(self.prior) != classes:
            raise InputError(
                f"{self.name}: `prior` has {len(self.prior)} classes, but the logits have "
                f"{classes}; estimate it for the same classes."
            )


def _checked_prior(prior: Any, mode: str) -> np.ndarray:
    values = np.asarray(prior, np.float32)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise InputError(
            "PartialSelectiveLoss: `prior` must be numbers from 0 to 1, one for each class, such "
            f"as of read_class_prior; it has the shape {values.shape}."
        )
    if mode != "selective":
        raise InputError(
            f"PartialSelectiveLoss: `prior` has no effect with `mode={mode!r}`; leave it out, or "
            "use the mode 'selective'."
        )
    return values
