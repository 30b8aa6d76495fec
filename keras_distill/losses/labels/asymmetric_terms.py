"""Cross-entropies of independent labels, with a shifted probability, and their focusing."""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_distill.errors import InputError

_TINY = 1e-30  # a smaller probability counts as 0: its powers have no gradient in float32
_MULTIPLIED = 8  # up to this exponent, products are several times faster than a power


class AsymmetricTerms(NamedTuple):
    """What a loss on independent labels is made of, each `(batch, classes)`.

    Attributes:
        positive: `-log p`, the loss if the label is true.
        negative: `-log(1 - p_m)`, the loss if it is false.
        positive_error: `1 - p`.
        negative_error: `p_m = max(p - clip, 0)`.
    """

    positive: Any
    negative: Any
    positive_error: Any
    negative_error: Any


def asymmetric_terms(logits: Any, clip: float, epsilon: float = 0.0) -> AsymmetricTerms:
    """Computes both cross-entropies of each entry, without overflow for any logit.

    Args:
        logits: float32 tensor `(batch, classes)`.
        clip: By how much the probability is shifted where the label is false; 0 for not at all.
        epsilon: Least argument of a logarithm, below which there is no gradient; 0 for no limit.

    Returns:
        The terms.
    """
    shifted = probability = ops.sigmoid(logits)
    positive = ops.softplus(-logits)
    if clip > 0:
        shifted = ops.maximum(probability - clip, 0.0)
        negative = -ops.log1p(-shifted)
    else:
        negative = ops.softplus(logits)
    if epsilon > 0:
        most = -float(np.log(epsilon))
        positive, negative = ops.minimum(positive, most), ops.minimum(negative, most)
    return AsymmetricTerms(positive, negative, 1.0 - probability, shifted)


def power(base: Any, exponent: Any) -> Any:
    """Raises probabilities to a power, with a finite gradient at 0, and 1 for the exponent 0.

    Args:
        base: float32 tensor, 0 or more.
        exponent: A number, or a tensor that broadcasts to `base`; 0 or more.

    Returns:
        Tensor of the shape of `base`.
    """
    if isinstance(exponent, int | float):
        if exponent == 0:
            return ops.ones_like(base)
        if exponent == int(exponent) and exponent <= _MULTIPLIED:
            return _product(base, int(exponent))
    present = ops.logical_not(base < _TINY)  # true for NaN, which must not count as 0
    raised = ops.power(ops.where(present, base, 1.0), exponent)
    return ops.where(present, raised, ops.cast(ops.equal(exponent, 0.0), "float32"))


def check_asymmetry(name: str, clip: float, epsilon: float, **gammas: Any) -> None:
    """Refuses arguments that make no loss.

    Args:
        name: Name of the class.
        clip: As of `asymmetric_terms`.
        epsilon: As of `asymmetric_terms`.
        **gammas: Exponents by the names of their arguments.

    Raises:
        InputError: If one is out of range.
    """
    for argument, value in gammas.items():
        if not value >= 0:
            raise InputError(f"{name}: `{argument}={value}` must be 0 or more.")
    if not 0 <= clip < 1:
        raise InputError(f"{name}: `clip={clip}` must be at least 0 and below 1, such as 0.05.")
    if not 0 <= epsilon < 1:
        raise InputError(
            f"{name}: `epsilon={epsilon}` must be at least 0 and below 1, such as 1e-8."
        )


def check_shapes(name: str, targets: Any, logits: Any) -> Any:
    """Refuses targets that are not one for each logit.

    Args:
        name: Name of the loss.
        targets: Tensor `(batch, classes)`, or `(batch,)` if there is one class.
        logits: Tensor `(batch, classes)`.

    Returns:
        The targets `(batch, classes)`.

    Raises:
        InputError: If the shapes differ.
    """
    if len(targets.shape) == 1 and logits.shape[-1] == 1:
        targets = targets[:, None]
    if len(logits.shape) != 2 or len(targets.shape) != 2 or targets.shape[1] != logits.shape[1]:
        raise InputError(
            f"{name}: `targets` have shape {tuple(targets.shape)} and the logits "
            f"{tuple(logits.shape)}; give both (batch, classes), a target for each class."
        )
    return targets


def weighted_sum(losses: Any, sample_weight: Any) -> tuple[Any, Any]:
    """Sums up losses of entries, and counts the entries.

    Args:
        losses: float32 tensor `(batch, classes)`.
        sample_weight: float32 tensor `(batch,)`, `(batch, 1)` or `(batch, classes)`, or `None`.

    Returns:
        The weighted sum and the number of the entries, scalar float32 tensors.
    """
    rows = ops.cast(ops.shape(losses)[0], "float32")
    if sample_weight is not None:
        if len(sample_weight.shape) == 1:
            sample_weight = sample_weight[:, None]
        losses *= sample_weight
    return ops.sum(losses), rows * losses.shape[1]


def _product(base: Any, exponent: int) -> Any:
    if exponent == 1:
        return base
    half = ops.square(_product(base, exponent // 2))
    return half * base if exponent % 2 else half
