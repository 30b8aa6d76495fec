from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_distill import InputError
from keras_distill.data.album_batches import album_batches
from keras_distill.data.album_sampler import AlbumSampler
from keras_distill.data.albums import Albums
from keras_distill.data.image_set import ImageSet

SIZES = (1, 9, 4, 5, 2, 3)
TOTAL = sum(SIZES)


def drawn(root=Path(), vectors=None):
    """Six albums, of which photograph i has the number i."""
    names = np.array([f"{number}.png" for number in range(TOTAL)])
    images = ImageSet(root, names, np.full(TOTAL, -1, np.int64), ())
    members = np.split(np.arange(TOTAL), np.cumsum(SIZES)[:-1])
    targets = np.array([[1, 0], [1, 0], [1, 0], [1, 0], [1, 0], [0, 1]], np.int8)
    albums = np.array([str(number) for number in range(6)])
    return Albums(images, albums, tuple(members), targets, ("a", "b"), vectors=vectors)


def sampler_of(albums, **options):
    return AlbumSampler(albums, **({"batch_size": 4, "photographs": 4, "seed": 3} | options))


def test_photographs_are_drawn_without_replacement_and_small_albums_are_masked():
    albums = drawn()
    sampler = sampler_of(albums, batch_size=6)
    seen = set()
    for step in range(20):
        rows, photographs, mask, views = (part.numpy() for part in sampler.rows(step))
        assert sorted(rows.tolist()) == list(range(6))
        assert (views == step).all()
        for album, own, counts in zip(rows, photographs, mask, strict=True):
            assert counts.tolist() == [place < SIZES[album] for place in range(4)]
            assert len(set(own[counts].tolist())) == min(SIZES[album], 4)
            assert set(own.tolist()) <= set(albums.members[album].tolist())
            if album == 1:
                seen.add(tuple(own.tolist()))
    assert len(seen) == 20
    assert {photograph for own in seen for photograph in own} == set(albums.members[1].tolist())


def test_every_photograph_is_as_likely():
    albums = drawn()
    sampler = sampler_of(albums, batch_size=6, photographs=3)
    counts = np.zeros(TOTAL)
    for step in range(300):
        _, photographs, mask, _ = (part.numpy() for part in sampler.rows(step))
        np.add.at(counts, photographs[mask], 1)
    own = counts[albums.members[1]]  # 100 each on average, with a deviation of 8
    assert own.sum() == 900
    assert abs(own - 100).max() < 35


def test_rows_are_a_function_of_seed_and_step():
    albums = drawn()
    for step in (7, 0):
        first, again = (sampler_of(albums).rows(step) for _ in range(2))
        assert all((a == b).numpy().all() for a, b in zip(first, again, strict=True))
    other = sampler_of(albums, seed=4).rows(7)
    assert not (other[1] == sampler_of(albums).rows(7)[1]).numpy().all()


def test_rare_labels_are_shown_again():
    sampler = sampler_of(drawn(), least_positives=3)
    assert sampler.cycle_length == 8


def test_unusable_numbers():
    with pytest.raises(InputError, match="`photographs=0`"):
        sampler_of(drawn(), photographs=0)
    with pytest.raises(InputError, match="`batch_size=0`"):
        sampler_of(drawn(), batch_size=0)
    vectors = np.zeros((TOTAL, 2), np.float32)
    with pytest.raises(ValueError, match="1 albums are left over"):
        album_batches(drawn(vectors=vectors), sampler_of(drawn()), replicas=3)
    with pytest.raises(ValueError, match="`image_size` is needed"):
        album_batches(drawn(), sampler_of(drawn()))


def test_batches_of_vectors_hold_what_was_drawn():
    vectors = np.random.default_rng(0).normal(size=(TOTAL, 5)).astype(np.float32)
    albums = drawn(vectors=vectors)
    sampler = sampler_of(albums)
    batches = album_batches(albums, sampler, outputs=("logits", "other"), first_step=2)
    for step, (x, y) in zip((2, 3), batches, strict=False):
        rows, photographs, mask, _ = sampler.rows(step)
        np.testing.assert_array_equal(x["vectors"], vectors[photographs.numpy()])
        np.testing.assert_array_equal(x["mask"], mask)
        for name in ("logits", "other"):
            np.testing.assert_array_equal(y[name], albums.targets[rows.numpy()])


@pytest.mark.quick(1)
@pytest.mark.parametrize("form", ["vectors", "image"])
def test_replicas_share_the_albums_of_a_step(tmp_path, form):
    """Each photograph has its number as its grey value, and as its vector."""
    vectors = None
    if form == "vectors":
        vectors = np.arange(TOTAL, dtype=np.float32)[:, None]
    else:
        for number in range(TOTAL):
            Image.new("RGB", (8, 8), (number * 9,) * 3).save(tmp_path / f"{number}.png")
    albums = drawn(tmp_path, vectors)
    options = {} if form == "vectors" else {"image_size": 8, "least_area": 1.0}
    sampler = sampler_of(albums)

    def numbers(x):
        if form == "vectors":
            return x["vectors"].numpy()[..., 0]
        assert x["image"].dtype == np.uint8
        assert x["image"].shape[1:] == (4, 8, 8, 3)
        return np.round(x["image"].numpy()[:, :, 4, 4, 0] / 9)

    rows, photographs, mask, _ = (part.numpy() for part in sampler.rows(5))
    whole = next(iter(album_batches(albums, sampler, first_step=5, **options)))
    np.testing.assert_array_equal(numbers(whole[0]), photographs)
    np.testing.assert_array_equal(whole[0]["mask"], mask)
    np.testing.assert_array_equal(whole[1]["logits"], albums.targets[rows])
    parts = album_batches(
        albums, sampler, first_step=5, replicas=2, own_replicas=range(2), **options
    )
    for replica, (x, y) in zip(range(2), parts, strict=False):
        np.testing.assert_array_equal(numbers(x), photographs[replica::2])
        np.testing.assert_array_equal(x["mask"], mask[replica::2])
        np.testing.assert_array_equal(y["logits"], albums.targets[rows[replica::2]])
    second = album_batches(
        albums, sampler, first_step=5, replicas=2, own_replicas=range(1, 2), **options
    )
    np.testing.assert_array_equal(numbers(next(iter(second))[0]), photographs[1::2])
