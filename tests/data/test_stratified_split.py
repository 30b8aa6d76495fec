import numpy as np
import pytest

from keras_distill import InputError, stratified_split

SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}


def random_targets(seed, images=400, labels=12):
    rng = np.random.default_rng(seed)
    targets = rng.random((images, labels)) < np.geomspace(0.5, 0.02, labels)
    targets = targets.astype(np.int8)
    targets[rng.random(targets.shape) < 0.1] = -1
    return targets


@pytest.mark.parametrize("seed", range(5))
def test_each_part_has_its_share_of_images_and_of_each_label(seed):
    targets = random_targets(seed)
    parts = stratified_split(targets, SHARES, seed=seed)
    total = (targets == 1).sum(axis=0)
    for name, share in SHARES.items():
        chosen = parts == name
        assert chosen.sum() == pytest.approx(share * len(targets), abs=12)
        np.testing.assert_allclose((targets[chosen] == 1).sum(axis=0), share * total, atol=4)


def test_it_is_closer_than_a_random_split():
    targets = random_targets(0)
    wanted = 0.2 * (targets == 1).sum(axis=0)

    def off(chosen):
        return np.abs((targets[chosen] == 1).sum(axis=0) - wanted).mean()

    rng = np.random.default_rng(0)
    at_random = np.mean([off(rng.permutation(400) < 80) for _ in range(20)])
    assert off(stratified_split(targets, SHARES) == "test") < at_random / 4


def test_equal_seeds_give_equal_splits_and_others_do_not():
    targets = random_targets(1)
    first = stratified_split(targets, SHARES, seed=3)
    np.testing.assert_array_equal(first, stratified_split(targets, SHARES, seed=3))
    assert (first != stratified_split(targets, SHARES, seed=4)).mean() > 0.2
    scaled = {name: 10 * share for name, share in SHARES.items()}
    np.testing.assert_array_equal(first, stratified_split(targets, scaled, seed=3))


def test_few_images():
    parts = stratified_split(np.ones((10, 1)), {"a": 1, "b": 1})
    assert sorted(parts.tolist()) == ["a"] * 5 + ["b"] * 5
    # A label of two images is in both parts, whatever the other labels.
    for seed in range(20):
        targets = random_targets(seed, images=60, labels=3)
        targets[:, 1] = 0
        targets[:2, :2] = 1  # and the most frequent one too
        parts = stratified_split(targets, {"a": 1, "b": 1}, seed=seed)
        assert set(parts[:2]) == {"a", "b"}
    unlabelled = stratified_split(np.zeros((10, 3)), {"a": 0.3, "b": 0.7})
    assert (unlabelled == "a").sum() == 3
    assert stratified_split(np.zeros((0, 3)), {"a": 1.0}).tolist() == []
    assert stratified_split(np.ones((2, 1)), {"only": 1.0}).tolist() == ["only"] * 2


@pytest.mark.parametrize(
    ("targets", "shares"),
    [
        (np.zeros(3), {"a": 1.0}),
        (np.zeros((3, 1)), {}),
        (np.zeros((3, 1)), {"a": 0.5, "b": 0.0}),
        (np.zeros((3, 1)), {"a": float("nan")}),
    ],
)
def test_what_cannot_be_split(targets, shares):
    with pytest.raises(InputError, match=r"`(targets|shares)"):
        stratified_split(targets, shares)
