"""Metric losses of TensorFlow Addons; no other module touches it."""

import contextlib
import functools
import importlib
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_distill.losses.addons_losses import ADDONS_LOSSES, check_addons
from keras_distill.losses.pair_masks import pair_masks
from keras_distill.losses.pairwise_distances import pairwise_distances
from keras_distill.losses.task_loss import TaskLoss


@keras.saving.register_keras_serializable("keras_distill")
class AddonsLoss(TaskLoss):
    """A metric loss of TensorFlow Addons, to compare with results that were made with it.

    It sees the labelled rows of a batch, in float32, and has one value for the whole batch, so
    there are neither references nor sample weights. The extra `addons` has what it needs, for
    Python 3.11 only; `keras` and `tf.keras` stay what they are, whether used before or not.

    - `"triplet_semihard"`: a mean over all pairs of one class, where `SemiHardTriplet` takes the
      mean of each anchor first; equal if all classes have as many rows. A batch of one class is
      pulled together (ours: 0); without pairs of one class it is NaN there and 0 here.
    - `"triplet_hard"`: equals `BatchHardTriplet`, but for a batch of one class, whose loss is
      the margin (ours: 0).
    - `"lifted_struct"`: equals `LiftedStructure`; without pairs of one class, or with one class
      only, it is NaN there and 0 here. It overflows to NaN, here too, where a positive is nearer
      by some 88 than all negatives, which it cannot be among embeddings of length 1.
    - `"npairs"`: takes a matrix of similarities. The rows of each class are paired in their order,
      1st with 2nd, 3rd with 4th; the inner products of all 1st and 2nd rows are given. Equals
      `NPairs` on the 1st rows with the 2nd as references, if each class has one pair; several pairs
      of one class share a soft label instead. Without any pair it is NaN there and 0 here.
    - `"contrastive"`: takes distances of pairs, here of all pairs in the batch, and is the mean of
      `d^2` or `max(0, margin - d)^2`; `Contrastive` has no squares, and a mean for each kind of
      pair.

    Args:
        loss: One of the names above.
        margin: Its margin, 1 by default as in TensorFlow Addons; `"npairs"` has none.
        scale: Factor of the inner products for `"npairs"`, 1 by default; see `NPairs`.
        name: Name under which the value is reported; by default the name of the loss.

    Raises:
        InputError: If TensorFlow Addons is not installed.
        ValueError: If the loss is unknown, or lacks the setting that is given.
    """

    takes_references = False

    def __init__(
        self,
        loss: str,
        margin: float | None = None,
        scale: float | None = None,
        name: str | None = None,
    ):
        if loss not in ADDONS_LOSSES:
            raise ValueError(
                f"AddonsLoss: `loss={loss!r}` must be one of {', '.join(ADDONS_LOSSES)}."
            )
        unused, value = ("margin", margin) if loss == "npairs" else ("scale", scale)
        if value is not None:
            raise ValueError(
                f"AddonsLoss: `{unused}={value}`: {loss} has no {unused}; leave it out."
            )
        check_addons(loss)
        super().__init__(name=name or loss)
        self.loss = loss
        self.margin = 1.0 if margin is None and loss != "npairs" else margin
        self.scale = 1.0 if scale is None and loss == "npairs" else scale
        # Without the tf.function around it, which would compile again for every size of a batch.
        self._function = getattr(_imported_losses(), f"{loss}_loss").python_function

    def batch_loss(
        self,
        labels: Any,
        embeddings: Any,
        sample_weight: Any = None,
        ref_labels: Any = None,
        ref_embeddings: Any = None,
    ) -> Any:
        """Computes the loss of the labelled rows; see the base class."""
        if sample_weight is not None:
            raise ValueError(f"{self.name} has one value for a batch; give no sample_weight.")
        enough = self._is_defined(labels)
        labels, embeddings = _labelled_rows(labels, embeddings, enough)
        return ops.where(enough, self._of_labelled(labels, embeddings), 0.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "loss": self.loss,
            "margin": self.margin,
            "scale": self.scale,
        }

    def _is_defined(self, labels: Any) -> Any:
        """Whether the batch has the pairs that the loss averages over."""
        if self.loss == "triplet_hard":
            return ops.any(labels >= 0)
        positive, negative = (ops.any(mask) for mask in pair_masks(labels))
        if self.loss == "lifted_struct":
            return positive & negative
        return positive | negative if self.loss == "contrastive" else positive

    def _of_labelled(self, labels: Any, embeddings: Any) -> Any:
        if self.loss == "npairs":
            return self._of_pairs(labels, embeddings)
        if self.loss == "contrastive":
            positive, negative = pair_masks(labels)
            losses = self._function(positive, pairwise_distances(embeddings), self.margin)
            pairs = positive | negative
            return ops.sum(ops.where(pairs, losses, 0.0)) / ops.sum(ops.cast(pairs, "float32"))
        return self._function(labels, embeddings, self.margin)

    def _of_pairs(self, labels: Any, embeddings: Any) -> Any:
        same = labels[:, None] == labels[None, :]
        before = ops.tril(ops.ones_like(same), k=-1)
        rank = ops.sum(ops.cast(same & before, "int32"), axis=1)  # among the rows of its class
        next_one = same & (rank[:, None] + 1 == rank[None, :])
        first = ops.any(next_one, axis=1) & (rank % 2 == 0)
        second = tf.boolean_mask(ops.argmax(next_one, axis=1), first)
        similarities = self.scale * tf.matmul(
            tf.boolean_mask(embeddings, first), tf.gather(embeddings, second), transpose_b=True
        )
        # It compares labels as floats: each class is identified by the number of its first row.
        classes = tf.boolean_mask(ops.argmax(same, axis=1), first)
        return self._function(classes, similarities)


def _labelled_rows(labels: Any, embeddings: Any, enough: Any) -> tuple[Any, Any]:
    """The labelled rows; if they are not enough, others for which every loss is finite.

    No `tf.cond`: XLA cannot compile its gradient here.
    """
    others = tf.constant([0, 0, 1, 1], "int64")
    rows = ops.broadcast_to([[0.0], [1.0], [3.0], [7.0]], (4, ops.shape(embeddings)[1]))
    kept = ops.concatenate([(labels >= 0) & enough, tf.fill([4], ~enough)])
    return (
        tf.boolean_mask(ops.concatenate([labels, others]), kept),
        tf.boolean_mask(ops.concatenate([embeddings, rows]), kept),
    )


@functools.cache
def _imported_losses() -> Any:
    with warnings.catch_warnings(), _keras_2_in_place_of_keras_3():
        # It warns that it is archived and untested with this TensorFlow; the docs say so too.
        warnings.filterwarnings("ignore", category=UserWarning, module="tensorflow_addons")
        return importlib.import_module("tensorflow_addons.losses")


@contextlib.contextmanager
def _keras_2_in_place_of_keras_3() -> Iterator[None]:
    """Lets TensorFlow Addons define its classes on the Keras it was written for.

    The documented setting, TF_USE_LEGACY_KERAS=1, would affect everything else in the process, and
    only if nothing has used `tf.keras` before.
    """
    keras_2 = importlib.import_module("tf_keras")
    stand_ins = {
        "tensorflow.keras": keras_2,
        "tensorflow.keras.optimizers": keras_2.optimizers,
        # Named in one type hint.
        "keras.src.engine": importlib.import_module("tf_keras.src.engine"),
        "keras.src.engine.keras_tensor": importlib.import_module(
            "tf_keras.src.engine.keras_tensor"
        ),
    }
    attribute = vars(tf)["keras"]
    modules = _remove_modules()
    vars(tf)["keras"] = keras_2
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        _remove_modules()
        sys.modules.update(modules)
        vars(tf)["keras"] = attribute


def _remove_modules() -> dict[str, Any]:
    names = [
        name
        for name in sys.modules
        if f"{name}.".startswith(("tensorflow.keras.", "keras.src.engine."))
    ]
    return {name: sys.modules.pop(name) for name in names}
