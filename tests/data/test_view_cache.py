import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_distill.data import shard_store
from keras_distill.data.image_set import read_folder
from keras_distill.data.pipeline import evaluation_batches, view_batches
from keras_distill.data.view_cache import ViewCache
from keras_distill.errors import InputError

ARGUMENTS = {"image_size": 8, "views": 3, "least_area": 0.3, "seed": 5}
OUTPUTS = {"mean": (3,), "map": (2, 2, 3)}


class Means(ViewCache):
    """Means over the whole image and over its quarters: a vector and a feature map."""

    title = "cache of means"

    def __init__(self, images, folder, *, kind="means", **options):
        self.asked = []
        super().__init__(
            images,
            folder,
            **ARGUMENTS | {"outputs": OUTPUTS, "dtype": np.float32} | options,
            provenance={"kind": kind},
        )

    def compute(self, pixels, ids, paths):
        self.asked += list(zip(ids.numpy().tolist(), paths.tolist(), strict=True))
        quarters = pixels.numpy().reshape(-1, 2, 4, 2, 4, 3).mean((2, 4))
        return {"map": quarters, "mean": quarters.mean((1, 2))}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for index in range(7):
        path = root / f"class{index % 2}" / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
    return read_folder(root)


def quarters_of(images, view):
    if view is None:
        ((x, _),) = evaluation_batches(images, image_size=8)
        pixels = x["image"]
    else:
        ((pixels, _),) = view_batches(images, image_size=8, view=view, least_area=0.3, seed=5)
    return pixels.numpy().reshape(-1, 2, 4, 2, 4, 3).mean((2, 4))


@pytest.mark.slow
@pytest.mark.parametrize("shard_rows", [3, 1024])
def test_every_entry_belongs_to_its_view(images, tmp_path, monkeypatch, shard_rows):
    monkeypatch.setattr(shard_store, "_SHARD_ROWS", shard_rows)
    cache, rows = Means(images, tmp_path), []
    assert cache.missing_rows() == 21
    cache.fill(batch_size=2, on_rows=rows.append)
    assert sum(rows) == 21
    assert sorted(cache.asked) == sorted(
        3 * list(zip(images.ids.tolist(), images.paths.tolist(), strict=True))
    )
    rows, views = np.array([6, 0, 3, 3]), np.array([0, 2, 1, 4])
    expected = np.stack(
        [quarters_of(images, view)[row] for row, view in zip(rows, views % 3, strict=True)]
    )
    found = cache.read("map", tf.constant(rows), tf.constant(views))
    assert (found.dtype, found.shape) == (tf.float32, (4, 2, 2, 3))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    found = cache.read("mean", tf.constant(rows), tf.constant(views))
    np.testing.assert_allclose(found, expected.mean((1, 2)), rtol=1e-6)


def test_centre(images, tmp_path):
    cache = Means(images, tmp_path, views=None)
    cache.fill()
    assert len(cache.asked) == 7
    found = cache.read("map", tf.range(7, dtype=tf.int64), tf.range(7, dtype=tf.int64))
    np.testing.assert_allclose(found, quarters_of(images, None), rtol=1e-6)


def test_entries_in_a_pipeline(images, tmp_path):
    cache = Means(images, tmp_path)
    cache.fill()
    batches = tf.data.Dataset.from_tensors(([1, 2], [0, 1])).map(
        lambda rows, views: cache.read("map", rows, views)
    )
    assert batches.element_spec == tf.TensorSpec([None, 2, 2, 3], tf.float32)
    assert next(iter(batches)).shape == (2, 2, 2, 3)


def test_what_a_subclass_adds_names_the_folder_too(images, tmp_path):
    caches = [
        Means(images, tmp_path),
        Means(images, tmp_path, kind="other"),
        Means(images, tmp_path, dtype=np.float16),
        Means(images, tmp_path, outputs={"mean": (3,)}),
        Means(images, tmp_path, outputs={"mean": (3,), "map": (4, 3)}),
        Means(images, tmp_path, outputs={"mean": (3,), "Map": (2, 2, 3)}),
    ]
    assert len({cache.folder for cache in caches}) == len(caches)
    manifest = json.loads((caches[1].folder / "manifest.json").read_text())
    assert manifest["kind"] == "other"
    assert (manifest["dtype"], manifest["outputs"]["map"]) == ("float32", [2, 2, 3])


def test_what_it_costs(images, tmp_path):
    cache = Means(images, tmp_path)
    assert cache.nbytes() == 7 * 3 * (3 + 12) * 4
    assert cache.nbytes(2) == 7 * 2 * (3 + 12) * 4
    cache.check_space(1260e-9)
    with pytest.raises(InputError) as error:
        cache.check_space(1e-6)
    assert str(error.value) == (
        "the cache of means needs 1.26e-06 GB (7 images x 3 views x 60 bytes), more than "
        "`max_gb=1e-06`; raise `max_gb`, choose fewer views, or turn the cache off."
    )


def test_base_computes_nothing(images, tmp_path):
    cache = ViewCache(
        images, tmp_path, **ARGUMENTS, outputs={"a": (1,)}, dtype=np.float16, provenance={}
    )
    with pytest.raises(ValueError, match="ViewCache must implement compute"):
        cache.fill()
    assert cache.missing_rows() == 21
