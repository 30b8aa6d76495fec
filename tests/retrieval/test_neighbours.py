import numpy as np
import pytest

from keras_distill.retrieval.neighbours import (
    Agreement,
    agreement_of,
    nearest_first,
    sample_rows,
)


def test_agreement_counts_common_rows_wherever_they_stand():
    exact = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    found = np.array([[4, 3, 2, 1], [5, 9, 10, 11]])
    assert agreement_of(found, exact) == Agreement(share=0.625, queries=2, k=4)


@pytest.mark.parametrize(
    ("rows", "size", "expected"),
    [(10, 4, [0, 3, 6, 9]), (3, 100, [0, 1, 2]), (1, 1, [0]), (5, 0, []), (7, 1, [0])],
)
def test_sample_is_spread_over_the_rows(rows, size, expected):
    assert sample_rows(rows, size).tolist() == expected


def test_nearest_first_puts_the_lower_index_first_at_the_same_distance():
    indices = np.array([[4, 1, 3, 2]])
    distances = np.array([[0.5, 0.5, 0.1, 0.5]], np.float32)
    found, far = nearest_first(indices, distances, 3)
    assert found.tolist() == [[3, 1, 2]]
    assert far.tolist() == [[np.float32(0.1), 0.5, 0.5]]
