"""Sampler of batches of P classes x K images, by index from a seed and a step."""

import numpy as np
import tensorflow as tf

from keras_distill.data.random_order import SORTED, random_order, shuffled_places, uniform
from keras_distill.errors import InputError


class ClassSampler:
    """Draws the rows of any training batch from `(seed, step)` alone.

    The classes are visited in random order, each once before any repeats, in an endless sequence
    that is cut into batches of `classes_per_batch`; no class is twice in a batch. At each visit
    `images_per_class` images of the class are drawn without replacement; a class with fewer repeats
    its images. Random orders of many classes come from `index_shuffle`, a permutation that is
    evaluated one index at a time, and so do the orders of the images of large classes: a batch
    costs the same for 50 and for 50,000 classes, of 100 or of 1,000,000 images.

    Args:
        labels: Class of each image, integers `(n,)`.
        classes_per_batch: Classes in a batch, P.
        images_per_class: Images of each class in a batch, K.
        seed: Seed of all draws.

    Raises:
        InputError: If there are fewer classes than a batch needs, or P or K is too small.

    Example:
        >>> sampler = ClassSampler([7, 7, 7, 8, 8, 9], classes_per_batch=2, images_per_class=2)
        >>> rows = sampler.rows(0)
        >>> rows.shape
        TensorShape([4])
    """

    def __init__(
        self,
        labels: np.ndarray,
        *,
        classes_per_batch: int,
        images_per_class: int,
        seed: int = 0,
    ):
        labels = np.asarray(labels)
        classes, counts = np.unique(labels, return_counts=True)
        if classes_per_batch < 2:
            raise InputError(
                f"`classes_per_batch={classes_per_batch}` leaves no negatives; use 2 or more."
            )
        if images_per_class < 1:
            raise InputError(f"`images_per_class={images_per_class}` must be at least 1.")
        if len(classes) < classes_per_batch:
            raise InputError(
                f"`classes_per_batch={classes_per_batch}` is more than the {len(classes)} training "
                "classes; use fewer per batch."
            )
        self.classes_per_batch = classes_per_batch
        self.images_per_class = images_per_class
        self._seed = seed
        self._class_count = len(classes)
        self._rows_by_class = tf.constant(np.argsort(labels, kind="stable"), tf.int64)
        self._first = tf.constant(np.concatenate([[0], np.cumsum(counts)[:-1]]), tf.int64)
        self._count = tf.constant(counts, tf.int64)
        self._most_images = max(int(counts.max()), 1)

    @property
    def batch_size(self) -> int:
        """Rows in a batch, P x K."""
        return self.classes_per_batch * self.images_per_class

    def classes(self, step: int | tf.Tensor) -> tf.Tensor:
        """Draws the classes of a step.

        Args:
            step: Scalar, counted from 0.

        Returns:
            int64 tensor `(classes_per_batch,)`: positions in the sorted list of classes.
        """
        per_batch, count = self.classes_per_batch, self._class_count
        position = tf.cast(step, tf.int64) * per_batch + tf.range(per_batch, dtype=tf.int64)
        cycle, place = position // count, position % count
        return tf.where(
            cycle == cycle[0],
            self._reordered(cycle[0], self._head(cycle[0]), place),
            self._reordered(cycle[-1], self._head(cycle[-1]), place),
        )

    def rows(self, step: int | tf.Tensor) -> tf.Tensor:
        """Draws the images of a step.

        Args:
            step: Scalar, counted from 0.

        Returns:
            int64 tensor `(batch_size,)`: indices into `labels`, class by class.
        """
        step = tf.cast(step, tf.int64)  # stateless_fold_in draws otherwise for an int32
        classes = self.classes(step)
        count = tf.gather(self._count, classes)[:, None]
        key = tf.fill([2], tf.constant(self._seed, tf.int64))
        key = tf.random.experimental.stateless_fold_in(key, step, alg="philox")
        width = min(self._most_images, SORTED)
        draw = uniform(key, [self.classes_per_batch, width])
        draw = tf.where(tf.range(width, dtype=tf.int64) < count, draw, -1.0)
        order = tf.cast(tf.argsort(draw, direction="DESCENDING"), tf.int64)
        nth = tf.range(self.images_per_class, dtype=tf.int64) % count
        index = tf.gather(order, tf.minimum(nth, width - 1), batch_dims=1)
        if self._most_images > SORTED:  # then the cost must not grow with the largest class
            key = tf.random.experimental.stateless_fold_in(key, 1, alg="philox")
            is_large = count > SORTED
            counts = tf.where(is_large, count, self._most_images)[:, 0]
            index = tf.where(is_large, shuffled_places(key, counts, nth), index)
        first = tf.gather(self._first, classes)[:, None]
        return tf.gather(self._rows_by_class, tf.reshape(first + index, [-1]))

    def _head(self, cycle: tf.Tensor) -> tf.Tensor:
        """The first P classes of a cycle; classes that its first batch already has move back.

        If that batch begins with the last r classes of the cycle before, at most r of these P are
        among them, so at least the P - r that complete the batch are not.
        """
        per_batch, count = self.classes_per_batch, self._class_count
        places = tf.range(per_batch, dtype=tf.int64)
        # The last classes of a cycle are reordered themselves only among fewer than 2 P classes;
        # that chain goes back to the last cycle that began with a batch, less than P cycles ago.
        depth = 1 if count >= 2 * per_batch else per_batch
        head = places
        for back in reversed(range(depth)):
            current = tf.maximum(cycle - back, 0)
            order = self._order(current, places)
            tail = self._reordered(current - 1, head, count - per_batch + places)
            begun = places >= per_batch - (current * count) % per_batch
            clash = tf.reduce_any((order[:, None] == tail[None, :]) & begun[None, :], axis=1)
            head = tf.gather(order, tf.argsort(tf.cast(clash, tf.int32), stable=True))
        return head

    def _reordered(self, cycle: tf.Tensor, head: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
        last = self.classes_per_batch - 1
        in_head = tf.gather(head, tf.minimum(place, last))
        return tf.where(place <= last, in_head, self._order(cycle, place))

    def _order(self, cycle: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
        """Evaluates the random order of a cycle at some places."""
        key = tf.stack([tf.constant(self._seed, tf.int64), cycle])
        return random_order(key, self._class_count, place)
