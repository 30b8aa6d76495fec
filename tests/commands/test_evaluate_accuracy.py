import json
import shutil

import keras
import numpy as np
import pytest

from keras_distill import accuracy_metrics, build_classifier, evaluation_batches, load_dataset
from keras_distill.evaluation.label_scores import score_batches


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """Tells nothing yet; its classes are in another order, and one more, than those on disk."""
    keras.utils.set_random_seed(0)
    names = ["other", *(f"class_{label}" for label in (5, 4, 3, 2, 1, 0))]
    model = build_classifier(
        names,
        "mobilenet",
        alpha=0.25,
        image_size=32,
        backbone_weights="none",
        backbone_layer="conv_pw_1_relu",
    )
    path = tmp_path_factory.mktemp("classifier") / "model.keras"
    model.save(path)
    return path, names


@pytest.fixture(scope="module")
def splits(photos, tmp_path_factory):
    """The photos in train/ and test/, the latter with the first four of each class."""
    root = tmp_path_factory.mktemp("splits")
    for file in photos.rglob("*.*"):
        split = "test" if int(file.stem) < 4 else "train"
        copy = root / split / file.parent.name / file.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    return root


def test_figures_are_those_of_the_metrics(here, classifier, photos, tmp_path):
    path, names = classifier
    file, picture = tmp_path / "figures.json", tmp_path / "confusion.png"
    root = tmp_path / "photos"  # all of which are tested on
    shutil.copytree(photos, root / "test")
    shutil.copytree(photos, root / "train")
    given = [f"--model={path}", "--protocol=accuracy", f"--dataset=folder:{root}", "--per_class"]
    ended = here("evaluate", *given, "--top_ks=1,3", f"--json={file}", f"--picture={picture}")
    assert (ended.code, ended.err) == (0, "")
    told = json.loads(file.read_text())
    assert (told["protocol"], told["images"], told["class_names"]) == ("accuracy", 60, names)

    images = load_dataset(f"folder:{photos}", train_classes=":3", test_classes="3:")
    expected = []
    for part in (images.train, images.test):
        model = keras.models.load_model(path, compile=False)
        scores = score_batches(model, evaluation_batches(part, image_size=32))
        expected.append((scores, np.array([6 - label for label in part.labels])))
    metrics = accuracy_metrics(
        *(np.concatenate(each) for each in zip(*expected, strict=True)), top_ks=[1, 3]
    )
    assert told["figures"] == {
        "top_1": pytest.approx(metrics.means["top-1"]),
        "top_3": pytest.approx(metrics.means["top-3"]),
        "class_mean": pytest.approx(metrics.means["class mean"]),
    }
    assert told["intervals"]["top_3"] == pytest.approx(list(metrics.intervals["top-3"]))
    assert told["confusion"] == metrics.confusion.tolist()
    assert [each["images"] for each in told["per_class"]] == [0, *[10] * 6]
    assert picture.read_bytes()[:4] == b"\x89PNG"
    for said in ("top-1", "top-3", "class mean", "by class", "most often taken for", str(picture)):
        assert said in ended.out
    assert "warning: 1 of 7 classes have no image here, and no accuracy: other." in ended.out


@pytest.mark.slow
def test_folders_of_splits(here, classifier, splits, tmp_path):
    path, _ = classifier
    file = tmp_path / "figures.json"
    given = [f"--model={path}", "--protocol=accuracy", f"--dataset=folder:{splits}"]
    given.append("--validation_share=0")
    assert here("evaluate", *given, f"--json={file}").code == 0
    told = json.loads(file.read_text())
    assert (told["images"], told["split"]) == (24, "test")
    assert set(told["figures"]) == {"top_1", "top_5", "class_mean"}
    assert here("evaluate", *given, "--split=train", f"--json={file}").code == 0
    assert json.loads(file.read_text())["images"] == 36
    plain = json.loads(file.read_text())
    assert here("evaluate", *given, "--split=train", "--mirror", f"--json={file}").code == 0
    averaged = json.loads(file.read_text())
    assert (plain["mirror"], averaged["mirror"]) == (False, True)
    ended = here("evaluate", *given, "--split=train", "--image_size=64")
    assert ended.code == 2
    assert "--image_size=64: --model=" in ended.err
    ended = here("evaluate", *given, "--split=validation")
    assert ended.code == 2
    assert f"--split=validation: --dataset=folder:{splits} has no such images." in ended.err


def test_unusable_models_and_data_are_refused(here, classifier, teacher, photos, tmp_path):
    path, _ = classifier
    accuracy = ["--protocol=accuracy", f"--dataset=folder:{photos}"]
    ended = here("evaluate", f"--model={teacher.path}", *accuracy)
    assert ended.code == 2
    assert "has no output 'logits'" in ended.err
    others = tmp_path / "others"
    shutil.copytree(photos / "class_0", others / "class_0")
    shutil.copytree(photos / "class_1", others / "cats")
    given = [f"--model={path}", "--protocol=accuracy", f"--dataset=folder:{others}"]
    ended = here("evaluate", *given)
    assert ended.code == 2
    assert "has 1 classes that --model=" in ended.err
    assert "such as 'cats'; its classes are other, class_5, class_4" in ended.err


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--map_ks=3", "--map_ks is not offered by --protocol=accuracy"),
        ("--pairs=pairs.csv", "--pairs is of --protocol=verification"),
        ("--top_ks=0", "--top_ks=0 must be positive integers"),
        ("--picture=.", "--picture=. is a folder"),
    ],
)
def test_unusable_flags_are_refused_early(early, classifier, photos, flag, said):
    path, _ = classifier
    given = [f"--model={path}", "--protocol=accuracy", f"--dataset=folder:{photos}"]
    ended = early("evaluate", *given, flag)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
