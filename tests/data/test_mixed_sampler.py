import numpy as np
import pytest

from keras_distill import InputError
from keras_distill.data import random_order
from keras_distill.data.mixed_sampler import MixedSampler, partner_rows


def drawn(sampler, steps):
    rows, views = zip(*(sampler.rows(step) for step in range(steps)), strict=True)
    return np.concatenate(rows), np.concatenate(views)


@pytest.mark.parametrize("count", [2, 7, 12, 30])
@pytest.mark.parametrize("batch_size", [2, 6, 32])
@pytest.mark.parametrize("views", [None, 3])
def test_each_view_pairs_all_images_and_the_two_are_side_by_side(count, batch_size, views):
    sampler = MixedSampler(count, batch_size=batch_size, seed=5, views=views)
    cycle, cycles = count // 2 * 2, 5
    rows, shown = drawn(sampler, -(-cycles * cycle // batch_size))
    for number in range(cycles):
        part = slice(number * cycle, (number + 1) * cycle)
        view = number if views is None else number % views
        assert (shown[part] == view).all()
        assert len(np.unique(rows[part])) == cycle
        pairs = rows[part].reshape(-1, 2)
        partners = partner_rows(count, view=view, seed=5)
        np.testing.assert_array_equal(partners[pairs], pairs[:, ::-1])


def test_orders_of_many_images(monkeypatch):
    monkeypatch.setattr(random_order, "SORTED", 1)  # as with more than a thousand
    sampler = MixedSampler(71, batch_size=10, seed=2)
    rows, _ = drawn(sampler, 7)
    assert len(np.unique(rows)) == 70
    pairs = rows.reshape(-1, 2)
    np.testing.assert_array_equal(partner_rows(71, view=0, seed=2)[pairs], pairs[:, ::-1])


def test_partners_are_a_function_of_seed_and_view():
    base = partner_rows(40, view=3, seed=1)
    np.testing.assert_array_equal(base, partner_rows(40, view=3, seed=1))
    for other in (partner_rows(40, view=4, seed=1), partner_rows(40, view=3, seed=2)):
        assert (other == base).mean() < 0.3
    np.testing.assert_array_equal(base[base], np.arange(40))
    assert (base != np.arange(40)).all()


def test_who_is_left_out_has_a_partner_too():
    partners = partner_rows(9, view=0)
    assert (partners != np.arange(9)).all()
    assert (partners[partners] != np.arange(9)).sum() == 1


def test_partners_are_uniform():
    counts = np.zeros((6, 6))
    for view in range(300):
        counts[np.arange(6), partner_rows(6, view=view)] += 1
    apart = ~np.eye(6, dtype=bool)
    np.testing.assert_allclose(counts[apart] / 300, 0.2, atol=0.1)  # 4.3 standard deviations
    assert counts.trace() == 0


def test_pairs_that_come_again_are_in_another_order():
    first, second = np.split(drawn(MixedSampler(20, batch_size=20, views=1), 2)[0], 2)
    assert (first != second).any()
    assert {tuple(sorted(p)) for p in first.reshape(-1, 2)} == {
        tuple(sorted(p)) for p in second.reshape(-1, 2)
    }


def test_any_step_by_itself():
    sampler = MixedSampler(11, batch_size=4, seed=9, views=4)
    rows, views = drawn(sampler, 30)
    later = sampler.rows(17)
    np.testing.assert_array_equal(later[0], rows[68:72])
    np.testing.assert_array_equal(later[1], views[68:72])


@pytest.mark.parametrize(("count", "batch_size"), [(5, 4), (12, 6), (2, 8)])
def test_views_that_are_shown(count, batch_size):
    sampler = MixedSampler(count, batch_size=batch_size)
    assert sampler.views_until(0) == 0
    for steps in range(1, 9):
        assert sampler.views_until(steps) == drawn(sampler, steps)[1].max() + 1
    assert MixedSampler(count, batch_size=batch_size, views=2).views_until(1000) == 2


def test_unusable():
    with pytest.raises(InputError, match="`count=1`: to mix images, give two or more"):
        MixedSampler(1, batch_size=2)
    for size in (0, 3):
        with pytest.raises(InputError, match=rf"`batch_size={size}` must be an even number"):
            MixedSampler(4, batch_size=size)
