"""Asymmetric retrieval: a student's queries against a gallery of its teacher."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_distill.errors import InputError
from keras_distill.evaluation.bootstrap import percentile_intervals, resampled_means
from keras_distill.evaluation.retrieval_metrics import RetrievalMetrics, retrieval_metrics

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)


@dataclass(frozen=True)
class AsymmetricMetrics:
    """Metrics of a student's queries in a teacher's gallery, and of each model alone.

    Attributes:
        asymmetric: The student's queries against the teacher's gallery.
        student: The student's queries against its own gallery.
        teacher: The teacher's queries against its own gallery.
        cosines: Cosine of the student's query and the teacher's gallery vector of the same image,
            float64 `(n,)`.
    """

    asymmetric: RetrievalMetrics
    student: RetrievalMetrics
    teacher: RetrievalMetrics
    cosines: np.ndarray

    def cosine_summary(self) -> dict[str, float]:
        """Returns the mean of the cosines and their percentiles, by `"mean"`, `"1"`, `"5"`, …."""
        values = np.percentile(self.cosines, PERCENTILES).tolist()
        names = map(str, PERCENTILES)
        return {"mean": float(self.cosines.mean()), **dict(zip(names, values, strict=True))}

    def kept(self, k: int, *, over: str = "queries") -> tuple[float, float, float] | None:
        """Returns the share of the student's own Recall@K that it keeps in the teacher's gallery.

        Args:
            k: One of the K of `retrieval_metrics`.
            over: Unit that is resampled for the interval, `queries` or `classes`.

        Returns:
            The share, and the lower and upper bound of its 95 % interval, for which both recalls
            are computed on the same queries; `None` if the student's own recall is 0.
        """
        if not self.student.recall[k]:
            return None
        pair = [metrics.per_query[f"R@{k}"] for metrics in (self.asymmetric, self.student)]
        classes = self.student.labels if over == "classes" else None
        left, whole = resampled_means(np.stack(pair, axis=1), classes=classes).T
        shares = np.divide(left, whole, out=np.full_like(left, np.nan), where=whole > 0)
        ((low, high),) = percentile_intervals(shares[:, None]).tolist()
        return self.asymmetric.recall[k] / self.student.recall[k], low, high


def asymmetric_metrics(
    student: tuple[np.ndarray, np.ndarray],
    teacher: tuple[np.ndarray, np.ndarray],
    labels: np.ndarray,
    *,
    ks: Sequence[int] = (1, 2, 4, 8),
    precision_ks: Sequence[int] = (),
    map_ks: Sequence[int] = (),
) -> AsymmetricMetrics:
    """Measures asymmetric retrieval, leaving each query's own image out of the gallery.

    Args:
        student: The student's embeddings of the images as queries and as gallery, each a float
            array `(n, dim)`; the same array twice where the images are the same.
        teacher: The teacher's embeddings in the same form.
        labels: Classes of the images, integers `(n,)`.
        ks: The K of Recall@K.
        precision_ks: The K of P@K.
        map_ks: The K of mAP@K.

    Returns:
        The metrics.

    Raises:
        InputError: If the widths differ, or as `retrieval_metrics` does.

    Example:
        >>> vectors = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
        >>> turned = vectors[:, ::-1]
        >>> metrics = asymmetric_metrics((vectors, vectors), (turned, turned), np.array([0, 0, 1]))
        >>> metrics.cosines.round(2)
        array([0.  , 0.96, 0.  ])
    """
    check_equal_widths(student[0].shape[1], teacher[1].shape[1])

    def measured(queries: np.ndarray, gallery: np.ndarray) -> RetrievalMetrics:
        return retrieval_metrics(
            queries,
            labels,
            ks=ks,
            precision_ks=precision_ks,
            map_ks=map_ks,
            gallery_embeddings=gallery,
            gallery_labels=labels,
            leave_one_out=True,
        )

    return AsymmetricMetrics(
        asymmetric=measured(student[0], teacher[1]),
        student=measured(*student),
        teacher=measured(*teacher),
        cosines=_cosines(student[0], teacher[1]),
    )


def check_equal_widths(student: int | None, teacher: int | None) -> None:
    """Checks that a student's queries can be compared with a teacher's gallery.

    Args:
        student: Width of the student's embeddings; `None` if it is not known yet.
        teacher: Width of the teacher's embeddings; `None` if it is not known yet.

    Raises:
        InputError: If they differ.
    """
    if None not in (student, teacher) and student != teacher:
        raise InputError(
            f"the embeddings of `student` have width {student}, the embeddings of `teacher` width "
            f"{teacher}; a query is comparable with a gallery of the same space only. Train the "
            "student by a projection of the teacher, and compare it with the projected teacher; or "
            f"train a student of width {teacher}."
        )


def _cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    products = np.einsum("nd,nd->n", left, right, dtype=np.float64)
    norms = [np.sqrt(np.einsum("nd,nd->n", x, x, dtype=np.float64)) for x in (left, right)]
    return products / np.maximum(norms[0] * norms[1], np.finfo(np.float64).tiny)
