"""Class prior, estimated from what a network answers while it is trained."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_distill.data.class_prior_file import write_class_prior
from keras_distill.errors import InputError
from keras_distill.methods.method import Method


class ClassPrior(keras.callbacks.Callback):
    """Estimates for which share of the images each class is true, where few are annotated.

    The prior of a class is the mean of its probability, `sigmoid(logit)`, over the rows of all
    training batches of all epochs, as in CSL (CVPR 2022, arXiv 2110.10955): of a temporary network
    that is trained by `PartialSelectiveLoss("ignore")`. `PartialSelectiveLoss(prior=...)` then
    trains the network proper. Rows that are not finite count for nothing.

    It observes the training of a method of this package. With another model, call `update` with the
    logits of batches, such as `model.predict(images)` after the training.

    Args:
        class_names: Names of the classes, in the order of the logits.
        path: CSV file to write after the training, see `read_class_prior`; `None` for no file.

    Raises:
        InputError: If the model that is trained cannot be observed, or a batch has other classes.

    Example:
        >>> prior = ClassPrior(["cat", "dog"])
        >>> prior.update([[0.0, 100.0], [0.0, -100.0]])
        >>> prior.update([[100.0, -100.0]])
        >>> [round(value, 2) for value in prior.prior.tolist()]
        [0.67, 0.33]
    """

    def __init__(self, class_names: Sequence[str], path: str | Path | None = None):
        super().__init__()
        self.class_names = list(class_names)
        self._path = None if path is None else Path(path)
        self._total = np.zeros(len(self.class_names))
        self._count = 0
        self._observed: keras.Variable | None = None

    @property
    def prior(self) -> np.ndarray:
        """The estimate so far, float32 `(classes,)`; NaN before the first batch."""
        self._collect()
        if self._count == 0:
            return np.full(len(self.class_names), np.nan, np.float32)
        return (self._total / self._count).astype(np.float32)

    def update(self, logits: Any) -> None:
        """Adds a batch.

        Args:
            logits: Array `(batch, classes)`.
        """
        self._add(ops.convert_to_numpy(self._sums(ops.convert_to_tensor(logits))))

    def write(self, path: str | Path) -> None:
        """Writes the estimate as a CSV file; see `write_class_prior`."""
        write_class_prior(path, self.class_names, self.prior)

    def set_model(self, model: keras.Model) -> None:
        """Observes the logits of the model from now on."""
        super().set_model(model)
        if not isinstance(model, Method):
            raise InputError(
                f"ClassPrior cannot observe the training of a {type(model).__name__}; call "
                "update(logits) with the logits of batches instead."
            )
        with model.distribute_strategy.scope():
            # The sums over an epoch at most: float32 would lose digits in a whole training.
            self._observed = keras.Variable(
                np.zeros(len(self.class_names) + 1, np.float32),
                trainable=False,
                name="class_prior",
                aggregation="only_first_replica",
            )
        model.observer = self._observe
        model.train_function = None  # a step that was traced before would not call it

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._collect()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._collect()
        self.model.observer = None
        self.model.train_function = None
        if self._path is not None:
            self.write(self._path)

    def get_state(self) -> dict[str, Any]:
        """Returns what `set_state` takes; see `ResumableCallbacks`."""
        self._collect()
        return {"total": self._total.copy(), "count": self._count}

    def set_state(self, state: dict[str, Any]) -> None:
        """Resumes from an earlier state."""
        self._total, self._count = np.array(state["total"]), state["count"]

    def _observe(self, labels: Any, outputs: Any) -> None:
        logits = outputs["logits"] if isinstance(outputs, Mapping) else outputs
        assert self._observed is not None
        self._observed.assign(self._observed + self._sums(logits))

    def _sums(self, logits: Any) -> Any:
        """The sums of the probabilities over the rows, and the number of rows behind them."""
        if len(logits.shape) != 2 or logits.shape[1] != len(self.class_names):
            raise InputError(
                f"ClassPrior: the logits have shape {tuple(logits.shape)}; give (batch, "
                f"{len(self.class_names)}), one for each of `class_names`."
            )
        logits = ops.stop_gradient(ops.cast(logits, "float32"))
        finite = ops.all(ops.isfinite(logits), axis=-1, keepdims=True)
        probabilities = ops.where(finite, ops.sigmoid(logits), 0.0)
        rows = ops.concatenate([probabilities, ops.cast(finite, "float32")], axis=1)
        return ops.sum(rows, axis=0)

    def _collect(self) -> None:
        if self._observed is not None:
            self._add(ops.convert_to_numpy(self._observed))
            self._observed.assign(np.zeros(len(self.class_names) + 1, np.float32))

    def _add(self, sums: np.ndarray) -> None:
        self._total += sums[:-1]
        self._count += int(sums[-1])
