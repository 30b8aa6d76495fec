"""Monitor that notices a collapse of the embeddings during training."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_distill.evaluation.retrieval_warnings import ALIKE, relative_deviation
from keras_distill.losses.batch_hard_triplet import BatchHardTriplet
from keras_distill.losses.cross_batch_memory import CrossBatchMemory
from keras_distill.losses.embedding_queue import EmbeddingQueue
from keras_distill.losses.semi_hard_triplet import SemiHardTriplet
from keras_distill.losses.task_loss import TaskLoss, integer_labels
from keras_distill.losses.wrapped_loss import WrappedLoss
from keras_distill.methods.distiller import Distiller
from keras_distill.training.averaged_student import AveragedStudent
from keras_distill.training.embedding_spread import embedding_spread

_NO_MARGIN = 0.2  # for the share of active triplets, where the loss has no margin
_SAME = 1.05  # negatives only this much farther than positives do not separate classes
_LINE = 1.5  # effective rank of embeddings that lie on a line
_TOLERANCE = 0.15  # of a loss that stays at its collapsed value
_ACTIVE = 0.99  # share of active triplets, at which nothing is learned any more
_PATIENCE = 2  # epochs
_LAG = 0.1  # standard deviation in inference mode over that in training mode


class CollapseMonitor(keras.callbacks.Callback):
    """Adds the spread of the last embeddings to the logs of an epoch, and reports a collapse.

    A collapsed student gives all images the same embedding, or all on one line, and its loss stays
    constant: a triplet loss at the margin. A loss near the margin alone is no sign of it, because
    batch-hard training stays there for a while as it learns. So an epoch is suspect if negatives
    are as near as positives, and either the loss is near its value for equal embeddings and all
    triplets are active, or all embeddings lie in a point; or if the embeddings of four or more
    classes lie on a line. The second suspect epoch in a row is reported as a collapse, once, with
    advice. Where no row has a label, as if all images are mixed, an epoch is suspect only if all
    embeddings lie in a point.

    All of this is about training mode. The saved student may still embed all images alike, because
    it uses the moving statistics of its batch normalisations, or averaged weights. So it embeds
    `batches` in inference mode after each epoch. If it embeds them alike in two epochs in a row, or
    in the last one, while the embeddings of training mode are spread, this is reported once.

    The numbers come from `embedding_spread`. They cost a copy of the embeddings in each step, and a
    few milliseconds and a forward pass of `batches` in each epoch. Put it before callbacks that
    read the logs.

    Args:
        rows: Number of the latest embeddings to examine, of labelled images if there are any; best
            the number in a batch.
        say: Called with each message.
        batches: Batches `(x, y)` to embed in inference mode, the same ones each time; `None` to
            leave inference mode out.
        student: The model that is saved; by default the student of the model.

    Attributes:
        cause: Empty until a collapse is reported; then `"embeddings"`, or, for as long as it lasts,
            `"batch_norm_statistics"` or `"averaged_weights"`.
        note: Note on the last epoch, empty if nothing is wrong.
    """

    #: Names that may be in the logs.
    names = (
        "positive_distance",
        "negative_distance",
        "active_triplets",
        "embedding_std",
        "effective_rank",
        "inference_std",
    )

    def __init__(
        self,
        rows: int = 64,
        say: Callable[[str], object] = print,
        *,
        batches: tf.data.Dataset | None = None,
        student: keras.Model | AveragedStudent | None = None,
    ):
        super().__init__()
        self._rows = rows
        self._say = say
        self._batches = batches
        self._student = student
        self._suspect_epochs = self._lagging_epochs = 0
        self._lag = ""  # description of the last epoch in inference mode
        self.cause = ""
        self.note = ""

    @property
    def collapsed(self) -> bool:
        """Whether a collapse has been reported, and has not passed."""
        return bool(self.cause)

    def set_model(self, model: Distiller) -> None:
        """Observes the embeddings of the model from now on."""
        super().set_model(model)
        self._suspect_epochs = self._lagging_epochs = 0
        self.cause = self._lag = ""
        if self._student is None:
            self._student = model.student
        given = self._student
        saved = given.student if isinstance(given, AveragedStudent) else given
        self._embed = tf.function(lambda images: saved(images, training=False), autograph=False)
        self._queue = EmbeddingQueue(self._rows, name="last_embeddings")
        self._unlabelled = EmbeddingQueue(self._rows, name="last_unlabelled_embeddings")
        with model.distribute_strategy.scope():
            for queue in (self._queue, self._unlabelled):
                queue.build((None, model.student.output_shape[-1]))
        model.observer = self._observe
        model.train_function = None  # a step that was traced before would not call it

    def _observe(self, labels: Any, embeddings: Any) -> None:
        labels = integer_labels(labels)
        self._queue.remember(labels, embeddings)
        # The other queue holds rows that have no label, so there 0 only says that a row is filled.
        self._unlabelled.remember(keras.ops.where(labels < 0, 0, -1), embeddings)

    def _last_embeddings(self) -> tuple[np.ndarray, np.ndarray | None]:
        """The last embeddings of labelled images with their labels, or without any of all."""
        embeddings, labels = _filled(self._queue)
        return (embeddings, labels) if len(labels) else (_filled(self._unlabelled)[0], None)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        embeddings, labels = self._last_embeddings()
        self.note = ""
        if len(embeddings) < 2 or not np.isfinite(embeddings).all():
            return
        task_loss = self.model.task_loss
        spread = embedding_spread(embeddings, labels, _margin(task_loss))
        self._look_at_inference(spread)
        if logs is not None:
            logs.update(spread)
        loss = None if task_loss is None else (logs or {}).get(task_loss.name)
        length = float(np.sqrt(np.mean(np.sum(np.square(embeddings, dtype=np.float64), axis=1))))
        what = _what_is_wrong(spread, length, labels, task_loss, loss)
        self._suspect_epochs = self._suspect_epochs + 1 if what else 0
        if what or self._lag:
            shown = ", ".join(f"{name} {value:.3g}" for name, value in spread.items())
            self.note = f"collapsing? {shown}"
        if self._lagging_epochs >= _PATIENCE:
            self._name_lag()
        if self._suspect_epochs >= _PATIENCE and self.cause != "embeddings":
            self.cause = "embeddings"
            self._say(
                f"The student has collapsed: for {_PATIENCE} epochs {what}. Training longer is "
                f"unlikely to help; try {_advice(task_loss, length)}."
            )

    def _look_at_inference(self, spread: dict[str, float]) -> None:
        """Adds the spread of the saved student's embeddings of the batches, and judges it."""
        if self._batches is None:
            return
        if isinstance(self._student, AveragedStudent):
            self._student.refresh()
        embeddings = np.concatenate([self._embed(x["image"]).numpy() for x, _ in self._batches])
        if not np.isfinite(embeddings).all():
            return
        share = relative_deviation(embeddings)
        length = float(np.sqrt(np.mean(np.sum(np.square(embeddings, dtype=np.float64), axis=1))))
        spread["inference_std"] = share * length
        trained = spread["embedding_std"]
        if share > ALIKE or share * length > _LAG * trained:
            self._lagging_epochs, self._lag = 0, ""
            if self.cause != "embeddings":
                self.cause = ""
            return
        self._lagging_epochs += 1
        self._lag = f"standard deviation {share * length:.2g}, against {trained:.2g} in training"

    def _name_lag(self) -> None:
        if self.cause:
            return
        if isinstance(self._student, AveragedStudent):
            self.cause = "averaged_weights"
            why = "the averaged weights embed unlike the trained ones. Try a lower `ema_momentum`"
        else:
            self.cause = "batch_norm_statistics"
            why = (
                "the moving statistics of its batch normalisations do not fit its weights. Try a "
                "lower `learning_rate`, more images in a batch, or `ema_momentum=0.9`, for which "
                "the statistics are estimated again"
            )
        self._say(f"In inference mode the student embeds all images alike ({self._lag}): {why}.")

    def get_state(self) -> dict[str, Any]:
        """Returns what `set_state` takes; see `ResumableCallbacks`."""
        return {
            "suspect_epochs": self._suspect_epochs,
            "lagging_epochs": self._lagging_epochs,
            "lag": self._lag,
            "cause": self.cause,
            "labels": keras.ops.convert_to_numpy(self._queue.labels),
            "embeddings": keras.ops.convert_to_numpy(self._queue.embeddings),
            "unlabelled": keras.ops.convert_to_numpy(self._unlabelled.labels),
            "unlabelled_embeddings": keras.ops.convert_to_numpy(self._unlabelled.embeddings),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Resumes from an earlier state."""
        self._suspect_epochs, self._lagging_epochs = (
            state["suspect_epochs"],
            state["lagging_epochs"],
        )
        self._lag, self.cause = state["lag"], state["cause"]
        self._queue.labels.assign(state["labels"])
        self._queue.embeddings.assign(state["embeddings"])
        if "unlabelled" in state:  # which checkpoints did not always hold
            self._unlabelled.labels.assign(state["unlabelled"])
            self._unlabelled.embeddings.assign(state["unlabelled_embeddings"])

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self._lag:
            self._name_lag()
        self.model.observer = None
        self.model.train_function = None


def _filled(queue: EmbeddingQueue) -> tuple[np.ndarray, np.ndarray]:
    """The embeddings in a queue, with their labels; fewer than its size, until it is full."""
    labels = keras.ops.convert_to_numpy(queue.labels)
    return keras.ops.convert_to_numpy(queue.embeddings)[labels >= 0], labels[labels >= 0]


def _what_is_wrong(
    spread: dict[str, float],
    length: float,
    labels: np.ndarray | None,
    task_loss: TaskLoss | None,
    loss: float | None,
) -> str:
    standard_deviation, rank = spread["embedding_std"], spread["effective_rank"]
    within = f"all embeddings lie within {standard_deviation:.2g} of one point"
    if labels is None:
        return within if standard_deviation <= ALIKE * length else ""
    near, far = spread.get("positive_distance"), spread.get("negative_distance")
    if near is not None and far is not None and far <= _SAME * near:
        apart = f"images of two classes have been as close ({far:.3g}) as those of one ({near:.3g})"
        collapsed = _collapsed_loss(task_loss, labels, length)
        if (
            loss is not None
            and collapsed is not None
            and collapsed > 0
            and abs(loss / collapsed - 1) <= _TOLERANCE
            and spread.get("active_triplets", 1.0) >= _ACTIVE
        ):
            return (
                f"{apart}, and the loss has stayed at {loss:.3g}, near the {collapsed:.3g} of "
                "embeddings that are all the same"
            )
        if standard_deviation <= ALIKE * length:
            return f"{apart}, and {within}"
    if rank < _LINE and standard_deviation > 0 and len(np.unique(labels)) >= 4:
        return f"the embeddings have lain on one line (effective rank {rank:.2f})"
    return ""


def _collapsed_loss(task_loss: TaskLoss | None, labels: np.ndarray, length: float) -> float | None:
    """The loss of embeddings that are all the same, if it depends on nothing else."""
    if isinstance(task_loss, CrossBatchMemory):
        value = _collapsed_loss(task_loss.loss, labels, length)
        return None if value is None else (1.0 + task_loss.weight) * value
    if task_loss is None or task_loss.layer is not None or task_loss.teacher is not None:
        return None
    return float(task_loss(labels, np.full((len(labels), 1), length, np.float32)))


def _within(task_loss: TaskLoss | None) -> TaskLoss | None:
    """The loss that another one wraps, or the loss itself."""
    return task_loss.loss if isinstance(task_loss, WrappedLoss) else task_loss


def _margin(task_loss: TaskLoss | None) -> float:
    task_loss = _within(task_loss)
    margin = getattr(task_loss, "margin", None)
    return float(margin) if isinstance(margin, int | float) else _NO_MARGIN


def _advice(task_loss: TaskLoss | None, length: float) -> str:
    task_loss = _within(task_loss)
    advice = ["a lower `learning_rate`"]
    if not isinstance(task_loss, SemiHardTriplet):
        advice.append("`task_loss=semi_hard_triplet`")
    if isinstance(task_loss, BatchHardTriplet) and task_loss.margin != "soft":
        advice.append("`task_loss=soft_triplet`")
        if task_loss.margin < _NO_MARGIN:
            advice.append(f"a larger `margin`, such as {_NO_MARGIN}")
    if abs(length - 1.0) > 0.01:
        advice.append("embeddings of length 1")
    return ", ".join(advice[:-1]) + f", or {advice[-1]}" if len(advice) > 1 else advice[0]
