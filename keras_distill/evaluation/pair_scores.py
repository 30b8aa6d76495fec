"""Scores of pairs: a list of pairs, or all pairs of labelled vectors without a matrix of them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_distill.errors import InputError
from keras_distill.evaluation.fold_accuracy import (
    FOLDS,
    FoldAccuracy,
    equal_folds,
    fold_accuracy,
    fold_accuracy_of_counts,
)
from keras_distill.evaluation.score_counts import ScoreCounts, checked_pairs

_BINS = 2**22  # of cosines from -1 to 1, as fine as the rounding of a float32 product
_FOLD_BINS = 2**14
_BLOCK = 2**21  # pairs that are scored at once
_KEPT = 4_000_000  # pairs of a kind that are kept for intervals
_HIGHEST = 0.15  # share of the different pairs that is kept, for intervals of a FAR up to 0.1


@dataclass(frozen=True, eq=False)
class PairScores:
    """Scores of pairs, and what intervals need.

    Attributes:
        counts: All pairs by their score.
        accuracy: Accuracy by folds; `None` if there are too few pairs or people for two.
        folds_of: `"pairs"` or `"people"`, which the folds are parts of.
        same: The same pairs, from the highest score on: scores, floats `(s,)`, and the two people
            of each, int32 `(s, 2)`; `None` if there are too many.
        different: The different pairs of the highest scores likewise, `(d,)` and `(d, 2)`.
        images: Number of images of each person, int64 `(people,)`, of which `different` are all
            pairs; `None` if it is a list of pairs, which `different` holds completely.
        people: Number of people.
        correct: Whether each of a list of pairs is told right, at the threshold of its fold: bool
            `(n,)` for the same and for the different pairs, in the order of `same` and `different`;
            `None` if not known.
    """

    counts: ScoreCounts
    accuracy: FoldAccuracy | None
    folds_of: str
    same: tuple[np.ndarray, np.ndarray] | None
    different: tuple[np.ndarray, np.ndarray]
    images: np.ndarray | None
    people: int
    correct: tuple[np.ndarray, np.ndarray] | None = None


def listed_pair_scores(
    scores: np.ndarray,
    same: np.ndarray,
    *,
    people: np.ndarray | None = None,
    folds: np.ndarray | None = None,
) -> PairScores:
    """Gathers the scores of a list of pairs.

    Args:
        scores: Score of each pair, floats `(n,)`.
        same: Whether each is a same pair, bool `(n,)`.
        people: The two people, or objects, of each pair, integers `(n, 2)`; by default each pair
            is of people of its own.
        folds: Fold of each pair, integers `(n,)` from 0 on; by default ten equal parts.

    Returns:
        The scores.

    Raises:
        InputError: If the arrays do not fit each other.
    """
    scores, same = checked_pairs(scores, same)
    if people is None:
        people = np.repeat(np.arange(len(same))[:, None], 2, axis=1)
    numbers = np.unique(people, return_inverse=True)[1].reshape(np.shape(people)).astype(np.int32)
    folds = equal_folds(same) if folds is None else np.asarray(folds)
    accuracy = None if folds is None else fold_accuracy(scores, same, folds)
    order = np.argsort(-scores, kind="stable")
    yes, no = order[same[order]], order[~same[order]]
    correct = None
    if accuracy is not None and folds is not None:
        right = (scores >= accuracy.thresholds[folds]) == same
        correct = right[yes], right[no]
    return PairScores(
        ScoreCounts.of(scores, same),
        accuracy,
        "pairs",
        (scores[yes], numbers[yes]),
        (scores[no], numbers[no]),
        None,
        int(numbers.max()) + 1,
        correct,
    )


def all_pair_scores(
    vectors: np.ndarray,
    labels: np.ndarray,
    *,
    seed: int = 0,
    on_pairs: Callable[[int], object] = lambda pairs: None,
) -> PairScores:
    """Scores all pairs of vectors by their cosine, block by block.

    Cosines are counted in 4 million bins, as fine as their rounding in float32, so that memory does
    not grow with the pairs: 1,000,000 pairs take a fifth of a second. Folds are parts of the
    people: those of a fold's pairs are in none of the pairs that its threshold is chosen on.

    Args:
        vectors: Float array `(n, dim)`; normalised here.
        labels: Person, or class, of each, integers `(n,)`.
        seed: Seed of the division of the people into folds.
        on_pairs: Called with the number of pairs that were scored since, for progress.

    Returns:
        The scores.

    Raises:
        InputError: If the arrays do not fit each other, or there are no pairs of a kind.
    """
    vectors, people, images = _checked(vectors, labels)
    count = len(images)
    folds = min(FOLDS, count // 2)
    fold_of = np.arange(count) % max(folds, 1)
    fold_of = np.random.default_rng(seed).permutation(fold_of)[people].astype(np.int32)
    tally = _Tally(images, folds)
    rows = max(1, _BLOCK // len(vectors))
    for begin in range(0, len(vectors), rows):
        block = slice(begin, min(begin + rows, len(vectors)))
        scores = vectors[block] @ vectors[begin:].T
        later = np.arange(begin, len(vectors)) > np.arange(block.start, block.stop)[:, None]
        sides = [
            np.broadcast_to(values, later.shape)[later]
            for each in (people, fold_of)
            for values in (each[block, None], each[begin:])
        ]
        tally.add(scores[later], *sides)
        on_pairs(int(later.sum()))
    return tally.pair_scores()


class _Tally:
    """Counts scored pairs, and keeps those of the highest scores."""

    def __init__(self, images: np.ndarray, folds: int):
        self._images, self._folds = images, folds
        own = images * (images - 1) // 2
        self._same_pairs = int(own.sum())
        pairs = int(images.sum()) * (int(images.sum()) - 1) // 2
        self._different_pairs = pairs - self._same_pairs
        self._fine = np.zeros((2, _BINS), np.int64)  # different, same
        self._coarse = np.zeros((2, max(folds, 1) ** 2, _FOLD_BINS), np.int64)
        self._same: list[tuple[np.ndarray, np.ndarray]] = []
        self._top = _Highest(min(int(_HIGHEST * self._different_pairs) + 1000, _KEPT))

    def add(
        self,
        scores: np.ndarray,
        one: np.ndarray,
        other: np.ndarray,
        fold: np.ndarray,
        other_fold: np.ndarray,
    ) -> None:
        """Counts pairs by their scores, people and folds, all `(n,)`."""
        share = np.clip(scores * 0.5 + 0.5, 0, 1)
        fine = np.rint(share * (_BINS - 1)).astype(np.int32)
        coarse = np.rint(share * (_FOLD_BINS - 1)).astype(np.int32)
        coarse += (fold * max(self._folds, 1) + other_fold) * _FOLD_BINS
        same = one == other
        for kind, which in enumerate((~same, same)):
            self._fine[kind] += np.bincount(fine[which], minlength=_BINS)
            counted = np.bincount(coarse[which], minlength=self._coarse[kind].size)
            self._coarse[kind] += counted.reshape(self._coarse[kind].shape)
        if self._same_pairs <= _KEPT:
            self._same.append((scores[same], np.stack([one[same], other[same]], axis=1)))
        self._top.add(scores[~same], np.stack([one[~same], other[~same]], axis=1))

    def pair_scores(self) -> PairScores:
        """Returns what was counted."""
        used = np.flatnonzero(self._fine.any(axis=0))[::-1]
        same = None
        if self._same_pairs <= _KEPT:
            scores, people = (np.concatenate(each) for each in zip(*self._same, strict=True))
            order = np.argsort(-scores, kind="stable")
            same = scores[order], people[order]
        return PairScores(
            ScoreCounts(
                (used - 0.5) / (_BINS - 1) * 2 - 1, self._fine[1, used], self._fine[0, used]
            ),
            self._accuracy() if self._folds > 1 else None,
            "people",
            same,
            self._top.sorted(),
            self._images,
            len(self._images),
        )

    def _accuracy(self) -> FoldAccuracy:
        """By folds of people: the threshold of a fold is chosen on pairs without its people."""
        counts = self._coarse[:, :, ::-1].reshape(2, self._folds, self._folds, _FOLD_BINS)
        total = counts.sum(axis=(1, 2))
        test = np.stack([counts[:, fold, fold] for fold in range(self._folds)], axis=1)
        touching = counts.sum(axis=1) + counts.sum(axis=2) - test
        train = total[:, None] - touching
        edges = (np.arange(_FOLD_BINS)[::-1] - 0.5) / (_FOLD_BINS - 1) * 2 - 1
        folds = (
            ((train[1, fold], train[0, fold]), (test[1, fold], test[0, fold]))
            for fold in range(self._folds)
        )
        return fold_accuracy_of_counts(edges, folds)


class _Highest:
    """Keeps the different pairs of the highest scores."""

    def __init__(self, count: int):
        self._count = count
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []
        self._held = 0
        self._least = -np.inf

    def add(self, scores: np.ndarray, people: np.ndarray) -> None:
        """Takes scores `(n,)` and people `(n, 2)`."""
        high = scores >= self._least
        self._parts.append((scores[high], people[high]))
        self._held += int(high.sum())
        if self._held > 2 * self._count:
            self._drop()

    def sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the scores from the highest on, and the people."""
        scores, people = self._drop()
        order = np.argsort(-scores, kind="stable")
        return scores[order], people[order]

    def _drop(self) -> tuple[np.ndarray, np.ndarray]:
        scores, people = (np.concatenate(each) for each in zip(*self._parts, strict=True))
        if len(scores) > self._count:
            place = np.argpartition(-scores, self._count)[: self._count]
            scores, people = scores[place], people[place]
            self._least = float(scores.min())
        self._parts, self._held = [(scores, people)], len(scores)
        return scores, people


def _checked(vectors: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors of length 1, the person of each from 0 on, and the images of each person."""
    vectors, labels = np.asarray(vectors, np.float32), np.asarray(labels)
    if vectors.ndim != 2 or labels.shape != vectors.shape[:1] or len(vectors) < 2:
        raise InputError(
            f"`vectors` has the shape {vectors.shape} and `labels` {labels.shape}; they must be "
            "(images, dim) and (images,), of at least two images."
        )
    if not np.isfinite(vectors).all():
        raise InputError("`vectors` holds values that are not finite.")
    _, people, images = np.unique(labels, return_inverse=True, return_counts=True)
    if len(images) < 2 or images.max() < 2:
        kind = "different" if len(images) < 2 else "same"
        raise InputError(
            f"`labels`: there is no {kind} pair; verification needs two classes, and two images of "
            "one of them."
        )
    return unit_rows(vectors), people.astype(np.int32), images


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Divides rows by their length; zero rows stay.

    Args:
        vectors: float32 `(n, dim)`.

    Returns:
        float32 `(n, dim)`.
    """
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    return (vectors / np.maximum(lengths, 1e-12)[:, None]).astype(np.float32)
