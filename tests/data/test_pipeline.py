import io
import itertools
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_distill import InputError, evaluation_batches, training_batches
from keras_distill.data import pipeline
from keras_distill.data.class_sampler import ClassSampler
from keras_distill.data.degradation_syntax import parse_degradations
from keras_distill.data.image_degradation import degrade
from keras_distill.data.image_set import ImageSet, read_folder
from keras_distill.data.pipeline import view_batches
from keras_distill.data.views import centre_view


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Five classes of three noise images each, JPEG and PNG, of two shapes."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for label, index in itertools.product(range(5), range(3)):
        shape = (40, 60, 3) if index else (50, 36, 3)
        suffix, options = ("png", {}) if index == 2 else ("jpg", {"quality": 90})
        path = root / f"class{label}/{index}.{suffix}"
        path.parent.mkdir(exist_ok=True)
        image = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
        buffer = io.BytesIO()
        image.save(buffer, path.suffix[1:].replace("jpg", "jpeg"), **options)
        path.write_bytes(buffer.getvalue())
    return read_folder(root)


def take(images, count, **options):
    arguments = {"image_size": 16, "steps_per_epoch": 4, "classes_per_batch": 2}
    batches = training_batches(images, **arguments | {"images_per_class": 3} | options)
    return [(x, y.numpy()) for x, y in batches.take(count)]


def assert_same(batches, others):
    assert len(batches) == len(others)
    for (x, y), (other_x, other_y) in zip(batches, others, strict=True):
        assert x.keys() == other_x.keys()
        for key in x:
            np.testing.assert_array_equal(x[key], other_x[key])
        np.testing.assert_array_equal(y, other_y)


def views_by_id(batches, key="image"):
    views = {}
    for x, _ in batches:
        for image_id, view in zip(x["id"].numpy(), x[key].numpy(), strict=True):
            views.setdefault(int(image_id), []).append(view)
    return views


def test_layout_of_a_training_batch(images):
    batches = training_batches(images, image_size=16, steps_per_epoch=4, classes_per_batch=2)
    x_spec, y_spec = batches.element_spec
    assert x_spec == {
        "image": tf.TensorSpec([16, 16, 16, 3], tf.uint8),
        "id": tf.TensorSpec([16], tf.int64),
    }
    assert y_spec == tf.TensorSpec([16], tf.int64)
    sampler = ClassSampler(images.labels, classes_per_batch=2, images_per_class=8)
    for step, (x, y) in enumerate(batches.take(5)):
        rows = sampler.rows(step).numpy()
        np.testing.assert_array_equal(x["id"], images.ids[rows])
        np.testing.assert_array_equal(y, images.labels[rows])
        by_class = y.numpy().reshape(2, 8)
        assert (by_class == by_class[:, :1]).all()
        assert by_class[0, 0] != by_class[1, 0]


def test_labels_are_those_of_the_whole_data_set(images):
    batches = take(images.of_classes(range(1, 5)), 2)
    assert {int(label) for _, y in batches for label in y} == {1, 2, 3, 4}


def test_any_step_can_be_recomputed_from_seed_and_step(images):
    batches = take(images, 11, seed=3, teacher_image_size=24)
    again = take(images, 4, seed=3, teacher_image_size=24, first_step=7)
    assert_same(again, batches[7:])


def test_two_iterations_over_one_dataset_are_equal(images):
    batches = training_batches(
        images, image_size=16, steps_per_epoch=2, classes_per_batch=2, images_per_class=2
    ).take(5)
    assert_same(list(batches), list(batches))


def test_another_seed_gives_other_batches_and_other_views(images):
    one, other = take(images, 6, seed=0), take(images, 6, seed=1)
    assert any(
        (x["id"].numpy() != other_x["id"].numpy()).any()
        for (x, _), (other_x, _) in zip(one, other, strict=True)
    )
    views, others = views_by_id(one), views_by_id(other)
    shared = views.keys() & others.keys()
    assert len(shared) > 5
    assert all((views[i][0] != others[i][0]).any() for i in shared)


def test_an_image_has_one_view_an_epoch_and_another_in_the_next(images):
    # Five steps of two classes show all images twice.
    batches, seen = take(images, 15, steps_per_epoch=5), []
    for epoch in range(3):
        views = views_by_id(batches[5 * epoch : 5 * epoch + 5])
        assert len(views) == len(images)
        for of_image in views.values():
            assert len(of_image) == 2
            np.testing.assert_array_equal(*of_image)
        seen.append({image_id: of_image[0] for image_id, of_image in views.items()})
    for one, other in itertools.combinations(seen, 2):
        assert all((one[image_id] != other[image_id]).any() for image_id in one)


def test_images_of_one_batch_are_cropped_differently(tmp_path):
    for label, index in itertools.product(range(4), range(6)):
        (tmp_path / str(label)).mkdir(exist_ok=True)
        pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{label}/{index}.png")
    ((x, _),) = take(read_folder(tmp_path), 1, images_per_class=6)
    assert len(np.unique(x["image"].numpy().reshape(12, -1), axis=0)) == 12


def test_the_view_of_an_image_depends_on_nothing_else_in_the_set(images):
    views = views_by_id(take(images, 4))
    others = views_by_id(take(images.of_classes(range(1, 5)), 4))
    shared = views.keys() & others.keys()
    assert len(shared) >= 9
    for image_id in shared:
        np.testing.assert_array_equal(views[image_id][0], others[image_id][0])


@pytest.mark.slow
def test_the_teacher_sees_the_same_crop_at_its_size(images):
    batches = take(images, 5, teacher_image_size=24)
    assert batches[0][0]["teacher_image"].shape == (6, 24, 24, 3)
    assert batches[0][0]["teacher_image"].dtype == tf.uint8
    # The same seed draws the same crops, whoever sees them.
    alone = take(images, 5)
    at_teacher_size = take(images, 5, image_size=24)
    for (x, _), (student, _), (teacher, _) in zip(batches, alone, at_teacher_size, strict=True):
        np.testing.assert_array_equal(x["image"], student["image"])
        np.testing.assert_array_equal(x["teacher_image"], teacher["image"])


@pytest.mark.slow
def test_several_teachers_see_the_same_crop_each_at_its_size(images):
    batches = take(images, 3, teacher_image_size={"a": 24, "b": 8, "c": 16, "d": 24})
    for size, names in ((24, "ad"), (8, "b"), (16, "c")):
        for (x, _), (alone, _) in zip(batches, take(images, 3, image_size=size), strict=True):
            assert x["teacher_image"].keys() == set("abcd")
            for name in names:
                np.testing.assert_array_equal(x["teacher_image"][name], alone["image"])
    assert "teacher_image" not in take(images, 1, teacher_image_size={})[0][0]


def test_an_image_is_decoded_once_and_resized_once_for_each_size(images, monkeypatch):
    asked = []
    views = pipeline.random_views

    def spy(data, sizes, seed, **options):
        asked.append(list(sizes))
        return views(data, sizes, seed, **options)

    monkeypatch.setattr(pipeline, "random_views", spy)
    monkeypatch.setattr(pipeline, "_view_of_sizes", pipeline._view_of_sizes.__wrapped__)
    sizes = {"a": 24, "b": 8, "c": 16, "d": 24}
    training_batches(
        images, image_size=16, steps_per_epoch=4, classes_per_batch=2, teacher_image_size=sizes
    )
    assert asked == [[16, 24, 8]]


def test_views_come_round_again(images):
    unlimited, of_two = (
        [views_by_id(batches[step : step + 5]) for step in range(0, len(batches), 5)]
        for batches in (
            take(images, 15, steps_per_epoch=5),
            take(images, 25, steps_per_epoch=5, views=2),
        )
    )
    for epoch, views in enumerate(of_two):
        assert len(views) == len(images)
        for image_id, of_image in views.items():
            for view in of_image:
                np.testing.assert_array_equal(view, unlimited[epoch % 2][image_id][0])
    assert all((of_two[0][i][0] != of_two[1][i][0]).any() for i in of_two[0])
    assert all((of_two[0][i][0] != unlimited[2][i][0]).any() for i in of_two[0])


@pytest.mark.parametrize(
    ("view", "size", "options"),
    [(0, 16, {}), (1, 16, {"seed": 2**32 - 1}), (2, 24, {"seed": 5, "least_area": 0.5})],
)
def test_view_batches_show_what_training_shows(images, view, size, options):
    batches = take(
        images,
        10,
        steps_per_epoch=5,
        views=3,
        first_step=5 * (view + 3),
        teacher_image_size=24,
        **options,
    )
    key = {16: "image", 24: "teacher_image"}[size]
    trained = views_by_id(batches[:5], key)
    batches = list(view_batches(images, image_size=size, view=view, batch_size=4, **options))
    assert [len(ids) for _, ids in batches] == [4, 4, 4, 3]
    np.testing.assert_array_equal(np.concatenate([ids for _, ids in batches]), images.ids)
    assert batches[0][0].dtype == tf.uint8
    for pixels, ids in batches:
        for shown, image_id in zip(pixels.numpy(), ids.numpy(), strict=True):
            np.testing.assert_array_equal(shown, trained[int(image_id)][0])


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [1, 2])
def test_several_views_of_an_image_in_a_batch(images, replicas):
    def look_up(rows, views):
        return tf.stack([rows, views], axis=1)

    dealt = {"replicas": replicas, "own_replicas": range(replicas)}
    options = {"images_per_class": 2, "steps_per_epoch": 2, "views": 5, "seed": 3}
    options |= {"teacher_embedding": look_up, "teacher_image_size": 24}
    single = take(images, 2 * 5, **options)
    several = take(images, 6 * replicas, views_per_image=2, **options, **dealt)
    view_of = {}  # each view of an image looks as it does in a batch of single views
    for x, _ in single:
        for place, (row, view) in enumerate(x["teacher_embedding"].numpy()):
            view_of[row, view] = x["image"][place], x["teacher_image"][place]
    checked = 0
    for step in range(6):
        parts = several[step * replicas : (step + 1) * replicas]
        seen = np.concatenate([x["teacher_embedding"] for x, _ in parts])
        ids = np.concatenate([x["id"] for x, _ in parts])
        labels = np.concatenate([y for _, y in parts])
        rows = ClassSampler(images.labels, classes_per_batch=2, images_per_class=2, seed=3)
        shown = [(2 * (step // 2) + view) % 5 for view in (0, 1)]
        expected = [(row, view) for row in rows.rows(step).numpy() for view in shown]
        assert sorted(map(tuple, seen.tolist())) == sorted(expected)
        if replicas == 1:
            assert list(map(tuple, seen.tolist())) == expected  # next to each other
        np.testing.assert_array_equal(ids, images.ids[seen[:, 0]])
        np.testing.assert_array_equal(labels, images.labels[seen[:, 0]])
        for key, which in (("image", 0), ("teacher_image", 1)):
            pixels = np.concatenate([x[key] for x, _ in parts])
            for pair, picture in zip(map(tuple, seen.tolist()), pixels, strict=True):
                if pair in view_of:
                    np.testing.assert_array_equal(picture, view_of[pair][which])
                    checked += 1
    assert checked > 20
    again = take(images, replicas, views_per_image=2, first_step=4, **options, **dealt)
    assert_same(again, several[4 * replicas : 5 * replicas])


def test_several_views_of_unlabelled_images(images):
    mixed = images.of_classes(range(3)).with_unlabelled(images.of_classes(range(3, 5)))
    ((x, y),) = take(mixed, 1, unlabelled_per_batch=4, views_per_image=3)
    ids = x["id"].numpy().reshape(10, 3)
    assert (ids == ids[:, :1]).all()
    assert (y.reshape(10, 3) < 0).sum() == 12
    np.testing.assert_array_equal(y.reshape(10, 3)[6:], -1)
    pixels = x["image"].numpy().reshape(10, 3, -1)
    assert all((a != b).any() for a, b, _ in pixels)


@pytest.mark.parametrize("count", [0, 4])
def test_more_views_of_an_image_than_there_are(images, count):
    with pytest.raises(ValueError, match=f"`views_per_image={count}` must be from 1 to `views=3`"):
        take(images, 1, views_per_image=count, views=3)


def test_view_batches_of_some_rows(images):
    ((whole, ids),) = view_batches(images, image_size=16, view=4)
    ((pixels, some),) = view_batches(images, image_size=16, view=4, rows=range(3, 8))
    np.testing.assert_array_equal(some, ids[3:8])
    np.testing.assert_array_equal(pixels, whole[3:8])


def test_view_batches_of_the_centre_are_those_of_the_evaluation(images):
    ((pixels, ids),) = view_batches(images, image_size=16, view=None, seed=3)
    ((x, _),) = evaluation_batches(images, image_size=16)
    np.testing.assert_array_equal(pixels, x["image"])
    np.testing.assert_array_equal(ids, x["id"])


def test_teacher_embeddings_are_looked_up_by_row_and_view(images):
    def look_up(rows, views):
        assert rows.shape == views.shape == (6,)
        return {"both": tf.stack([rows, views], 1), "row": rows}

    plain = take(images, 12, steps_per_epoch=3, views=2)
    batches = take(images, 12, steps_per_epoch=3, views=2, teacher_embedding=look_up)
    sampler = ClassSampler(images.labels, classes_per_batch=2, images_per_class=3)
    for step, ((x, y), other) in enumerate(zip(batches, plain, strict=True)):
        assert x.keys() == {"image", "id", "teacher_embedding"}
        answers = x.pop("teacher_embedding")
        rows, views = answers["both"].numpy().T
        np.testing.assert_array_equal(rows, sampler.rows(step))
        np.testing.assert_array_equal(images.ids[rows], x["id"])
        np.testing.assert_array_equal(answers["row"], rows)
        assert views.tolist() == [step // 3 % 2] * 6
        assert_same([(x, y)], [other])


def test_views_that_are_looked_up_are_not_limited_by_themselves(images):
    batches = take(
        images, 2, steps_per_epoch=1, first_step=2**40, teacher_embedding=lambda rows, views: views
    )
    for step, (x, _) in enumerate(batches):
        np.testing.assert_array_equal(x["teacher_embedding"], [2**40 + step] * 6)


def test_the_least_area_reaches_the_crop(images):
    # No crop of these shapes is that large at an allowed aspect ratio, so all is shown.
    files = dict(zip(images.ids.tolist(), images.paths, strict=True))
    for image_id, views in views_by_id(take(images, 2, least_area=0.999)).items():
        pixels = np.asarray(Image.open(images.root / files[image_id]))
        whole = tf.image.resize(pixels, [16, 16], antialias=True).numpy()
        for view in views:
            assert min(abs(view - whole).max(), abs(view - whole[:, ::-1]).max()) < 0.51


@pytest.fixture(scope="module")
def turned(photograph, tmp_path_factory):
    """Two classes of four photographs as phones store them, and their upright copies."""
    folders = [tmp_path_factory.mktemp(name) for name in ("stored", "upright")]
    for orientation in range(1, 9):
        shape = (70, 45) if orientation % 2 else (45, 70)
        name = f"{orientation > 4:d}/{orientation}.jpg"  # seeds depend on it
        for folder, data in zip(folders, photograph(orientation, shape, seed=5), strict=True):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(data)
    return [read_folder(folder) for folder in folders]


WAYS = {
    "training": lambda images: [x["image"] for x, _ in take(images, 6, images_per_class=4)],
    "a teacher of another size": lambda images: [
        x["teacher_image"] for x, _ in take(images, 6, images_per_class=4, teacher_image_size=60)
    ],
    "cached views": lambda images: [x for x, _ in view_batches(images, image_size=20, view=3)],
    "cached centres": lambda images: [x for x, _ in view_batches(images, image_size=20, view=None)],
    "evaluation": lambda images: [x["image"] for x, _ in evaluation_batches(images, image_size=20)],
}


@pytest.mark.quick(2)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_photographs_are_seen_upright(turned, way):
    stored, upright = (np.concatenate(way(images)).astype(int) for images in turned)
    assert len(stored) >= 8
    np.testing.assert_allclose(stored, upright, atol=1)  # the axes are resized in another order
    assert np.abs(stored[:-1] - upright[1:]).max((1, 2, 3)).min() > 30


DEGRADE = "low_resolution:6,noise:30,jpeg:40"


def test_the_student_sees_the_degraded_crop_and_the_teacher_the_good_one(images):
    plain = take(images, 3, seed=4)
    batches = take(images, 3, seed=4, degrade=DEGRADE)
    for step, ((x, y), (good, labels)) in enumerate(zip(batches, plain, strict=True)):
        assert x.keys() == {"image", "id", "teacher_image"}
        np.testing.assert_array_equal(x["teacher_image"], good["image"])
        np.testing.assert_array_equal(x["id"], good["id"])
        np.testing.assert_array_equal(y, labels)
        for bad, image, image_id in zip(x["image"], good["image"], good["id"], strict=True):
            seed = tf.stack([tf.constant(4 * 2**31 + step // 4, tf.int64), image_id])
            expected = degrade(image, parse_degradations(DEGRADE), seed)
            np.testing.assert_array_equal(bad, expected)
            assert (bad.numpy() != image.numpy()).any()


@pytest.mark.slow
def test_degraded_batches_are_a_function_of_seed_and_step(images):
    options = {"seed": 3, "teacher_image_size": 24, "degrade": "noise:9,blur:1,edges"}
    batches = take(images, 6, **options)
    assert_same(take(images, 2, first_step=4, **options), batches[4:])
    first, epoch_later = take(images, 5, degrade="noise:9", steps_per_epoch=1)[::4]
    assert (first[0]["image"].numpy() != epoch_later[0]["image"].numpy()).any()


def test_no_teacher_sees_a_degraded_image(images):
    sizes = {"a": 24, "b": 16}
    good = take(images, 2, teacher_image_size=sizes)
    for (x, _), (expected, _) in zip(
        take(images, 2, teacher_image_size=sizes, degrade="grey"), good, strict=True
    ):
        for name in sizes:
            np.testing.assert_array_equal(x["teacher_image"][name], expected["teacher_image"][name])
        assert (x["image"].numpy() == x["image"].numpy()[..., :1]).all()


@pytest.mark.slow
def test_an_answer_that_is_looked_up_needs_no_teacher_image(images):
    look_up = {"teacher_embedding": lambda rows, views: rows}
    batches = take(images, 2, degrade=DEGRADE, **look_up)
    for (x, _), (asked, _) in zip(batches, take(images, 2, degrade=DEGRADE), strict=True):
        assert x.keys() == {"image", "id", "teacher_embedding"}
        np.testing.assert_array_equal(x["image"], asked["image"])
    ((x, _),) = take(images, 1, degrade=DEGRADE, teacher_image_size=16, **look_up)
    assert x.keys() == {"image", "id", "teacher_embedding", "teacher_image"}


def rows_of(x, y):
    return np.stack([x["id"].numpy(), y], axis=1).tolist()


@pytest.mark.parametrize("cached", [False, True])
def test_the_rows_of_a_batch_are_dealt_to_replicas(images, cached):
    options = {}
    if cached:
        options["cached_image"] = lambda rows, views: tf.zeros([len(rows), 16, 16, 3], tf.uint8)
    whole = [rows_of(x, y) for x, y in take(images, 2, **options)]
    dealt = {}
    for own in (range(1), range(1, 3)):  # two processes, one of which has two devices
        parts = take(images, 2 * len(own), replicas=3, own_replicas=own, **options)
        assert {x["image"].shape[0] for x, _ in parts} == {2}
        for place, (x, y) in enumerate(parts):
            dealt[place // len(own), own[place % len(own)]] = rows_of(x, y)
    for step, rows in enumerate(whole):
        assert [dealt[step, replica] for replica in range(3)] == [rows[r::3] for r in range(3)]


def test_rows_that_cannot_be_dealt(images):
    with pytest.raises(ValueError, match="2 rows are left over when dealt to `replicas=4`"):
        take(images, 1, replicas=4)


@pytest.mark.slow
def test_degraded_evaluation(images):
    ((good, labels),) = evaluation_batches(images, image_size=16)
    ((x, y),) = evaluation_batches(images, image_size=16, degrade=DEGRADE)
    np.testing.assert_array_equal(x["id"], good["id"])
    np.testing.assert_array_equal(y, labels)
    for bad, image, image_id in zip(x["image"], good["image"], good["id"], strict=True):
        expected = degrade(image, parse_degradations(DEGRADE), tf.stack([-1, image_id]))
        np.testing.assert_array_equal(bad, expected)
    ((alone, _),) = evaluation_batches(images.select(np.array([7])), image_size=16, degrade=DEGRADE)
    np.testing.assert_array_equal(alone["image"][0], x["image"][7])


@pytest.mark.parametrize("degraded", ["haze", "low_resolution:16"])
def test_degradations_of_no_use(images, degraded):
    with pytest.raises(InputError, match=f"`degrade={degraded}`: "):
        take(images, 1, degrade=degraded)
    with pytest.raises(InputError, match=f"`degrade={degraded}`: "):
        evaluation_batches(images, image_size=16, degrade=degraded)


def test_too_few_classes(images):
    with pytest.raises(InputError, match=r"classes_per_batch=8` is more than the 5"):
        training_batches(images, image_size=16, steps_per_epoch=4)


@pytest.mark.parametrize(("batch_size", "sizes"), [(4, [4, 4, 4, 3]), (5, [5, 5, 5]), (64, [15])])
def test_evaluation_shows_each_image_once_in_order(images, batch_size, sizes):
    batches = evaluation_batches(images, image_size=20, batch_size=batch_size)
    assert batches.element_spec == (
        {
            "image": tf.TensorSpec([None, 20, 20, 3], tf.uint8),
            "id": tf.TensorSpec([None], tf.int64),
        },
        tf.TensorSpec([None], tf.int64),
    )
    x, y = zip(*batches, strict=True)
    assert [len(labels) for labels in y] == sizes
    np.testing.assert_array_equal(np.concatenate([part["id"] for part in x]), images.ids)
    np.testing.assert_array_equal(np.concatenate(y), images.labels)
    for view, path in zip(np.concatenate([p["image"] for p in x]), images.paths, strict=True):
        expected = centre_view((images.root / path).read_bytes(), 20)
        np.testing.assert_array_equal(view, expected)


def test_evaluation_of_a_selection_keeps_its_order(images):
    chosen = images.select(np.array([7, 2, 11]))
    (x, y), *_ = evaluation_batches(chosen, image_size=8)
    np.testing.assert_array_equal(x["id"], images.ids[[7, 2, 11]])
    assert y.numpy().tolist() == [2, 0, 3]


# Images without labels


@pytest.fixture(scope="module")
def mixed(images):
    """Three labelled classes, and the six images of the others without labels."""
    return images.of_classes(range(3)).with_unlabelled(images.of_classes(range(3, 5)))


@pytest.mark.slow
def test_unlabelled_rows_follow_the_labelled_ones(images, mixed):
    plain = take(images.of_classes(range(3)), 6)
    unlabelled = set(mixed.ids[9:].tolist())
    seen = []
    batches = take(mixed, 6, unlabelled_per_batch=4)
    for (x, y), (plain_x, plain_y) in zip(batches, plain, strict=True):
        assert x["image"].shape == (10, 16, 16, 3)
        np.testing.assert_array_equal(y, [*plain_y, -1, -1, -1, -1])
        np.testing.assert_array_equal(x["id"][:6], plain_x["id"])
        np.testing.assert_array_equal(x["image"][:6], plain_x["image"])
        seen += x["id"].numpy()[6:].tolist()
    for start in range(0, 24, 6):
        assert set(seen[start : start + 6]) == unlabelled
    assert_same(take(mixed, 2, unlabelled_per_batch=4, first_step=4), batches[4:])


def test_unlabelled_images_are_drawn_only_if_asked_for(images, mixed):
    assert_same(take(mixed, 3), take(images.of_classes(range(3)), 3))


def test_unlabelled_rows_are_looked_up_too(mixed):
    (x, y), *_ = take(
        mixed,
        1,
        unlabelled_per_batch=4,
        cached_image=lambda rows, views: tf.tile(rows[:, None], [1, 2]),
        teacher_embedding=lambda rows, views: tf.cast(rows, tf.float32),
    )
    rows = x["teacher_embedding"].numpy().astype(int)
    np.testing.assert_array_equal(x["image"][:, 0], rows)
    np.testing.assert_array_equal(x["id"], mixed.ids[rows])
    np.testing.assert_array_equal(y, mixed.labels[rows])
    assert (rows[6:] >= 9).all()


def test_unlabelled_rows_need_unlabelled_images(images):
    with pytest.raises(InputError, match="no unlabelled images"):
        take(images, 1, unlabelled_per_batch=4)


@pytest.mark.slow
def test_a_million_images_are_listed_and_none_is_touched():
    count = 10**6
    paths = np.array([f"{index // 20:05d}/{index:07d}.jpg" for index in range(count)])
    labels = np.arange(count, dtype=np.int64) // 20
    images = ImageSet(Path("/there/is/no/such/folder"), paths, labels, ())
    batches = training_batches(images, image_size=32, steps_per_epoch=count // 64, seed=3)
    assert batches.element_spec[0]["image"].shape == (64, 32, 32, 3)
    sampler = ClassSampler(labels, classes_per_batch=8, images_per_class=8, seed=3)
    drawn = labels[sampler.rows(count // 64 - 1)]
    assert len(np.unique(drawn)) == 8
