"""Exactness of the teacher cache for changed and for mixed views."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from keras_distill import InputError
from keras_distill.data import shard_store, view_changes
from keras_distill.data.mixed_sampler import partner_rows
from keras_distill.data.pipeline import training_batches
from keras_distill.data.view_changes import ViewChanges
from keras_distill.teachers.cache import TeacherCache
from keras_distill.teachers.teacher import Teacher

CHANGES = {"augment": "jitter,grey", "mixup_alpha": 2.0}
ALL_CHANGES = CHANGES | {"augment": "randaugment:2:9,jitter,grey,cutout:0.4"}
VIEWS = {"views": 2, "seed": 5, "least_area": 0.4}


@pytest.fixture(scope="module")
def images(partly_labelled_images):
    return partly_labelled_images


@pytest.fixture(scope="module")
def teacher():
    """A teacher to which a single pixel matters: its answer holds whole numbers of 11 bits."""

    def function(pixels):
        pixels = tf.cast(pixels, tf.int32)
        place = tf.reshape(tf.range(8 * 8 * 3) % 251 + 1, [8, 8, 3])
        return tf.cast(tf.reduce_sum(pixels * place, 2) % 1021, tf.float32)[:, :, 0]

    def answer(pixels):
        return tf.concat([function(pixels), function(pixels[:, :, ::-1])], 1)

    return Teacher(answer, fingerprint="pixels", embedding_dim=16, image_size=8)


def filled(images, teacher, folder, changes):
    plain = ViewChanges(changes["augment"])
    for each in (plain, ViewChanges(**changes)):
        cache = TeacherCache(teacher, images, folder, **VIEWS, changes=each)
        cache.fill(batch_size=4)
        yield cache


@pytest.fixture(scope="module")
def caches(images, teacher, tmp_path_factory):
    """The cache of plain views and the one of mixes, in one folder."""
    return tuple(filled(images, teacher, tmp_path_factory.mktemp("caches"), CHANGES))


@pytest.fixture(scope="module", params=[CHANGES, ALL_CHANGES], ids=["colours", "all changes"])
def changed(request, images, teacher, caches):
    """Changes, with the caches of plain and of mixed views."""
    if request.param is CHANGES:
        return CHANGES, caches
    return ALL_CHANGES, tuple(filled(images, teacher, caches[0].folder.parent, ALL_CHANGES))


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("own", "degrade"),
    [
        pytest.param(range(1), "", marks=pytest.mark.slow),
        (range(2), "noise:25,jpeg:20"),
        pytest.param(range(1, 2), "", marks=pytest.mark.slow),
    ],
    ids=["one", "both, degraded", "second"],
)
def test_cached_answers_are_those_to_the_pixels_of_each_row(images, teacher, changed, degrade, own):
    """Labelled, unlabelled and mixed rows, on one replica, on two, and on the second alone."""
    changes, (plain, mixed) = changed
    batches = training_batches(
        images,
        image_size=16,
        teacher_image_size=8,
        steps_per_epoch=3,
        classes_per_batch=2,
        images_per_class=2,
        unlabelled_per_batch=2,
        mixed_per_batch=8,
        degrade=degrade,
        teacher_embedding=plain.lookup,
        mixed_teacher_embedding=mixed.lookup,
        first_step=100,
        replicas=1 if own == range(1) else 2,
        own_replicas=own,
        **changes,
        **VIEWS,
    )
    rows = 0
    for x, y in batches.take(8):
        live = teacher(x["teacher_image"])
        assert len(np.unique(live, axis=0)) == len(live)  # each mix is another
        np.testing.assert_array_equal(x["teacher_embedding"], live)
        assert (y.numpy() < 0).sum() == (10 if own == range(1) else 5)
        rows += len(y)
    assert rows == 8 * (14 if own == range(1) else 7)


def test_all_rows_mixed_at_the_students_size(images, teacher, changed):
    changes, (_, mixed) = changed
    batches = training_batches(
        images,
        image_size=8,
        steps_per_epoch=1,
        classes_per_batch=0,
        mixed_per_batch=10,
        mixed_teacher_embedding=mixed.lookup,
        **changes,
        **VIEWS,
    )
    for x, _ in batches.take(4):
        assert x.keys() == {"image", "id", "teacher_embedding"}
        np.testing.assert_array_equal(x["teacher_embedding"], teacher(x["image"]))


def test_whatever_changes_the_pixels_has_a_folder_of_its_own(
    images, teacher, caches, tmp_path, monkeypatch
):
    def folder(**options):
        given = {"changes": ViewChanges(**options)}
        return TeacherCache(teacher, images, caches[0].folder.parent, **VIEWS, **given).folder

    assert folder(**CHANGES) == caches[1].folder
    assert folder(augment="grey:0.2,jitter:0.8", mixup_alpha=2.0) == caches[1].folder
    found = [
        folder(),
        folder(augment="randaugment"),
        folder(augment="randaugment:2:8"),
        folder(augment="cutout"),
        folder(**ALL_CHANGES),
        folder(augment="jitter"),
        folder(augment="jitter:0.7"),
        folder(augment="jitter,grey"),
        folder(mixup_alpha=1.0),
        folder(mixup_alpha=2.0),
        folder(**CHANGES),
    ]
    for name in ("_RANDAUGMENT_VERSION", "_CUTOUT_VERSION", "_COLOURS_VERSION", "_MIXES_VERSION"):
        monkeypatch.setattr(view_changes, name, 99)
        found.append(folder(**ALL_CHANGES))
        assert folder() == found[0]  # a plain view has not changed
        if name in ("_RANDAUGMENT_VERSION", "_CUTOUT_VERSION"):  # nor one with other changes
            assert folder(**CHANGES) == caches[1].folder
    assert len(set(found)) == len(found)


def test_manifest(caches):
    plain, mixed = (json.loads((cache.folder / "manifest.json").read_text()) for cache in caches)
    view = {
        "seed": 5,
        "least_area": 0.4,
        "augment": {"grey": 0.2, "jitter": 0.8},
        "colours_version": 1,
    }
    assert plain["view"] == view
    assert mixed["view"] == view | {"mixup_alpha": 2.0, "mixes_version": 1}
    assert plain["views_version"] == mixed["views_version"] == 3


def test_the_centre_is_never_mixed(images, teacher, tmp_path):
    with pytest.raises(InputError, match=r"`mixup_alpha=1`: the centre of an image is never mix"):
        TeacherCache(teacher, images, tmp_path, views=None, changes=ViewChanges(mixup_alpha=1.0))
    options = {"views": None, "least_area": 0.3}
    changed = TeacherCache(teacher, images, tmp_path, **options, changes=ViewChanges("grey"))
    assert changed.folder == TeacherCache(teacher, images, tmp_path, **options).folder


@pytest.mark.slow
def test_a_mix_with_an_image_that_changes_is_not_kept(images, teacher, tmp_path, monkeypatch):
    monkeypatch.setattr(shard_store, "_SHARD_ROWS", 4)
    copy = replace(images, root=shutil.copytree(images.root, tmp_path / "changing"))
    partner = next(row for row in partner_rows(11, view=0, seed=5)[:4] if row >= 4)
    file, former = copy.root / copy.paths[partner], images.root / images.paths[partner]

    def opened():
        return TeacherCache(teacher, copy, tmp_path, **VIEWS, changes=ViewChanges(**CHANGES))

    cache = opened()
    file.write_bytes((images.root / images.paths[partner - 2]).read_bytes())
    with pytest.raises(InputError, match=rf"'{file}' was changed by another program"):
        cache.fill(1)
    assert cache.missing_rows(1) == 11  # nor the first shard, in which the image has no row
    shutil.copyfile(former, file)
    cache = opened()
    cache.fill(1)
    assert cache.missing_rows(1) == 0
