import itertools
import json
import shutil

import keras
import numpy as np
import pytest

from keras_distill import (
    all_pair_metrics,
    embed_batches,
    evaluation_batches,
    load_dataset,
    verification_metrics,
)
from keras_distill.evaluation.template_vectors import template_vectors


@pytest.fixture(scope="module")
def embedded(photos, teacher):
    """Vectors of all photos by their path."""
    student = keras.models.load_model(teacher.path / "student.keras", compile=False)
    dataset = load_dataset(f"folder:{photos}", train_classes=":3", test_classes="3:")
    found = {}
    for images in (dataset.train, dataset.test):
        vectors, _ = embed_batches(student, evaluation_batches(images, image_size=40))
        found |= dict(zip(images.paths.tolist(), vectors, strict=True))
    return found


@pytest.fixture(scope="module")
def pairs(embedded, tmp_path_factory):
    """A file of pairs of photos, 54 of them same; and the pairs."""
    paths = sorted(embedded)
    listed = [
        (a, b, int(a.partition("/")[0] == b.partition("/")[0]))
        for a, b in itertools.combinations(paths[::3], 2)
    ]
    file = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    rows = "".join(f"{a},{b},{same}\n" for a, b, same in listed)
    file.write_text(f"file,file,same\n{rows}")
    return file, listed


def test_pairs_of_a_file(here, teacher, photos, embedded, pairs, tmp_path):
    path, listed = pairs
    file, picture = tmp_path / "pairs.json", tmp_path / "roc.png"
    given = [f"--model={teacher.path}", f"--pairs={path}", f"--images={photos}"]
    ended = here("evaluate", *given, f"--json={file}", f"--picture={picture}")
    assert (ended.code, ended.err) == (0, "")
    told = json.loads(file.read_text())
    scores = np.array([embedded[a] @ embedded[b] for a, b, _ in listed])
    same = np.array([same == 1 for *_, same in listed])
    people = np.array([[int(name[6]) for name in each[:2]] for each in listed])
    metrics = verification_metrics(scores, same, people=people)
    assert (told["protocol"], told["data"], told["people"]) == ("verification", str(path), 6)
    assert (told["same_pairs"], told["different_pairs"]) == (same.sum(), (~same).sum())
    assert told["figures"]["accuracy"] == pytest.approx(metrics.means["accuracy"], abs=0.03)
    tar = metrics.means["TAR@FAR=1e-1"]
    assert told["figures"]["tar_at_far"]["1e-1"] == pytest.approx(tar, abs=0.03)
    assert told["figures"]["tar_at_far"]["1e-3"] is None
    assert "not measurable: needs 10,000 different pairs" in ended.out
    assert told["calibration"]["slope"] == pytest.approx(metrics.calibration.slope, rel=1e-2)
    assert told["calibration"]["thresholds"][0].keys() >= {"cosine", "recall", "precision"}
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert "which similarity means the same" in ended.out
    # The run's own data set is not read.
    assert "--dataset" not in ended.out


def test_all_pairs_of_the_test_classes(here, teacher, photos, embedded, tmp_path):
    file = tmp_path / "pairs.json"
    given = [f"--model={teacher.path}", "--protocol=verification"]
    ended = here("evaluate", *given, f"--json={file}")
    assert (ended.code, ended.err) == (0, "")
    told = json.loads(file.read_text())
    paths = [path for path in sorted(embedded) if path[6] in "45"]
    metrics = all_pair_metrics(
        np.array([embedded[path] for path in paths]), np.array([path[6] for path in paths])
    )
    assert (told["classes"], told["same_pairs"], told["different_pairs"]) == (2, 90, 100)
    tar = metrics.means["TAR@FAR=1e-1"]
    assert told["figures"]["tar_at_far"]["1e-1"] == pytest.approx(tar, abs=0.03)
    assert told["figures"]["accuracy"] is None  # two classes make no two folds
    assert "warning: Only 2 classes" in ended.out
    assert told["classes_seen_in_training"] == []
    ended = here("evaluate", *given, "--split=train")
    assert "warning: The model was trained on 2 of these 2 classes (class_0, class_1)" in ended.out


def test_templates(here, teacher, photos, embedded, tmp_path):
    paths = sorted(embedded)
    rows, names = [], []
    for place, path in enumerate(paths):
        template = f"t{place // 5}"
        rows.append(f"{path},{template},m{place % 2},{path.partition('/')[0]}\n")
        names.append(template)
    (tmp_path / "templates.csv").write_text("".join(rows))
    listed = list(itertools.combinations(range(12), 2))
    told = [f"t{a},t{b},{int(a // 2 == b // 2)}\n" for a, b in listed]
    (tmp_path / "pairs.csv").write_text("".join(told))
    file = tmp_path / "figures.json"
    ended = here(
        "evaluate",
        f"--model={teacher.path}",
        f"--pairs={tmp_path}/pairs.csv",
        f"--templates={tmp_path}/templates.csv",
        f"--images={photos}",
        f"--json={file}",
    )
    assert (ended.code, ended.err) == (0, "")
    places = np.arange(60)
    vectors = template_vectors(
        np.array([embedded[path] for path in paths]), places // 5, places // 5 * 2 + places % 2
    )
    scores = np.array([vectors[a] @ vectors[b] for a, b in listed])
    same = np.array([a // 2 == b // 2 for a, b in listed])
    found = json.loads(file.read_text())
    assert (found["same_pairs"], found["people"]) == (6, 6)
    expected = verification_metrics(scores, same).means["accuracy"]
    assert found["figures"]["accuracy"] == pytest.approx(expected, abs=0.02)


@pytest.mark.slow
def test_pairs_of_damaged_images_are_left_out(here, teacher, damaged_photos, pairs, tmp_path):
    path, _ = pairs
    damaged = tmp_path / "pairs.csv"
    damaged.write_text(path.read_text() + "class_0/1.jpg,class_0/2.jpg,1\n")
    file = tmp_path / "pairs.json"
    given = [f"--model={teacher.path}", f"--pairs={damaged}", f"--images={damaged_photos}"]
    assert here("evaluate", *given, f"--json={file}").code == 0
    told = json.loads(file.read_text())
    assert "class_0/1.jpg" in told["skipped_images"]
    ended = here("evaluate", *given, "--strict_images")
    assert ended.code == 2
    assert "class_0/1.jpg" in ended.err


def test_unusable_pairs_are_refused(here, early, teacher, photos, pairs, tmp_path):
    path, _ = pairs
    model = f"--model={teacher.path}"
    ended = here("evaluate", model, f"--pairs={path}")
    assert ended.code == 2
    assert "of the files, such as 'class_0/" in ended.err
    assert "give the folder that they are relative to as --images." in ended.err
    file = tmp_path / "bad.csv"
    file.write_text("a,b,1\na,b\n")
    ended = here("evaluate", model, f"--pairs={file}")
    assert f"--pairs={file} has 1 unusable row" in ended.err
    for flags, said in (
        (["--pairs=none.csv"], "--pairs=none.csv: there is no such file."),
        ([f"--templates={path}"], "--templates is of --protocol=verification"),
        ([f"--templates={path}", "--protocol=verification"], "--templates needs --pairs"),
        ([f"--pairs={path}", "--degrade=blur", "--degrade_side=queries"], "--degrade_side is not"),
        ([f"--pairs={path}", f"--gallery_model={teacher.path}"], "--gallery_model is not offered"),
        ([f"--pairs={path}", "--images=none"], "--images=none: there is no such folder"),
        (["--picture=a.png"], "--picture is not offered by --protocol=retrieval"),
    ):
        ended = early("evaluate", model, *flags, cwd=tmp_path)
        assert (ended.code, ended.out) == (2, "")
        assert said in ended.err


@pytest.mark.slow
def test_mirror_and_degradations(here, teacher, photos, pairs, tmp_path):
    path, _ = pairs
    shutil.copy(path, tmp_path / "pairs.csv")
    file = tmp_path / "pairs.json"
    given = [f"--model={teacher.path}", f"--pairs={tmp_path}/pairs.csv", f"--images={photos}"]
    ended = here("evaluate", *given, "--mirror", "--degrade=blur:1", f"--json={file}")
    assert (ended.code, ended.err) == (0, "")
    told = json.loads(file.read_text())
    assert (told["mirror"], told["degrade"]) == (True, "blur:1")
    assert "averages the vectors of each image and its mirror image" in ended.out
