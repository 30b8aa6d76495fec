"""Batches of the recipe ranked_regression: ranked sets, labelled images, or both."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from keras_distill.data.comparison_pairs import read_comparisons
from keras_distill.data.distortion_ladders import parse_ladders
from keras_distill.data.image_set import ImageSet, read_pictures
from keras_distill.data.point_images import PointImages
from keras_distill.data.ranked_batches import RankedSource, ranked_batches
from keras_distill.data.ranked_sets import compared_set, distorted_set, nested_set
from keras_distill.data.regression_batches import regression_batches
from keras_distill.data.scored_images import ScoredImages
from keras_distill.errors import InputError
from keras_distill.settings.data import without_unreadable
from keras_distill.settings.ranked_regression import RankedRegressionSettings, parse_crop_pixels

#: Name of the loss on ranked sets.
RANKED = "ranked"

_Batches: TypeAlias = Callable[..., tf.data.Dataset]


def rank_source(
    settings: RankedRegressionSettings, train: ScoredImages | PointImages, image_size: int
) -> RankedSource:
    """Finds the images that are ranked, and how sets are made of them.

    Args:
        settings: The settings, checked.
        train: The training images.
        image_size: Height and width of the images of a set, in pixels.

    Returns:
        What ranked sets are made of.

    Raises:
        InputError: If there are none.
    """
    if settings.ranking == "comparisons":
        root = Path(settings.dataset.partition(":")[2]).expanduser()
        pairs = read_comparisons(settings.comparisons, root)
        known = set(train.paths.tolist())
        usable = np.array([set(pair) <= known for pair in pairs.ordered.tolist()], bool)
        if not usable.any():
            raise InputError(
                f"`comparisons={settings.comparisons}` has no decided pair of two training images; "
                "those of images for validation and test are held back."
            )
        files = np.array([[f"{root.resolve()}/{path}" for path in pair] for pair in pairs.ordered])
        return RankedSource(files[usable], pairs.ids[usable], compared_set(image_size), 2)
    images = _ranked_images(settings, train)
    if settings.ranking == "crops":
        make, levels = nested_set(settings.nested_crops, image_size), settings.nested_crops
    else:
        ladders = parse_ladders(settings.distortions)
        make, levels = distorted_set(ladders, image_size), 1 + len(ladders[0].steps)
    return RankedSource(np.array(images.files())[:, None], images.ids, make, levels)


def _ranked_images(
    settings: RankedRegressionSettings, train: ScoredImages | PointImages
) -> ImageSet:
    if settings.unlabelled:
        images = read_pictures(settings.unlabelled.partition(":")[2])
        return without_unreadable(settings, images.without_labels())[0]
    if isinstance(train, ScoredImages) and not np.isfinite(train.scores).all():
        return train.select(~np.isfinite(train.scores)).unlabelled
    return train.unlabelled


def chosen_labels(
    settings: RankedRegressionSettings, train: ScoredImages | PointImages
) -> ScoredImages | PointImages:
    """Returns the training images whose labels are used.

    The images of a smaller `label_share` are among those of a larger one, for the same seed.

    Args:
        settings: The settings, checked.
        train: The training images.

    Returns:
        The images, in their order.

    Raises:
        InputError: If there are none, or the list names others.
    """
    labelled = train.scored if isinstance(train, ScoredImages) else train
    if settings.labelled:
        labelled = _listed(settings.labelled, labelled)
    order = np.random.default_rng(settings.seed).permutation(len(labelled))
    count = max(round(settings.label_share * len(labelled)), 1)
    if not len(labelled):
        raise InputError(
            f"`dataset={settings.dataset}` has no training images with a label; give some, or "
            "`stages=rank`."
        )
    return labelled.select(np.sort(order[:count]))


def _listed(file: str, images: ScoredImages | PointImages) -> ScoredImages | PointImages:
    """The images that a file names, one a line."""
    place = {path: row for row, path in enumerate(images.paths.tolist())}
    rows = []
    for line, text in enumerate(Path(file).read_text(encoding="utf-8").splitlines(), 1):
        name = text.strip()
        if name and name not in place:
            raise InputError(
                f"`labelled={file}`: line {line}, {name!r}, is no training image with a label, "
                f"such as {next(iter(place), '')!r}."
            )
        if name:
            rows.append(place[name])
    return images.select(np.unique(np.array(rows, np.int64)))


@dataclass(frozen=True)
class RankedBatches:
    """Batches of a stage.

    Attributes:
        settings: The settings.
        image_size: Height and width of the images, in pixels.
        source: What is ranked; `None` for nothing.
        labelled: The labelled images; `None` for none.
        cells: Rows and columns of density maps; 0 for scores.
        largest_first: See `ranked_batches`.
    """

    settings: RankedRegressionSettings
    image_size: int
    source: RankedSource | None
    labelled: ScoredImages | PointImages | None
    cells: int = 0
    largest_first: bool = True

    @property
    def rows(self) -> int:
        """Rows of a batch; of the larger one if they alternate."""
        ranked = 0 if self.source is None else self.settings.sets_per_batch * self.source.levels
        labelled = 0 if self.labelled is None else self.settings.batch_size
        return max(ranked, labelled) if self._alternates else ranked + labelled

    @property
    def _alternates(self) -> bool:
        both = self.source is not None and self.labelled is not None
        return both and self.settings.stages == "alternate"

    def __call__(self, first_step: int = 0, **replicas: Any) -> tf.data.Dataset:
        """Makes the batches from a step on.

        Args:
            first_step: The step.
            **replicas: `replicas` and `own_replicas`, as of `ranked_batches`.

        Returns:
            Batches `(x, y)`; `y` a dict of the targets of each loss, NaN for rows without a label,
            and the group -1 for rows that are not ranked.
        """
        if self.labelled is None:
            return self._ranked(first_step, **replicas)
        if self.source is None:
            return self._labelled(first_step, **replicas)
        if not self._alternates:
            both = self._labelled(first_step, **replicas), self._ranked(first_step, **replicas)
            return tf.data.Dataset.zip(both).map(_joined).prefetch(tf.data.AUTOTUNE)
        every = self.settings.alternate_every
        periods, rest = divmod(first_step, 2 * every)
        ranked = periods * every + min(rest, every)
        own = len(replicas.get("own_replicas", range(1)))
        turns = (
            tf.data.Dataset.range(first_step, tf.int64.max)
            .map(lambda step: step // every % 2)
            .flat_map(lambda turn: tf.data.Dataset.from_tensors(turn).repeat(own))
        )
        parts = [self._ranked(ranked, **replicas), self._labelled(first_step - ranked, **replicas)]
        return tf.data.Dataset.choose_from_datasets(
            [part.map(_of_any_length) for part in parts], turns, stop_on_empty_dataset=False
        )

    def _ranked(self, first_step: int, **replicas: Any) -> tf.data.Dataset:
        assert self.source is not None
        batches = ranked_batches(
            self.source,
            sets_per_batch=self.settings.sets_per_batch,
            largest_first=self.largest_first,
            seed=self.settings.seed,
            first_step=first_step,
            **replicas,
        )
        if self.labelled is None:
            return batches.map(lambda x, y: (x, {RANKED: y}))
        shape = [self.cells, self.cells, 1] if self.cells else [1]

        @tf.autograph.experimental.do_not_convert
        def without_label(x: Any, y: tf.Tensor) -> Any:
            nothing = tf.fill([y.shape[0], *shape], np.float32(np.nan))
            return x, {self.settings.output: nothing, RANKED: y}

        return batches.map(without_label)

    def _labelled(self, first_step: int, **replicas: Any) -> tf.data.Dataset:
        assert self.labelled is not None
        batches = regression_batches(
            self.labelled,
            image_size=self.image_size,
            batch_size=self.settings.batch_size,
            sides=parse_crop_pixels(self.settings.crop_pixels),
            cells=self.cells,
            sigma=self.settings.sigma,
            seed=self.settings.seed,
            first_step=first_step,
            **replicas,
        )
        output = self.settings.output
        if self.source is None:
            return batches.map(lambda x, y: (x, {output: y}))

        @tf.autograph.experimental.do_not_convert
        def without_rank(x: Any, y: tf.Tensor) -> Any:
            return x, {output: y, RANKED: tf.fill([y.shape[0], 2], np.int64(-1))}

        return batches.map(without_rank)


@tf.autograph.experimental.do_not_convert
def _joined(one: Any, other: Any) -> Any:
    return tf.nest.map_structure(lambda *parts: tf.concat(parts, 0), one, other)


@tf.autograph.experimental.do_not_convert
def _of_any_length(x: Any, y: Any) -> Any:
    """Forgets the number of rows, which differs between the batches that alternate."""

    def opened(column: tf.Tensor) -> tf.Tensor:
        return tf.raw_ops.PlaceholderWithDefault(input=column, shape=[None, *column.shape[1:]])

    return tf.nest.map_structure(opened, (x, y))
