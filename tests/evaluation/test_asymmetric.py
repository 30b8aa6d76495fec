import numpy as np
import pytest

from keras_distill import InputError, retrieval_metrics
from keras_distill.evaluation.asymmetric import (
    PERCENTILES,
    asymmetric_metrics,
    check_equal_widths,
)


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def vectors():
    """A teacher of four classes, a student near it, and both on worse images; and the labels."""
    random = np.random.default_rng(0)
    labels = np.arange(60) % 4
    teacher = unit(random.normal(size=(4, 8))[labels] + random.normal(0, 0.7, (60, 8)))
    student = unit(teacher + random.normal(0, 0.2, (60, 8)))
    worse = [unit(each + random.normal(0, 0.1, (60, 8))) for each in (teacher, student)]
    return teacher, student, *worse, labels


def recall_at_1(queries, gallery, labels):
    """The share of queries whose nearest other image is of their class."""
    hits = 0
    for i, query in enumerate(queries):
        distances = np.linalg.norm(gallery - query, axis=1)
        distances[i] = np.inf
        hits += labels[distances.argmin()] == labels[i]
    return hits / len(queries)


def test_three_measurements(vectors):
    teacher, student, worse_teacher, worse_student, labels = vectors
    metrics = asymmetric_metrics(
        (worse_student, student), (worse_teacher, teacher), labels, ks=[1, 3], map_ks=[5]
    )
    for found, queries, gallery in (
        (metrics.asymmetric, worse_student, teacher),
        (metrics.student, worse_student, student),
        (metrics.teacher, worse_teacher, teacher),
    ):
        assert found.recall[1] == pytest.approx(recall_at_1(queries, gallery, labels))
        assert found.recall.keys() == {1, 3}
        assert found.map_at_k.keys() == {5}
        assert found.queries == found.gallery == 60
    assert len({m.recall[1] for m in (metrics.asymmetric, metrics.student, metrics.teacher)}) == 3


def test_cosine_is_of_the_query_and_its_own_image_in_the_gallery(vectors):
    teacher, student, worse_teacher, worse_student, labels = vectors
    metrics = asymmetric_metrics(
        (worse_student, student), (3 * worse_teacher, 3 * teacher), labels, ks=[1]
    )
    cosines = [float(query @ own) for query, own in zip(worse_student, teacher, strict=True)]
    np.testing.assert_allclose(metrics.cosines, cosines, atol=1e-6)
    summary = metrics.cosine_summary()
    assert list(summary) == ["mean", *map(str, PERCENTILES)]
    assert summary["mean"] == pytest.approx(np.mean(cosines))
    assert summary["50"] == pytest.approx(np.median(cosines))
    assert summary["5"] == pytest.approx(np.percentile(cosines, 5))
    assert list(summary.values())[1:] == sorted(list(summary.values())[1:])


def test_a_student_that_equals_its_teacher_keeps_everything(vectors):
    teacher, *_, labels = vectors
    metrics = asymmetric_metrics((teacher, teacher), (teacher, teacher), labels, ks=[1])
    assert metrics.asymmetric == metrics.student == metrics.teacher
    assert metrics.asymmetric == retrieval_metrics(teacher, labels, ks=[1])
    np.testing.assert_allclose(metrics.cosines, 1.0, atol=1e-6)
    assert metrics.kept(1) == (1.0, 1.0, 1.0)


def test_a_student_in_a_turned_space_keeps_little(vectors):
    teacher, *_, labels = vectors
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))
    student = teacher @ rotation.astype(np.float32)
    metrics = asymmetric_metrics((student, student), (teacher, teacher), labels, ks=[1])
    assert metrics.student.recall == metrics.teacher.recall
    share, low, high = metrics.kept(1)
    assert share == metrics.asymmetric.recall[1] / metrics.student.recall[1]
    assert low < share < high < 0.8


def test_interval_of_the_kept_share_uses_the_same_queries(vectors):
    teacher, student, *_, labels = vectors
    metrics = asymmetric_metrics((student, student), (teacher, teacher), labels, ks=[1])
    random = np.random.default_rng(5)
    shares = []
    for _ in range(3000):
        drawn = random.integers(60, size=60)
        left, whole = (
            each.per_query["R@1"][drawn].sum() for each in (metrics.asymmetric, metrics.student)
        )
        shares.append(left / whole)
    assert metrics.kept(1)[1:] == pytest.approx(np.percentile(shares, [2.5, 97.5]), abs=0.03)


def test_nothing_is_kept_of_nothing():
    vectors = np.eye(3, dtype=np.float32)
    metrics = asymmetric_metrics((vectors, vectors), (vectors, vectors), np.arange(3), ks=[1])
    assert metrics.kept(1) is None


def test_zero_vectors_have_the_cosine_zero():
    vectors, zeros = np.eye(3, dtype=np.float32), np.zeros((3, 3), np.float32)
    metrics = asymmetric_metrics((zeros, zeros), (vectors, vectors), np.array([0, 0, 1]), ks=[1])
    assert metrics.cosines.tolist() == [0, 0, 0]


def test_other_widths_are_refused_with_the_remedy(vectors):
    teacher, student, *_, labels = vectors
    narrow = student[:, :5]
    with pytest.raises(InputError, match=r"`student` have width 5, .* `teacher` width 8") as error:
        asymmetric_metrics((narrow, narrow), (teacher, teacher), labels)
    for remedy in ("by a projection of the teacher", "a student of width 8"):
        assert remedy in str(error.value)
    check_equal_widths(None, 8)
    check_equal_widths(5, None)
    check_equal_widths(8, 8)
