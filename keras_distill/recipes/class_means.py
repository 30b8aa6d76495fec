"""Head made of the means of embeddings of each class."""

from collections.abc import Sequence

import numpy as np

from keras_distill.errors import InputError
from keras_distill.models.class_head import ClassHead

#: Scale of such a head, that of the normalised softmax.
SCALE = 20.0


def class_means(vectors: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> ClassHead:
    """Makes a head of cosines with the mean direction of each class.

    Args:
        vectors: Embeddings `(n, dim)`; each counts by its direction.
        labels: Class of each, integers `(n,)` from 0.
        class_names: Names of all classes, also of those that have no embedding here, which the head
            leaves out.

    Returns:
        The head.

    Raises:
        InputError: If the mean of a class is 0.

    Example:
        >>> head = class_means(np.eye(2), np.array([1, 0]), ["cat", "dog"])
        >>> head.kernel.tolist(), head.names
        ([[0.0, 1.0], [1.0, 0.0]], ('cat', 'dog'))
    """
    present = np.unique(labels)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    means = np.zeros((len(class_names), vectors.shape[1]))
    np.add.at(means, labels, vectors / np.where(lengths > 0, lengths, 1))
    means, names = means[present], [class_names[label] for label in present]
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    if not lengths.all():
        raise InputError(
            f"`teacher_head=means`: the teacher's embeddings of {names[int(lengths.argmin())]!r} "
            "have the mean 0; give another head."
        )
    return ClassHead((means / lengths).T.astype(np.float32), scale=SCALE, names=tuple(names))
