from pathlib import Path

import numpy as np
import pytest

from keras_distill import InputError
from keras_distill.data.image_set import image_id
from keras_distill.data.multilabel_images import MultiLabelImages

TARGETS = np.array([[1, 0, -1], [1, 1, 0], [0, 0, 0]], np.int8)


def make(**changes):
    given = {
        "root": Path("photos"),
        "paths": np.array(["a.jpg", "b/c.jpg", "d.jpg"]),
        "targets": TARGETS,
        "class_names": ("cat", "dog", "cow"),
        "splits": np.array(["train", "test", ""]),
    }
    return MultiLabelImages(**given | changes)


def test_what_is_known_of_the_images():
    images = make()
    assert len(images) == 3
    assert images.positives.tolist() == [2, 1, 0]
    assert images.ids.tolist() == [image_id(path) for path in images.paths.tolist()]
    alone = images.unlabelled
    assert alone.root == images.root
    assert alone.labels.tolist() == [-1] * 3
    assert alone.paths.tolist() == images.paths.tolist()


def test_selections():
    images = make()
    assert images.select(np.array([2, 0])).paths.tolist() == ["d.jpg", "a.jpg"]
    assert images.select(np.array([2, 0])).splits.tolist() == ["", "train"]
    assert images.of_split("test").targets.tolist() == [[1, 1, 0]]
    assert make(splits=None).select(np.array([True, False, False])).splits is None
    some = images.of_classes(["cow", "cat"])
    assert some.class_names == ("cow", "cat")
    assert some.targets.tolist() == [[-1, 1], [0, 1], [0, 0]]
    assert len(some) == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make(splits=None).of_split("train"), "the data set is not split"),
        (lambda: make().of_split("validation"), "no images; there are images of: train, test"),
        (lambda: make().of_classes(["eel"]), "'eel', which is none of the 3 classes"),
        (lambda: make().of_classes(["cat", "dog", "cat"]), "holds 'cat' twice"),
    ],
)
def test_selections_that_are_not_there(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_the_digest_depends_on_paths_targets_and_names():
    changed = TARGETS.copy()
    changed[0, 0] = 0
    digests = {
        make().digest,
        make(targets=changed).digest,
        make(paths=np.array(["a.jpg", "b/c.jpg", "e.jpg"])).digest,
        make(class_names=("cat", "dog", "eel")).digest,
        make().select(np.array([0, 2, 1])).digest,
    }
    assert len(digests) == 5
    assert make().digest == make(root=Path("moved"), splits=None).digest
    assert make().of_classes(["cow", "dog", "cat"]).of_classes(["cat", "dog", "cow"]).digest == (
        make().digest
    )
