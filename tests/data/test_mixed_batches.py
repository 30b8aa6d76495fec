import numpy as np
import pytest
import tensorflow as tf

from keras_distill import InputError, training_batches
from keras_distill.data.degradation_syntax import parse_degradations
from keras_distill.data.image_degradation import degrade
from keras_distill.data.mixed_sampler import MixedSampler, partner_rows
from keras_distill.data.mixed_views import mixed_seed
from keras_distill.data.pipeline import view_batches
from keras_distill.data.pixel_cache import PixelCache
from keras_distill.data.view_changes import ViewChanges

PLAIN = {"image_size": 16, "steps_per_epoch": 2, "classes_per_batch": 2, "images_per_class": 2}
MIXED = {"augment": "jitter,grey", "mixed_per_batch": 4, "mixup_alpha": 0.5}
OPTIONS = {**PLAIN, **MIXED, "seed": 3, "views": 2, "least_area": 0.3}


@pytest.fixture(scope="module")
def images(partly_labelled_images):
    return partly_labelled_images


@pytest.fixture(scope="module")
def batches(images):
    """Six batches of four labelled and four mixed rows."""
    return list(training_batches(images, **OPTIONS).take(6))


def same(one, other):
    tf.nest.map_structure(np.testing.assert_array_equal, one, other)


def views_of(images, view, *, size=16, mixed=True):
    """All images of one view, as caches go through them."""
    changes = ViewChanges(MIXED["augment"], MIXED["mixup_alpha"] if mixed else None)
    options = {"seed": 3, "least_area": 0.3, "batch_size": 4}
    shown = view_batches(images, image_size=size, view=view, changes=changes, **options)
    return np.concatenate([pixels for pixels, _ in shown])


@pytest.mark.slow
def test_mixed_rows_follow_the_plain_ones_and_have_no_class(images, batches):
    alone = training_batches(images, **OPTIONS | {"mixed_per_batch": 0}).take(6)
    for (x, y), (plain_x, plain_y) in zip(batches, alone, strict=True):
        assert x["image"].shape == (8, 16, 16, 3)
        assert x["image"].dtype == tf.uint8
        same((x["id"][:4], x["image"][:4], y[:4]), (plain_x["id"], plain_x["image"], plain_y))
        assert y[4:].numpy().tolist() == x["id"][4:].numpy().tolist() == [-1] * 4


@pytest.mark.slow
def test_mixed_rows_are_the_views_that_caches_go_through(images, batches):
    sampler = MixedSampler(len(images), batch_size=4, seed=3, views=2)
    views = [views_of(images, view) for view in range(2)]
    seen = set()
    for step, (x, _) in enumerate(batches):
        for row, view, pixels in zip(*sampler.rows(step), x["image"][4:], strict=True):
            np.testing.assert_array_equal(pixels, views[view][row])
            seen.add((int(row), int(view)))
    assert {view for _, view in seen} == {0, 1}
    assert len(seen) == 20  # of each view's eleven images, one is left out


@pytest.mark.slow
def test_a_mix_is_of_two_changed_views(images):
    mixes, plain = (views_of(images, 1, mixed=mixed).astype(float) for mixed in (True, False))
    crops = view_batches(images, image_size=16, view=1, seed=3, least_area=0.3)
    assert (np.concatenate([pixels for pixels, _ in crops]) != plain).any()
    partners, checked = partner_rows(len(images), view=1, seed=3), 0
    for row, mixed in enumerate(mixes):
        shares = {}  # by the images that it lies on a line with
        for index, other in enumerate(plain):
            if index != row:
                line = plain[row] - other
                share = np.sum((mixed - other) * line) / np.sum(line**2)
                if np.abs(other + share * line - mixed).max() < 1.01:
                    shares[index] = share
        assert -0.01 <= shares[partners[row]] <= 1.01
        if 0.1 < shares[partners[row]] < 0.9:  # else it lies near one of the images itself
            assert len(shares) == 1
            checked += 1
    assert checked >= 3


def test_teachers_see_the_same_mixes_at_their_size(images, batches):
    options = OPTIONS | {"teacher_image_size": {"a": 24, "b": 16}}
    large = training_batches(images, **OPTIONS | {"image_size": 24})
    for (x, _), (expected, _), (other, _) in zip(
        training_batches(images, **options).take(3), batches, large, strict=False
    ):
        same(x["image"], expected["image"])
        same(x["teacher_image"], {"a": other["image"], "b": expected["image"]})


def test_any_step_can_be_recomputed(images, batches):
    resumed = list(training_batches(images, **OPTIONS, first_step=4).take(2))
    same(resumed, batches[4:])


@pytest.mark.slow
def test_cached_crops_give_the_same_batches(images, batches, tmp_path):
    cache = PixelCache(images, tmp_path, image_size=16, views=2, least_area=0.3, seed=3)
    cache.fill()
    same(list(training_batches(images, **OPTIONS, cached_image=cache.lookup).take(6)), batches)
    bad = OPTIONS | {"degrade": "noise:20"}
    decoded = list(training_batches(images, **bad).take(2))
    same(list(training_batches(images, **bad, cached_image=cache.lookup).take(2)), decoded)


@pytest.mark.slow
def test_mixes_are_degraded_for_the_student_alone(images, batches):
    steps = "noise:20,jpeg:30"
    sampler = MixedSampler(len(images), batch_size=4, seed=3, views=2)
    for step, (x, _) in enumerate(training_batches(images, **OPTIONS, degrade=steps).take(3)):
        good = batches[step][0]["image"]
        same(x["teacher_image"], good)
        rows, views = (part.numpy() for part in sampler.rows(step))
        for place, (row, view) in enumerate(zip(rows, views, strict=True), 4):
            seed = mixed_seed(tf.constant([3 * 2**31 + view, images.ids[row]], tf.int64))
            expected = degrade(good[place], parse_degradations(steps), seed)
            same(x["image"][place], expected)


@pytest.mark.slow
def test_operations_and_squares_are_those_of_caches(images, tmp_path):
    """Decoded or from cached crops, in plain and in mixed rows, from the first step or later."""
    options = OPTIONS | {"augment": "randaugment:2:9,grey,cutout:0.4"}
    decoded = list(training_batches(images, **options).take(4))
    cache = PixelCache(images, tmp_path, image_size=16, views=2, least_area=0.3, seed=3)
    cache.fill()
    same(list(training_batches(images, **options, cached_image=cache.lookup).take(4)), decoded)
    same(list(training_batches(images, **options, first_step=2).take(2)), decoded[2:])
    changes = ViewChanges(options["augment"])
    for step, (x, _) in enumerate(decoded):
        shown = view_batches(
            images, image_size=16, view=step // 2, seed=3, least_area=0.3, changes=changes
        )
        found = {
            int(id): image for images, ids in shown for id, image in zip(ids, images, strict=True)
        }
        for id, image in zip(x["id"][:4], x["image"][:4], strict=True):
            np.testing.assert_array_equal(image, found[int(id)])


@pytest.mark.slow
@pytest.mark.parametrize("cached", [False, True])
def test_pairs_are_dealt_to_replicas(images, batches, cached, tmp_path):
    options = dict(OPTIONS)
    if cached:
        cache = PixelCache(images, tmp_path, image_size=16, views=2, least_area=0.3, seed=3)
        cache.fill()
        options["cached_image"] = cache.lookup
    whole = [x["image"].numpy() for x, _ in batches[:2]]
    dealt = list(training_batches(images, **options, replicas=2, own_replicas=range(2)).take(4))
    for index, (x, y) in enumerate(dealt):
        step, replica = divmod(index, 2)
        rows = [replica, replica + 2, 4 + 2 * replica, 5 + 2 * replica]
        np.testing.assert_array_equal(x["image"], whole[step][rows])
        assert (y.numpy() < 0).tolist() == [False, False, True, True]
    other = training_batches(images, **options, replicas=2, own_replicas=range(1, 2))
    same(list(other.take(2)), dealt[1::2])


@pytest.mark.slow
def test_mixed_rows_follow_several_views_of_an_image(images, batches):
    options = OPTIONS | {"views_per_image": 2, "images_per_class": 1}
    for (x, y), (expected, _) in zip(training_batches(images, **options), batches, strict=False):
        np.testing.assert_array_equal(x["image"][4:], expected["image"][4:])
        np.testing.assert_array_equal(x["id"][:4:2], x["id"][1:4:2])
        assert (y.numpy() < 0).tolist() == [False] * 4 + [True] * 4


def test_all_rows_may_be_mixed(images, batches):
    options = OPTIONS | {"classes_per_batch": 0}
    for (x, y), (expected, _) in zip(training_batches(images, **options), batches, strict=False):
        np.testing.assert_array_equal(x["image"], expected["image"][4:])
        assert y.numpy().tolist() == [-1] * 4


@pytest.mark.slow
def test_answers_are_looked_up_for_plain_and_for_mixed_rows(images):
    def ask(sign):
        return lambda rows, views: {"a": sign * tf.stack([rows, views], 1), "b": {"c": rows}}

    both = {"teacher_embedding": ask(1), "mixed_teacher_embedding": ask(-1)}
    features = {"teacher_features": ask(2), "mixed_teacher_features": ask(3)}
    sampler = MixedSampler(len(images), batch_size=4, seed=3, views=2)
    batches = training_batches(images, **OPTIONS, **both, **features, first_step=3)
    for step, (x, _) in enumerate(batches.take(2), 3):
        rows, views = (part.numpy() for part in sampler.rows(step))
        answers = x["teacher_embedding"]["a"].numpy()
        np.testing.assert_array_equal(images.ids[answers[:4, 0]], x["id"][:4])
        assert answers[:4, 1].tolist() == [step // 2 % 2] * 4
        np.testing.assert_array_equal(answers[4:], -np.stack([rows, views], 1))
        np.testing.assert_array_equal(x["teacher_embedding"]["b"]["c"][4:], rows)
        np.testing.assert_array_equal(x["teacher_features"]["a"][4:, 0], 3 * rows)


@pytest.mark.parametrize(
    ("options", "given"),
    [
        ({}, "teacher_embedding"),
        ({}, "mixed_teacher_embedding"),
        ({}, "teacher_features"),
        ({"classes_per_batch": 0}, "teacher_embedding"),
        ({"mixed_per_batch": 0}, "mixed_teacher_embedding"),
    ],
)
def test_answers_for_some_rows_only_are_refused(images, options, given):
    answers = {given: lambda rows, views: rows}
    with pytest.raises(InputError, match=r"for the plain rows of a batch, `mixed_teacher_"):
        training_batches(images, **OPTIONS | options, **answers)


def test_unusable(images):
    with pytest.raises(InputError, match="'haze' is unknown"):
        training_batches(images, **OPTIONS | {"augment": "haze"})
    with pytest.raises(InputError, match="`mixup_alpha=0` must be"):
        training_batches(images, **OPTIONS | {"mixup_alpha": 0.0})
    with pytest.raises(InputError, match="`batch_size=3` must be an even number"):
        training_batches(images, **OPTIONS | {"mixed_per_batch": 3})
    with pytest.raises(ValueError, match="2 rows are left over when dealt to `replicas=2`"):
        training_batches(images, **OPTIONS | {"mixed_per_batch": 6}, replicas=2)
    with pytest.raises(ValueError, match="the centre is never mixed"):
        view_batches(images, image_size=16, view=None, changes=ViewChanges(mixup_alpha=1.0))
