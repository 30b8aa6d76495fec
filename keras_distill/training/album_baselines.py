"""Baselines of an album classifier, fitted once its encoder is trained."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_distill.data.albums import Albums
from keras_distill.evaluation.average_precision import average_precision
from keras_distill.models.album_classifier import BASELINES, LEAST_PROBABILITY
from keras_distill.models.album_model import album_parts

_PENALTIES = (1e-4, 1e-3, 1e-2)
_WITHOUT_VALIDATION = 1e-3
_STEPS, _RATE = 400, 0.05


@dataclass(frozen=True, eq=False)
class _Rows:
    """What a linear map sees of albums: rows, and the album of each, in their order."""

    rows: np.ndarray
    album: np.ndarray
    targets: np.ndarray


def fit_baselines(
    model: keras.Model,
    train: tuple[Albums, np.ndarray],
    validation: tuple[Albums, np.ndarray] | None = None,
) -> dict[str, float]:
    """Fits the linear classifiers of the means to all training albums at once, in place.

    They minimise the binary cross-entropy of the albums with all of their photographs, by 400 steps
    of Adam, with an L2 penalty on standardised vectors: the one of 1e-4, 1e-3 and 1e-2 that has the
    best mAP on the validation albums, 1e-3 without them. So a baseline is as good as a linear map
    can be, however the encoder was trained. Targets of -1 do not count.

    Args:
        model: A model of `build_album_classifier` with baselines, or of `build_album_model`.
        train: The training albums, and the vectors of their photographs.
        validation: The same to choose the penalty on, if there are some.

    Returns:
        The penalty of each baseline, by its name.
    """
    parts = album_parts(model)
    assert parts is not None
    chosen = {}
    for name in BASELINES:
        data = _rows_of(name, *train)
        shift, scale = data.rows.mean(axis=0), data.rows.std(axis=0)
        scale = np.where(scale > 1e-7, scale, 1.0)
        kernel, bias, chosen[name] = _best(name, data, validation, shift, scale)
        kernel = kernel / scale[:, None]
        head = parts.classifier.get_layer(f"{name}_head")
        head.set_weights([kernel, bias - shift @ kernel])
    return chosen


def _rows_of(name: str, albums: Albums, vectors: np.ndarray) -> _Rows:
    """The means of the vectors, or the vectors themselves."""
    if name == "mean_vectors":
        means = np.stack([vectors[own].mean(axis=0) for own in albums.members])
        return _Rows(means, np.arange(len(albums)), albums.targets)
    return _Rows(
        vectors[np.concatenate(albums.members)],
        np.repeat(np.arange(len(albums)), albums.sizes),
        albums.targets,
    )


def _best(
    name: str,
    data: _Rows,
    validation: tuple[Albums, np.ndarray] | None,
    shift: np.ndarray,
    scale: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, float]:
    """The kernel and the bias on standardised rows, and their penalty."""
    if validation is None:
        return *_fitted(data, shift, scale, _WITHOUT_VALIDATION), _WITHOUT_VALIDATION
    held_out = _rows_of(name, *validation)
    rows = tf.constant((held_out.rows - shift) / scale, tf.float32)
    found = []
    for penalty in _PENALTIES:
        kernel, bias = _fitted(data, shift, scale, penalty)
        scores = _log_odds(rows, held_out.album, kernel, bias).numpy()
        precisions = average_precision(scores, held_out.targets)
        counted = precisions[np.isfinite(precisions)]
        found.append((float(counted.mean()) if len(counted) else 0.0, -penalty, kernel, bias))
    _, penalty, kernel, bias = max(found, key=lambda each: each[:2])
    return kernel, bias, -penalty


def _fitted(
    data: _Rows, shift: np.ndarray, scale: np.ndarray, penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    rows = tf.constant((data.rows - shift) / scale, tf.float32)
    known = tf.constant(data.targets >= 0, tf.float32)
    targets = tf.constant(data.targets == 1, tf.float32)
    share = (data.targets == 1).sum(axis=0) / np.maximum((data.targets >= 0).sum(axis=0), 1)
    share = np.clip(share, 0.01, 0.99)
    kernel = keras.Variable(np.zeros((rows.shape[1], data.targets.shape[1]), np.float32))
    bias = keras.Variable(np.log(share / (1 - share)).astype(np.float32))
    optimizer = keras.optimizers.Adam(_RATE)
    optimizer.build([kernel, bias])
    count = tf.maximum(tf.reduce_sum(known), 1.0)

    @tf.function(autograph=False)
    def step() -> None:
        with tf.GradientTape() as tape:
            logits = _log_odds(rows, data.album, kernel.value, bias.value)
            losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
            loss = tf.reduce_sum(known * losses) / count
            loss += penalty * tf.reduce_sum(tf.square(kernel.value))
        optimizer.apply(tape.gradient(loss, [kernel.value, bias.value]), [kernel, bias])

    for _ in range(_STEPS):
        step()
    return kernel.numpy(), bias.numpy()


def _log_odds(rows: Any, album: np.ndarray, kernel: Any, bias: Any) -> Any:
    """The log-odds of the mean probability of each album; of one row each, its logits."""
    logits = tf.matmul(rows, kernel) + bias
    if len(album) == album[-1] + 1:
        return logits
    share = tf.math.segment_mean(tf.sigmoid(logits), tf.constant(album))
    share = tf.clip_by_value(share, LEAST_PROBABILITY, 1.0 - LEAST_PROBABILITY)
    return tf.math.log(share) - tf.math.log1p(-share)
