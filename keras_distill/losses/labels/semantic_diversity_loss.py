"""Semantic diversity loss of images with several labels, given as word vectors."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_distill.errors import InputError
from keras_distill.losses.labels.label_loss import LabelLoss
from keras_distill.losses.stored_array import array_config, array_from_config


@keras.saving.register_keras_serializable("keras_distill")
class SemanticDiversityLoss(LabelLoss):
    """Ranks the labels of an image above all others by several vectors in the space of words.

    The model maps an image to `k` vectors `A_r`, so that it can be near words that are far from
    each other. The score of a class with the word vector `u_c` is `s_c = max_r A_r.u_c`. With the
    labels `P` of an image and the other classes `N`,

    `R = 1 / |P| sum_{p in P, n in N} log(1 + exp(s_n - s_p))`,
    `D = sum_dims var_{p in P} u_p`, `V = sum_dims var_r A_r` (unbiased variances),
    `l = 2 ((1 - weight) (1 + D) R + weight V)`, and the loss is the mean of `l` over the images

    (semantic diversity learning for zero-shot multi-label classification, ICCV 2021, arXiv
    2105.05926, as in its code). So images of diverse labels count more, and the vectors of an image
    are kept together. `R` is not divided by the number of other classes. An image with all labels
    is compared with one score of 0, as in the reference; one without labels counts for nothing.
    Targets above 0.5 are labels; -1 counts as 0. The cost grows with the product of the classes and
    the most labels of an image.

    Args:
        word_vectors: A vector for each class `(classes, dim)`.
        weight: Weight of `V`, from 0 to 1, 0.01 in the published training; `None` for
            `l = (1 + D) R`.
        reduction: `"mean"` over the images that have a label, or `"sum"`.
        diversity: Whether images of diverse labels count more; without, `D` is 0.
        name: Name under which the value is reported.

    Raises:
        InputError: If an argument is out of range, or there is no vector for each class.

    Example:
        >>> words = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]
        >>> loss = SemanticDiversityLoss(words, weight=None)
        >>> float(loss([[1, 0, 0]], [[[0.0, 0.0], [0.0, 0.0]]]))  # two vectors for one image
        1.386...
        >>> float(loss([[1, 1, 0]], [[[3.0, 0.0], [0.0, 3.0]]]))  # R = log(1 + exp(-3)), D = 1
        0.097...
    """

    def __init__(
        self,
        word_vectors: Any,
        weight: float | None = 0.3,
        reduction: str = "mean",
        *,
        diversity: bool = True,
        name: str = "semantic_diversity_loss",
    ):
        words = np.asarray(word_vectors, np.float32)
        if words.ndim != 2 or not words.size or not np.isfinite(words).all():
            raise InputError(
                "SemanticDiversityLoss: `word_vectors` must be finite, (classes, dim), a vector "
                f"for each class; they have the shape {words.shape}."
            )
        if weight is not None and not 0 <= weight <= 1:
            raise InputError(
                f"SemanticDiversityLoss: `weight={weight}` must be from 0 to 1, such as 0.3, or "
                "None."
            )
        super().__init__(reduction, name)
        self.word_vectors = words
        self.weight = weight
        self.diversity = diversity
        # A variance does not depend on the mean, and squares around it keep their digits.
        self._centred = words - words.mean(axis=0, dtype=np.float64).astype(np.float32)

    def scores(self, outputs: Any) -> Any:
        """Computes the score of each class.

        Args:
            outputs: Tensor `(batch, k, dim)`.

        Returns:
            float32 tensor `(batch, classes)`.
        """
        return ops.max(
            ops.matmul(ops.cast(outputs, "float32"), np.ascontiguousarray(self.word_vectors.T)),
            axis=1,
        )

    def total_and_count(self, targets: Any, outputs: Any, sample_weight: Any) -> tuple[Any, Any]:
        """Computes the sum over the images with labels and their number; see the base class.

        Args:
            targets: Tensor `(batch, classes)`, 1 for a label of the image.
            outputs: float32 tensor `(batch, k, dim)`.
            sample_weight: float32 tensor `(batch,)`, or `None`.

        Returns:
            Two scalar float32 tensors.
        """
        self._check_shapes(targets, outputs)
        positive = ops.cast(ops.cast(targets, "float32") > 0.5, "float32")
        labels = ops.sum(positive, axis=-1)
        losses = self._ranking(self.scores(outputs), positive, labels)
        if self.diversity:
            losses *= 1.0 + self._diversity(positive, labels)
        if self.weight is not None:
            losses = 2.0 * ((1.0 - self.weight) * losses + self.weight * _variance(outputs))
        labelled = ops.cast(labels > 0.0, "float32")
        if sample_weight is not None:
            losses *= ops.reshape(sample_weight, (-1,))
        return ops.sum(labelled * losses), ops.sum(labelled)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor; `from_config` reads the vectors' bytes."""
        return {
            **super().get_config(),
            "word_vectors": array_config(self.word_vectors),
            "weight": self.weight,
            "diversity": self.diversity,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SemanticDiversityLoss":
        """Rebuilds the loss from `get_config()`."""
        return cls(**{**config, "word_vectors": array_from_config(config["word_vectors"])})

    def _ranking(self, scores: Any, positive: Any, labels: Any) -> Any:
        """`R` of each image."""
        classes = scores.shape[-1]
        complete = ops.cast(labels == classes, "float32")
        alone = ops.sum(positive * ops.softplus(-scores), axis=-1)
        total = _pairs(scores, positive) + complete * alone
        return total / ops.maximum(labels, 1.0)

    def _diversity(self, positive: Any, labels: Any) -> Any:
        """`D` of each image."""
        squares = ops.matmul(positive, np.sum(np.square(self._centred), axis=1)[:, None])[:, 0]
        sums = ops.matmul(positive, self._centred)
        around = squares - ops.sum(ops.square(sums), axis=-1) / ops.maximum(labels, 1.0)
        return ops.maximum(around, 0.0) / ops.maximum(labels - 1.0, 1.0)

    def _check_shapes(self, targets: Any, outputs: Any) -> None:
        classes, dim = self.word_vectors.shape
        if len(outputs.shape) != 3 or outputs.shape[2] != dim:
            raise InputError(
                f"{self.name}: the outputs have shape {tuple(outputs.shape)}; give (batch, k, "
                f"{dim}), vectors as wide as the word vectors."
            )
        if len(targets.shape) != 2 or targets.shape[1] != classes:
            raise InputError(
                f"{self.name}: `targets` have shape {tuple(targets.shape)}; give (batch, "
                f"{classes}), one for each word vector."
            )


def _variance(outputs: Any) -> Any:
    """`V` of each image, 0 for a single vector."""
    rows = outputs.shape[1]
    if rows == 1:
        return 0.0
    around = ops.square(outputs - ops.mean(outputs, axis=1, keepdims=True))
    return ops.sum(around, axis=(1, 2)) / (rows - 1.0)


@ops.custom_gradient
def _pairs(scores: Any, positive: Any) -> Any:
    """Sums up `softplus(s_n - s_p)` over the pairs of a label and another class of each image.

    A turn of the loop takes the next label of each image, so that nothing is larger than the
    scores; it adds up the gradient as well, which a tape could only do by keeping every turn.
    """
    place = ops.cumsum(positive, axis=-1) * positive  # 1, 2, ... for the labels of an image
    negative = 1.0 - positive
    turns = ops.max(place)

    def turn(number: Any, total: Any, slope: Any) -> Any:
        own = ops.cast(place == number, "float32")
        exists = ops.sum(own, axis=-1, keepdims=True)
        differences = scores - ops.sum(own * scores, axis=-1, keepdims=True)
        others = negative * exists
        total += ops.sum(others * ops.softplus(differences), axis=-1)
        pull = others * ops.sigmoid(differences)
        return number + 1.0, total, slope + pull - own * ops.sum(pull, axis=-1, keepdims=True)

    start = (ops.ones((), "float32"), ops.zeros_like(scores[:, 0]), ops.zeros_like(scores))
    _, total, slope = ops.while_loop(lambda number, *_: number <= turns, turn, start)

    def gradient(*upstream: Any) -> Any:
        return upstream[0][:, None] * slope, None

    return total, gradient
