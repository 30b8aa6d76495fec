import numpy as np
import pytest
from PIL import Image

from keras_distill.settings.command import Command
from keras_distill.settings.label_data import load_albums, load_label_images
from keras_distill.settings.multilabel import MultiLabelSettings

SPLITS = ("train", "validation", "test")


def paths_of_splits(load, tmp_path, dataset, *flags):
    """The names in each split."""
    given = [f"--dataset={dataset}", "--other_labels=ignore", f"--cache_dir={tmp_path / 'cache'}"]
    settings = Command("test", "doc", MultiLabelSettings).parse([*given, *flags])
    found, _ = load(settings, *SPLITS)
    assert all(each is not None for each in found)
    return [(each.names if load is load_albums else each.paths).tolist() for each in found]


@pytest.mark.parametrize("split", [False, True])
def test_images_are_divided_alike_whatever_labels_are_used(tmp_path, split):
    rng = np.random.default_rng(0)
    lines = ["file,labels,split" if split else "file,labels"]
    for index in range(40):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{index}.png")
        chosen = np.array(["cat", "cow", "dog", "elk"])[rng.random(4) < 0.4]
        column = "," + ("test" if index < 9 else "train") if split else ""
        lines.append(f"{index}.png,{'|'.join(chosen)}{column}")
    (tmp_path / "labels.csv").write_text("\n".join([*lines, ""]))
    given = (load_label_images, tmp_path, f"labels:{tmp_path / 'labels.csv'}")
    of_all = paths_of_splits(*given)
    for classes in ("cat", "elk,cow", "dog,elk,cow,cat"):
        assert paths_of_splits(*given, f"--classes={classes}") == of_all


def test_albums_are_divided_alike_whatever_labels_are_used(tmp_path):
    for index in range(30):
        folder = tmp_path / "albums" / "abc"[index % 3] / str(index)
        folder.mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(folder / "0.png")
    given = (load_albums, tmp_path, f"albums:{tmp_path / 'albums'}")
    of_all = paths_of_splits(*given)
    for classes in ("a", "c,b", "c,b,a"):
        assert paths_of_splits(*given, f"--classes={classes}") == of_all
