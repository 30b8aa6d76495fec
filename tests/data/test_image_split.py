import numpy as np
import pytest

from keras_distill.data.image_split import split_by_image
from keras_distill.errors import InputError


def test_each_class_gives_its_share():
    labels = np.repeat([5, 2, 9], [10, 20, 100])
    parts = split_by_image(labels, {"test": 0.2, "validation": 0.3})
    for label, tested, validated in ((5, 2, 3), (2, 4, 6), (9, 20, 30)):
        own = parts[labels == label]
        assert (own == "test").sum() == tested
        assert (own == "validation").sum() == validated
        assert (own == "train").sum() == len(own) - tested - validated


def test_the_seed_alone_decides():
    labels = np.arange(100) % 7
    first, again, other = (split_by_image(labels, {"test": 0.3}, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_classes_of_few_images_give_as_many_on_average_and_keep_one():
    labels = np.arange(3000) // 3
    parts = split_by_image(labels, {"test": 0.2})
    assert 0.17 < (parts == "test").mean() < 0.23
    single = split_by_image(np.arange(50), {"test": 0.9})
    assert (single == "train").all()
    pairs = split_by_image(np.arange(100) // 2, {"test": 0.9})
    assert all((pairs[2 * label : 2 * label + 2] == "train").any() for label in range(50))


def test_nothing_to_split():
    assert split_by_image(np.zeros(0, int), {"test": 0.5}).tolist() == []
    assert set(split_by_image(np.arange(9) // 3, {"test": 0.0})) == {"train"}
    assert set(split_by_image(np.arange(9) // 3, {})) == {"train"}


@pytest.mark.parametrize("shares", [{"test": 1.0}, {"test": -0.1}, {"a": 0.5, "b": 0.5}])
def test_unusable_shares(shares):
    with pytest.raises(InputError, match="must be shares, together below 1"):
        split_by_image(np.arange(4), shares)
