"""A student's queries against a gallery that its teacher embedded."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_distill.errors import InputError
from keras_distill.evaluation.bootstrap import percentile_intervals, resampled_means
from keras_distill.evaluation.retrieval_metrics import RetrievalMetrics, retrieval_metrics

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)


@dataclass(frozen=True)
class AsymmetricMetrics:
    """What a student's queries find in a teacher's gallery, beside what each finds in its own.

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
        """Returns the share of the student's own Recall@K that is left in the teacher's gallery.

        Args:
            k: One of the K of `retrieval_metrics`.
            over: What is resampled for the interval, `queries` or `classes`.

        Returns:
            The share, and the least and greatest value of its 95 % interval, both recalls being of
            the same queries; `None` if the student's own recall is 0.
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
    map_ks: Sequence[int] = (),
) -> AsymmetricMetrics:
    """Measures asymmetric retrieval, leaving each query's own image out of the gallery.

    Args:
        student: The student's embeddings of the images as queries and as gallery, each a float
            array `(n, dim)`; the same array twice where the images are the same.
        teacher: The teacher's, alike.
        labels: Classes of the images, integers `(n,)`.
        ks: The K of Recall@K.
        map_ks: The K of mAP@K.

    Returns:
        The metrics.

    Raises:
        InputError: If the widths differ, or as of `retrieval_metrics`.

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
        teacher: Width of the teacher's, alike.

    Raises:
        InputError: If they differ.
    """
    if None not in (student, teacher) and student != teacher:
        raise InputError(
            f"the model's embeddings have width {student}, those of the gallery model {teacher}; a "
            "query is comparable with a gallery of the same space only. Train the student with "
            "--teacher_projection=pca and take the projected_teacher.keras of its run as the "
            f"gallery model, or train it with --embedding_dim={teacher}."
        )


def _cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    products = np.einsum("nd,nd->n", left, right, dtype=np.float64)
    norms = [np.sqrt(np.einsum("nd,nd->n", x, x, dtype=np.float64)) for x in (left, right)]
    return products / np.maximum(norms[0] * norms[1], np.finfo(np.float64).tiny)
