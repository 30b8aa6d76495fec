from pathlib import Path

import hypothesis
import hypothesis.extra.numpy
import hypothesis.strategies as st
import numpy as np
import pytest

from keras_distill import InputError, retrieval_metrics
from keras_distill.evaluation.retrieval_metrics import needed_depth, neighbour_metrics

GOLDEN = Path(__file__).parents[1] / "golden"


def naive(embeddings, labels, ks, gallery=None, gallery_labels=None):
    """Recall, MAP@R, R-precision, mAP@K and P@K, query by query and rank by rank."""
    leave_one_out = gallery is None
    if leave_one_out:
        gallery, gallery_labels = embeddings, labels
    recalled = dict.fromkeys(ks, 0)
    average_precisions, r_precisions = [], []
    at_k, precision = {k: [] for k in ks}, {k: [] for k in ks}
    for i, query in enumerate(embeddings):
        others = [j for j in range(len(gallery)) if not (leave_one_out and i == j)]
        others.sort(key=lambda j: (np.sum((query - gallery[j]) ** 2), j))
        matches = [gallery_labels[j] == labels[i] for j in others]
        for k in ks:
            recalled[k] += any(matches[:k])
        relevant = sum(matches)
        if relevant:
            precisions = [
                sum(matches[: rank + 1]) / (rank + 1) for rank in range(relevant) if matches[rank]
            ]
            average_precisions.append(sum(precisions) / relevant)
            r_precisions.append(sum(matches[:relevant]) / relevant)
            for k in ks:
                ranks = [rank for rank in range(min(k, len(others))) if matches[rank]]
                gains = [sum(matches[: rank + 1]) / (rank + 1) for rank in ranks]
                at_k[k].append(sum(gains) / min(k, relevant))
                precision[k].append(sum(matches[:k]) / k)
    return (
        {k: count / len(labels) for k, count in recalled.items()},
        np.mean(average_precisions) if average_precisions else 0.0,
        np.mean(r_precisions) if r_precisions else 0.0,
        *(
            {k: np.mean(values) if values else 0.0 for k, values in each.items()}
            for each in (at_k, precision)
        ),
    )


def check(embeddings, labels, ks, gallery=None, gallery_labels=None):
    found = retrieval_metrics(
        embeddings,
        labels,
        ks=ks,
        precision_ks=ks,
        map_ks=ks,
        gallery_embeddings=gallery,
        gallery_labels=gallery_labels,
    )
    recall, map_at_r, r_precision, map_at_k, precision_at_k = naive(
        embeddings, labels, ks, gallery, gallery_labels
    )
    assert found.recall == pytest.approx(recall)
    assert found.precision_at_k == pytest.approx(precision_at_k)
    assert found.map_at_k == pytest.approx(map_at_k)
    assert found.map_at_r == pytest.approx(map_at_r)
    assert found.r_precision == pytest.approx(r_precision)
    assert found.queries == len(labels)
    assert found.gallery == len(labels if gallery is None else gallery)


def clusters(count, classes, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=count)
    centres = np.random.default_rng(0).normal(size=(classes, 6))
    return (centres[labels] + rng.normal(size=(count, 6))).astype(np.float32), labels


@pytest.mark.parametrize("seed", [1, 2])
def test_leave_one_out_equals_the_definitions(seed):
    check(*clusters(70, 9, seed), ks=[1, 2, 4, 8, 500])


def test_a_separate_gallery_with_missing_and_additional_classes():
    embeddings, labels = clusters(40, 9, seed=1)
    gallery, gallery_labels = clusters(60, 12, seed=2)
    absent = gallery_labels == labels[0]
    check(embeddings, labels, [1, 3, 10], gallery[~absent], gallery_labels[~absent])


def test_a_gallery_of_other_pictures_of_the_queries():
    embeddings, labels = clusters(40, 9, seed=1)
    gallery = embeddings + np.random.default_rng(3).normal(0, 0.5, embeddings.shape)
    found = retrieval_metrics(
        embeddings,
        labels,
        ks=[1, 3],
        gallery_embeddings=gallery,
        gallery_labels=labels,
        leave_one_out=True,
    )
    recalled, average_precisions, r_precisions = {1: 0, 3: 0}, [], []
    for i in range(40):
        others = np.arange(40) != i
        recall, map_at_r, r_precision, *_ = naive(
            embeddings[i : i + 1], labels[i : i + 1], [1, 3], gallery[others], labels[others]
        )
        recalled = {k: recalled[k] + recall[k] / 40 for k in recalled}
        if (labels[others] == labels[i]).any():
            average_precisions.append(map_at_r)
            r_precisions.append(r_precision)
    assert found.recall == pytest.approx(recalled)
    assert found.map_at_r == pytest.approx(np.mean(average_precisions))
    assert found.r_precision == pytest.approx(np.mean(r_precisions))
    same = retrieval_metrics(
        embeddings,
        labels,
        gallery_embeddings=embeddings,
        gallery_labels=labels,
        leave_one_out=True,
    )
    assert same == retrieval_metrics(embeddings, labels)


def test_classes_with_one_image_count_as_missed_in_recall_only():
    embeddings = np.array([[0.0], [0.1], [1.0], [1.1], [5.0]], np.float32)
    labels = np.array([-7, -7, 2, 2, 9])
    metrics = retrieval_metrics(embeddings, labels, ks=[1, 2])
    assert metrics.recall == {1: 0.8, 2: 0.8}
    assert metrics.map_at_r == 1.0
    assert metrics.r_precision == 1.0
    check(embeddings, labels, [1, 2])


def test_no_query_has_a_match():
    embeddings, _ = clusters(6, 6)
    metrics = retrieval_metrics(embeddings, np.arange(6), ks=[1, 5])
    assert metrics.recall == {1: 0.0, 5: 0.0}
    assert metrics.map_at_r == metrics.r_precision == 0.0


def test_map_at_r_by_hand():
    # The query's class has three others; its neighbours match at the ranks 1, 3 and 4.
    embeddings = np.array([[0.0], [1.0], [2.0], [3.0], [4.0]])
    labels = np.array([1, 1, 0, 1, 1])
    metrics = retrieval_metrics(
        embeddings[:1],
        labels[:1],
        ks=[1],
        gallery_embeddings=embeddings[1:],
        gallery_labels=labels[1:],
    )
    assert metrics.map_at_r == pytest.approx((1 / 1 + 2 / 3) / 3)
    assert metrics.r_precision == pytest.approx(2 / 3)


def test_map_at_k_is_shared_by_the_smaller_of_k_and_the_matches():
    # Matches at the ranks 1, 3 and 4 again, out of three.
    vectors, labels = np.array([[0.0], [1.0], [2.0], [3.0], [4.0]]), np.array([1, 1, 0, 1, 1])
    metrics = retrieval_metrics(
        vectors[:1],
        labels[:1],
        map_ks=[1, 2, 3, 4, 50],
        gallery_embeddings=vectors[1:],
        gallery_labels=labels[1:],
    )
    full = (1 / 1 + 2 / 3 + 3 / 4) / 3
    assert metrics.map_at_k == pytest.approx(
        {1: 1.0, 2: 1 / 2, 3: (1 / 1 + 2 / 3) / 3, 4: full, 50: full}
    )
    assert metrics.map_at_k[3] == metrics.map_at_r


def test_precision_at_k_counts_ranks_that_there_are_not():
    # Matches at the ranks 1, 3 and 4; the second query has none, and does not count.
    vectors, labels = np.array([[0.0], [1.0], [2.0], [3.0], [4.0]]), np.array([1, 1, 0, 1, 1])
    metrics = retrieval_metrics(
        vectors[[0, 0]],
        np.array([1, 7]),
        precision_ks=[1, 2, 3, 4, 50],
        gallery_embeddings=vectors[1:],
        gallery_labels=labels[1:],
    )
    assert metrics.precision_at_k == pytest.approx({1: 1, 2: 1 / 2, 3: 2 / 3, 4: 3 / 4, 50: 3 / 50})
    assert np.isnan(metrics.per_query["P@4"][1])


def test_each_query_has_its_own_values():
    embeddings, labels = clusters(60, 9, seed=4)
    gallery, gallery_labels = clusters(50, 9, seed=5)
    gallery_labels[gallery_labels == labels[0]] = 99
    metrics = retrieval_metrics(
        embeddings,
        labels,
        ks=[1, 5],
        precision_ks=[4],
        map_ks=[3],
        gallery_embeddings=gallery,
        gallery_labels=gallery_labels,
    )
    assert list(metrics.per_query) == ["R@1", "R@5", "P@4", "mAP@3", "MAP@R", "R-precision"]
    assert list(metrics.means.values()) == [
        *metrics.recall.values(),
        *metrics.precision_at_k.values(),
        *metrics.map_at_k.values(),
        metrics.map_at_r,
        metrics.r_precision,
    ]
    for i in range(60):
        recall, map_at_r, r_precision, map_at_k, precision_at_k = naive(
            embeddings[i : i + 1], labels[i : i + 1], [1, 3, 4, 5], gallery, gallery_labels
        )
        values = [recall[1], recall[5], precision_at_k[4], map_at_k[3], map_at_r, r_precision]
        if labels[i] == labels[0]:
            values[2:] = [np.nan] * 4
        own = [column[i] for column in metrics.per_query.values()]
        np.testing.assert_allclose(own, values, rtol=1e-12)


def test_classes_apart():
    embeddings = np.array([[0.0], [0.1], [1.0], [1.1], [0.2], [5.0]], np.float32)
    labels = np.array([-7, -7, 2, 2, 2, 9])
    metrics = retrieval_metrics(embeddings, labels, ks=[1])
    classes, sizes, means = metrics.by_class()
    assert (classes.tolist(), sizes.tolist()) == ([-7, 2, 9], [2, 3, 1])
    assert means["R@1"] == pytest.approx([1, 2 / 3, 0])
    # The two nearest of the fifth row are of the first class; the last row has no match.
    assert means["R-precision"] == pytest.approx([1, (1 + 1 + 0) / 3, np.nan], nan_ok=True)
    assert means.keys() == metrics.means.keys()


def test_intervals_are_those_of_the_values_of_the_queries():
    metrics = retrieval_metrics(*clusters(300, 40), map_ks=[5])
    assert metrics.intervals.keys() == metrics.means.keys()
    for name, (low, high) in metrics.intervals.items():
        values = metrics.per_query[name]
        values = values[np.isfinite(values)]
        deviation = values.std() / np.sqrt(len(values))
        assert low == pytest.approx(values.mean() - 1.96 * deviation, abs=0.4 * deviation)
        assert high == pytest.approx(values.mean() + 1.96 * deviation, abs=0.4 * deviation)


def test_intervals_where_no_query_has_a_match():
    metrics = retrieval_metrics(clusters(6, 6)[0], np.arange(6))
    assert set(metrics.intervals.values()) == {(0.0, 0.0)}


@hypothesis.settings(max_examples=60)
@hypothesis.given(st.data())
def test_ties_and_duplicates_equal_the_definitions(data):
    count = data.draw(st.integers(2, 14))

    def vectors(count):
        return hypothesis.extra.numpy.arrays(np.float32, (count, 2), elements=st.integers(-1, 1))

    def classes(count):
        return hypothesis.extra.numpy.arrays(np.int64, count, elements=st.integers(0, 3))

    embeddings, labels = data.draw(vectors(count)), data.draw(classes(count))
    check(embeddings, labels, [1, 2, 5])
    gallery_count = data.draw(st.integers(1, 10))
    gallery, gallery_labels = data.draw(vectors(gallery_count)), data.draw(classes(gallery_count))
    check(embeddings, labels, [1, 2, 5], gallery, gallery_labels)


def test_more_queries_than_one_block():
    labels = np.arange(2500) // 2
    embeddings = np.stack([labels // 40 * 3.0, labels % 40 * 3.0, np.arange(2500) % 2], axis=1)
    metrics = retrieval_metrics(embeddings, labels)
    assert metrics.recall[1] == metrics.map_at_r == metrics.r_precision == 1.0


def golden(name):
    with np.load(GOLDEN / f"recall__{name}.npz") as file:
        values = dict(file)
    by_reference = dict(zip([1, 2, 4, 8, 16], values["recall_1_2_4_8_16"], strict=True))
    of_products = dict(zip([1, 10, 100, 1000], values["recall_1_10_100_1000"], strict=True))
    correct = dict(zip(values["rkd_recall_ks"].tolist(), values["rkd_recall"], strict=True))
    return values["features"], values["labels"], by_reference, of_products, correct


@pytest.mark.parametrize("name", ["random_n120_seed0", "random_n300_seed1", "all_identical"])
def test_recall_equals_the_reference_implementation(name):
    features, labels, by_reference, of_products, _ = golden(name)
    metrics = retrieval_metrics(features, labels, ks=[*by_reference, 10, 100, 1000])
    for k, expected in (by_reference | of_products).items():
        if k < len(labels):
            assert metrics.recall[k] == pytest.approx(expected, abs=1e-12)
        else:  # Where K exceeds the gallery, each query finds itself in the reference.
            assert expected == 1.0
            alone = np.unique(labels, return_counts=True)[1] == 1
            assert metrics.recall[k] == pytest.approx(1 - alone.sum() / len(labels))


def test_duplicates_are_found_where_the_reference_has_nan():
    # Every row stands there twice with the same label, so Recall@1 is 1. The reference takes the
    # square root of distances that rounding made negative and sorts the NaN somewhere.
    features, labels, by_reference, _, correct = golden("duplicated_rows_d64")
    assert by_reference[1] == 0.75
    metrics = retrieval_metrics(features, labels)
    assert metrics.recall == {1: 1.0, 2: 1.0, 4: 1.0, 8: 1.0}
    assert metrics.recall == correct


def test_a_query_never_finds_itself_though_it_does_in_the_reference():
    # Ten rows, ten classes: nothing can match. The reference only adds 1e5 to the distance of a
    # row from itself, so that among ten or more neighbours each finds itself.
    features, labels, by_reference, of_products, correct = golden("tiny_gallery_n10")
    assert by_reference[16] == of_products[10] == 1.0
    metrics = retrieval_metrics(features, labels, ks=[1, 2, 4, 8, 10, 16, 100, 1000])
    assert set(metrics.recall.values()) == {0.0}
    assert {k: metrics.recall[k] for k in correct} == correct


def test_map_over_the_whole_gallery_equals_that_of_the_asymmetric_loss():
    # It ranks images by the score of a class; so do distances from a query above all scores.
    with np.load(GOLDEN / "asl__metric_mAP.npz") as file:
        scores, targets, expected = file["preds"], file["targets"], file["ap"]
    for column in range(targets.shape[1]):
        metrics = retrieval_metrics(
            np.full((1, 1), 2.0),
            np.ones(1, np.int64),
            map_ks=[len(scores)],
            gallery_embeddings=scores[:, column, None],
            gallery_labels=targets[:, column].astype(np.int64),
        )
        assert metrics.map_at_k[len(scores)] == pytest.approx(expected[column], abs=1e-7)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ks": []}, r"`ks=\[\]` must be positive"),
        ({"ks": [1, 0]}, r"`ks=\[1, 0\]` must be positive"),
        ({"precision_ks": [0]}, r"`precision_ks=\[0\]` must be positive"),
        ({"map_ks": [10, 0]}, r"`map_ks=\[10, 0\]` must be positive"),
        ({"gallery_labels": np.arange(5)}, r"go together"),
        ({"gallery_embeddings": np.zeros((5, 6))}, r"go together"),
        ({"labels": np.arange(4)}, r"`labels` must be 5 integers.*shape \(4,\)"),
        ({"labels": np.arange(5.0)}, r"`labels` must be 5 integers.*got float64"),
        ({"labels": np.zeros((5, 1), int)}, r"`labels` must be 5 integers.*shape \(5, 1\)"),
        (
            {"gallery_embeddings": np.zeros((3, 6)), "gallery_labels": np.arange(2)},
            r"`gallery_labels` must be 3 integers",
        ),
        (
            {"gallery_embeddings": np.zeros((3, 4)), "gallery_labels": np.arange(3)},
            r"`embeddings` has width 6, `gallery_embeddings` 4",
        ),
        (
            {"gallery_embeddings": np.zeros((0, 6)), "gallery_labels": np.zeros(0, int)},
            r"nothing to search",
        ),
        (
            {
                "gallery_embeddings": np.zeros((5, 6)),
                "gallery_labels": np.arange(5),
                "leave_one_out": True,
            },
            r"`leave_one_out=True` needs the same labels",
        ),
        ({"embeddings": np.zeros((0, 6)), "labels": np.zeros(0, int)}, r"nothing to search"),
        ({"embeddings": np.zeros((1, 6)), "labels": np.zeros(1, int)}, r"nothing to search"),
        ({"embeddings": np.full((5, 6), np.nan)}, r"not finite"),
    ],
)
def test_unusable_arguments(changed, message):
    embeddings, labels = clusters(5, 2)
    with pytest.raises(InputError, match=message):
        retrieval_metrics(**{"embeddings": embeddings, "labels": labels} | changed)


def exact_lists(embeddings, depth):
    distances = np.linalg.norm(embeddings[:, None] - embeddings, axis=2)
    np.fill_diagonal(distances, np.inf)
    return np.argsort(distances, axis=1, kind="stable")[:, :depth]


def test_given_neighbours_are_measured_as_those_that_are_searched_here():
    embeddings, labels = clusters(80, 7, seed=3)
    ks = {"ks": [1, 3, 30], "precision_ks": [20], "map_ks": [5]}
    searched = retrieval_metrics(embeddings, labels, **ks)
    lists = exact_lists(embeddings, needed_depth(labels, **ks))
    given = neighbour_metrics(lists, labels, **ks)
    assert given == searched
    for name, values in searched.per_query.items():
        np.testing.assert_array_equal(given.per_query[name], values)


def test_neighbours_in_a_gallery_of_its_own():
    gallery_labels = np.array([4, 5, 5])
    lists = np.array([[0, 2, 1], [1, 2, 0], [0, 1, 2]])
    found = neighbour_metrics(lists, np.array([5, 5, 9]), ks=[1], gallery_labels=gallery_labels)
    assert found.recall == {1: pytest.approx(1 / 3)}
    assert found.map_at_r == pytest.approx((1 / 4 + 1) / 2)
    assert np.isnan(found.per_query["MAP@R"][2])


def test_a_missing_neighbour_is_no_match_of_the_last_row():
    lists = np.array([[-1, -1], [0, 2], [1, -1]])
    found = neighbour_metrics(lists, np.array([6, 6, 6]), ks=[1, 2])
    np.testing.assert_array_equal(found.per_query["R@1"], [0, 1, 1])
    np.testing.assert_array_equal(found.per_query["R-precision"], [0, 1, 1 / 2])


def test_depth_is_that_of_the_largest_class_or_k_within_the_gallery():
    labels = np.array([1] * 6 + [2] * 3)
    assert needed_depth(labels, ks=[2]) == 5
    assert needed_depth(labels, ks=[2], map_ks=[7]) == 7
    assert needed_depth(labels, ks=[2], precision_ks=[7]) == 7
    assert needed_depth(labels, ks=[100]) == 8
    assert needed_depth(np.array([2]), ks=[1], gallery_labels=labels) == 3


def test_lists_that_are_too_short_are_refused():
    lists = exact_lists(*clusters(30, 2)[:1], 4)
    labels = clusters(30, 2)[1]
    with pytest.raises(
        InputError, match=r"`neighbours` has 4 ranks, but `ks=\[1\]` .* need 1\d; s"
    ):
        neighbour_metrics(lists, labels, ks=[1])
