import json
import math
import re
import shutil

import keras
import numpy as np
import pytest

from keras_distill import mirror_averaged
from keras_distill.data.dataset import load_dataset
from keras_distill.data.pipeline import evaluation_batches
from keras_distill.embedding.batches import embed_batches
from keras_distill.evaluation.retrieval_metrics import retrieval_metrics
from keras_distill.settings.evaluation import parse_ks


def approx(values):
    return pytest.approx(list(values))


def nested(intervals):
    """The intervals as JSON has them, of the first test."""
    return {
        "recall": {k: approx(intervals[f"R@{k}"]) for k in ("1", "3", "16")},
        "precision_at_k": {"10": approx(intervals["P@10"])},
        "map_at_k": {"5": approx(intervals["mAP@5"])},
        "map_at_r": approx(intervals["MAP@R"]),
        "r_precision": approx(intervals["R-precision"]),
    }


def approx_chance(k):
    """The Recall@K of a random ranking of 20 images of 2 classes."""
    return pytest.approx(1 - math.comb(10, k) / math.comb(19, k))


def cells(out):
    """What the table shows, by the names of its rows: value, least and greatest of each column."""
    rows = re.findall(r"^ *(m?M?AP@\w+|[RP]@\d+|R-precision) +(\d.*)$", out, re.M)
    cell = r"(\d\.\d{4}) \[(\d\.\d{3}), (\d\.\d{3})\]"
    return {name: re.findall(cell, row) for name, row in rows}


@pytest.fixture(scope="session")
def expected(photos, teacher):
    """Metrics of the teacher on one split, computed in this process."""
    student = keras.models.load_model(teacher.path / "student.keras", compile=False)

    def compute(split, ks, precision_ks=(), map_ks=()):
        ranges = {"train_classes": ":4", "validation_classes": "2:4", "test_classes": "4:"}
        images = getattr(load_dataset(f"folder:{photos}", **ranges), split)
        embeddings, labels = embed_batches(student, evaluation_batches(images, image_size=40))
        return retrieval_metrics(
            embeddings, labels, ks=ks, precision_ks=precision_ks, map_ks=map_ks
        )

    return compute


def test_json_holds_the_figures_of_the_metrics(command, teacher, photos, expected, tmp_path):
    data = [f"--dataset=folder:{photos}", "--test_classes=4:"]
    ended = command(
        "evaluate",
        f"--model={teacher.path}",
        *data,
        "--ks=3,1,16",
        "--precision_ks=10",
        "--map_ks=5",
        "--json=figures/recall.json",
        cwd=tmp_path,
    )
    assert (ended.code, ended.err) == (0, "")
    metrics = expected("test", [1, 3, 16], [10], [5])
    figures = json.loads((tmp_path / "figures" / "recall.json").read_text())
    seconds = figures.pop("seconds")
    assert seconds > 0
    measured = {
        "recall": {str(k): recall for k, recall in metrics.recall.items()},
        "precision_at_k": {"10": pytest.approx(metrics.precision_at_k[10])},
        "map_at_k": {"5": pytest.approx(metrics.map_at_k[5])},
        "map_at_r": pytest.approx(metrics.map_at_r),
        "r_precision": pytest.approx(metrics.r_precision),
    }
    warned = [f"warning: {warning}" for warning in figures.pop("warnings")]
    assert warned == [line for line in ended.out.splitlines() if line.startswith("warning: ")]
    assert figures == {
        "model": str(teacher.path),
        "data": f"folder:{photos}",
        "split": "test",
        "queries": 20,
        "gallery": 20,
        "classes": 2,
        "protocol": "retrieval",
        "leave_one_out": True,
        "backend": "exact",
        "mirror": False,
        "degrade": None,
        "degrade_side": None,
        **measured,
        "figures": measured,
        "classes_seen_in_training": [],
        "intervals": nested(metrics.intervals_over["queries"]),
        "intervals_over": {
            over: nested(metrics.intervals_over[over]) for over in ("queries", "classes")
        },
        "intervals_shown": "classes",
        "chance": {"recall": {"1": approx_chance(1), "3": approx_chance(3), "16": 1.0}},
        "index": {"dim": 8, "metric": "euclidean", "dtype": "float32"},
        "skipped_images": [],
    }
    assert 0 < metrics.map_at_r < 1
    assert sorted((tmp_path / "figures").iterdir()) == [tmp_path / "figures" / "recall.json"]
    shown = metrics.intervals_over["classes"]
    assert shown != metrics.intervals
    assert cells(ended.out) == {
        name: [(f"{value:.4f}", *(f"{bound:.3f}" for bound in shown[name]))]
        for name, value in metrics.means.items()
    }
    assert (
        "Intervals over classes show how much the figure depends on the choice of classes"
        in ended.out
    )
    assert list(cells(ended.out)) == [*metrics.means]
    assert "20 queries of 2 classes" in ended.out


def test_run_is_measured_on_its_own_classes(here, teacher, photos, expected, tmp_path):
    """By default the second half of six classes, 3 to 5, would be tested on; the run has 4: ."""
    file = tmp_path / "recall.json"
    ended = here("evaluate", f"--model={teacher.path}", f"--json={file}")
    assert (ended.code, ended.err) == (0, "")
    said = ended.out.splitlines()[0]
    assert said.startswith(f"From {teacher.path}/flags.txt: --dataset=folder:{photos}, ")
    assert "--train_classes=:4, --validation_classes=2:4, --test_classes=4:" in said
    found = json.loads(file.read_text())
    metrics = expected("test", [1, 2, 4, 8])
    assert (found["classes"], found["queries"]) == (2, 20)
    assert found["recall"] == {str(k): recall for k, recall in metrics.recall.items()}
    assert (found["classes_seen_in_training"], found["intervals_shown"]) == ([], "classes")
    # The same data set, named again without its classes, as README does.
    again = here("evaluate", f"--model={teacher.path}", f"--dataset=folder:{photos}/../photos")
    assert "20 queries of 2 classes" in again.out
    student = teacher.path / "student.keras"
    assert "20 queries of 2 classes" in here("evaluate", f"--model={student}").out


def test_classes_of_the_training_are_named(here, teacher, photos, tmp_path):
    """Of the first four classes two were held out for validation."""
    file = tmp_path / "recall.json"
    swapped = ["--train_classes=4:", "--validation_classes=", "--test_classes=:4"]
    ended = here("evaluate", f"--model={teacher.path}", *swapped, f"--json={file}")
    assert ended.code == 0
    warning = "Warning: the model was trained on 2 of these 4 classes (class_0, class_1); the fig"
    assert warning in ended.out
    found = json.loads(file.read_text())
    assert found["classes_seen_in_training"] == ["class_0", "class_1"]
    assert found["intervals_shown"] == "queries"
    assert "Intervals over queries show how much the figure depends on which images" in ended.out
    ended = here("evaluate", f"--model={teacher.path}", *swapped, "--intervals=classes")
    assert "Intervals over classes show " in ended.out
    ended = here("evaluate", f"--model={teacher.path}", "--split=validation")
    assert "Warning" not in ended.out
    assert "Intervals over classes show " in ended.out


@pytest.mark.slow
def test_flag_file_of_a_run(here, teacher, photos):
    """What train alone knows is passed over in a flag file, not on the command line."""
    given = f"--flagfile={teacher.path / 'flags.txt'}"
    for more in ([], [f"--model={teacher.path}"]):
        ended = here("evaluate", given, *more)
        assert (ended.code, ended.err) == (0, "")
        assert "20 queries of 2 classes" in ended.out
    ended = here("evaluate", "--flagfile", str(teacher.path / "flags.txt"), "--epochs=3")
    assert ended.code == 2
    assert "epochs" in ended.err


@pytest.mark.slow
def test_run_of_worse_images_is_measured_by_worse_images(here, teacher, photos, tmp_path):
    run = shutil.copytree(teacher.path, tmp_path / "run")
    with (run / "flags.txt").open("a") as file:
        file.write("--degrade=blur:1\n")
    file = tmp_path / "recall.json"
    ended = here("evaluate", f"--model={run}", f"--json={file}")
    assert "--degrade=blur:1" in ended.out.splitlines()[0]
    assert json.loads(file.read_text())["degrade"] == "blur:1"
    assert here("evaluate", f"--model={run}", "--degrade=", f"--json={file}").code == 0
    assert json.loads(file.read_text())["degrade"] is None


@pytest.mark.slow
def test_saved_model_and_validation_split(here, exported, photos, expected, tmp_path):
    file = tmp_path / "recall.json"
    data = [f"--dataset=folder:{photos}", "--train_classes=:4", "--validation_classes=2:4"]
    data += ["--test_classes=4:", "--split=validation"]
    ended = here("evaluate", f"--model={exported.path}", *data, "--batch_size=7", f"--json={file}")
    assert ended.code == 0
    figures = json.loads(file.read_text())
    metrics = expected("validation", [1, 2, 4, 8])
    assert figures["split"] == "validation"
    assert figures["recall"] == {str(k): recall for k, recall in metrics.recall.items()}
    assert figures["map_at_r"] == pytest.approx(metrics.map_at_r)


def test_damaged_images_are_left_out(here, teacher, damaged_photos, tmp_path):
    file = tmp_path / "recall.json"
    given = [f"--model={teacher.path}", f"--dataset=folder:{damaged_photos}", "--split=train"]
    assert here("evaluate", *given, f"--json={file}").code == 0
    figures = json.loads(file.read_text())
    assert figures["skipped_images"] == ["class_0/1.jpg", "class_2/0.png"]
    assert (figures["queries"], figures["gallery"], figures["classes"]) == (28, 28, 3)
    ended = here("evaluate", *given, "--strict_images")
    assert ended.code == 2
    assert "class_0/1.jpg, class_2/0.png" in ended.err


@pytest.mark.slow
@pytest.mark.parametrize("side", ["queries", "gallery", "both"])
def test_degraded_images(here, teacher, photos, tmp_path, side):
    file = tmp_path / "recall.json"
    given = [f"--model={teacher.path}", f"--dataset=folder:{photos}", "--test_classes=4:"]
    given += ["--degrade=blur:1,noise:60", f"--degrade_side={side}", "--ks=1,3"]
    ended = here("evaluate", *given, f"--json={file}")
    assert (ended.code, ended.err) == (0, "")
    assert "blur:1,noise:60" in ended.out
    figures = json.loads(file.read_text())
    assert figures["degrade"] == "blur:1,noise:60"
    assert figures["degrade_side"] == side
    assert (figures["queries"], figures["gallery"], figures["protocol"]) == (
        20,
        20,
        "retrieval",
    )

    student = keras.models.load_model(teacher.path / "student.keras", compile=False)
    images = load_dataset(f"folder:{photos}", train_classes=":4", test_classes="4:").test
    good, labels = embed_batches(student, evaluation_batches(images, image_size=40))
    bad, _ = embed_batches(
        student, evaluation_batches(images, image_size=40, degrade="blur:1,noise:60")
    )
    queries, gallery = {"queries": (bad, good), "gallery": (good, bad), "both": (bad, bad)}[side]
    distances = np.linalg.norm(queries[:, None] - gallery[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    nearest = labels[np.argsort(distances, axis=1)]
    for k in (1, 3):
        recall = (nearest[:, :k] == labels[:, None]).any(1).mean()
        assert figures["recall"][str(k)] == pytest.approx(recall)


def test_classes_are_listed_on_demand(here, teacher, photos, expected, tmp_path):
    file = tmp_path / "recall.json"
    given = [f"--model={teacher.path}", f"--dataset=folder:{photos}", "--test_classes=4:"]
    assert here("evaluate", *given, "--map_ks=2", "--per_class", f"--json={file}").code == 0
    _, sizes, means = expected("test", [1, 2, 4, 8], map_ks=[2]).by_class()
    assert sizes.tolist() == [10, 10]
    assert json.loads(file.read_text())["per_class"] == [
        {
            "class": f"class_{4 + row}",
            "queries": 10,
            "recall": {k: pytest.approx(means[f"R@{k}"][row]) for k in "1248"},
            "precision_at_k": {},
            "map_at_k": {"2": pytest.approx(means["mAP@2"][row])},
            "map_at_r": pytest.approx(means["MAP@R"][row]),
            "r_precision": pytest.approx(means["R-precision"][row]),
        }
        for row in range(2)
    ]


def test_degradations_that_do_not_fit_are_refused(here, teacher, photos, tmp_path):
    given = [f"--dataset=folder:{photos}", "--degrade=low_resolution:40"]
    ended = here("evaluate", f"--model={teacher.path}", *given)
    assert ended.code == 2
    assert "--degrade=low_resolution:40: low_resolution:40 changes nothing" in ended.err

    names = sorted(str(file.relative_to(photos)) for file in photos.rglob("*.*"))
    np.savez(tmp_path / "table.npz", ids=names, vectors=np.eye(len(names)))
    ended = here("evaluate", f"--model={tmp_path}/table.npz", *given)
    assert ended.code == 2
    assert "table.npz is a table of vectors, which reads no pixels" in ended.err


def test_model_that_does_not_fit_is_refused(here, teacher, photos, tmp_path):
    data = f"--dataset=folder:{photos}"
    ended = here("evaluate", f"--model={teacher.path}", data, "--image_size=32")
    assert ended.code == 2
    assert f"--image_size=32: --model={teacher.path} takes 40 pixels." in ended.err

    ended = here("evaluate", f"--model={photos}/class_0/0.png", data)
    assert ended.code == 2
    assert "0.png' is not a .keras file" in ended.err

    image = keras.Input((None, None, 3))
    keras.Model(image, keras.layers.GlobalAveragePooling2D()(image)).save(tmp_path / "any.keras")
    ended = here("evaluate", f"--model={tmp_path}/any.keras", data)
    assert ended.code == 2
    assert "takes images of any size; give --image_size." in ended.err
    assert here("evaluate", f"--model={tmp_path}/any.keras", data, "--image_size=20").code == 0


def test_model_with_damaged_weights_is_refused(here, teacher, photos, tmp_path):
    student = keras.models.load_model(teacher.path / "student.keras", compile=False)
    student.set_weights([weight * np.nan for weight in student.get_weights()])
    student.save(tmp_path / "nan.keras")
    file = tmp_path / "recall.json"
    given = [f"--model={tmp_path}/nan.keras", f"--dataset=folder:{photos}", f"--json={file}"]
    ended = here("evaluate", *given)
    assert ended.code == 2
    assert "embeddings that are not finite" in ended.err
    assert not file.exists()


def test_usable_flags_load_tensorflow(early, photos):
    assert early("evaluate", "--model=.", f"--dataset=folder:{photos}", fresh=True).code == 99


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--modle=x", "'modle'. Did you mean: model"),
        ("--model=", "--model is required: a .keras file, a run directory, or a SavedModel."),
        ("--model=nowhere.keras", "--model=nowhere.keras does not exist."),
        ("--dataset=", "--dataset is required: cub, cars196, sop, glyphs, or folder:PATH."),
        ("--dataset=birds", "--dataset=birds is unknown; give one of cub, cars196, sop, glyphs"),
        ("--dataset=folder:nowhere", "--dataset=folder:nowhere: there is no folder 'nowhere'."),
        ("--protocol=none", "--protocol=none: value should be one of <retrieval|multilabel|acc"),
        ("--ks=0", "--ks=0 must be positive integers, such as 1,2,4,8."),
        ("--ks=1,two", "--ks=1,two must be positive integers"),
        ("--ks=", "--ks= must be positive integers"),
        ("--precision_ks=0", "--precision_ks=0 must be positive integers"),
        ("--map_ks=0", "--map_ks=0 must be positive integers"),
        ("--per_class", "--per_class needs --json"),
        ("--gallery_model=nowhere.keras", "--gallery_model=nowhere.keras does not exist."),
        ("--gallery_output=pooled", "--gallery_output needs --gallery_model."),
        ("--gallery_image_size=0", "--gallery_image_size=0: 0 is not a positive integer"),
        ("--gallery_preprocessing=bgr", "value should be one of <0_255|-1_1|0_1|imagenet_caffe"),
        ("--split=tests", "--split=tests: value should be one of <test|validation|train>"),
        ("--split=validation", "--split=validation needs --validation_classes."),
        ("--degrade=haze", "--degrade=haze: 'haze' is unknown; give one or several of low_res"),
        ("--degrade=jpeg:101", "'jpeg:101' is out of range; jpeg:QUALITY takes an integer from"),
        ("--degrade_side=left", "--degrade_side=left: value should be one of <queries|gallery|"),
        ("--degrade_side=queries", "--degrade_side=queries needs --degrade, some of low_resolut"),
        ("--batch_size=0", "--batch_size=0: 0 is not a positive integer"),
        ("--json=photos", "--json=photos is a folder; give a file."),
    ],
)
def test_unusable_flag_is_refused_before_tensorflow_is_loaded(early, tmp_path, flags, said):
    (tmp_path / "photos").mkdir()
    given = ["--model=photos", "--dataset=folder:photos", flags]
    ended = early("evaluate", *given, cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert ended.err.startswith("evaluate: ")
    assert ended.err.endswith("See `python -m keras_distill.evaluate --help`.\n")
    assert "Traceback" not in ended.err


def test_ks_are_sorted_and_unique():
    assert parse_ks("8,1,8,2") == [1, 2, 8]


def mirrored(teacher):
    return mirror_averaged(keras.models.load_model(teacher.path / "student.keras", compile=False))


@pytest.mark.slow
def test_mirror_averages_both_views(here, teacher, expected, photos, tmp_path):
    file = tmp_path / "recall.json"
    ended = here("evaluate", f"--model={teacher.path}", "--mirror", f"--json={file}")
    assert (ended.code, ended.err) == (0, "")
    said = f"{teacher.path} averages the vectors of each image and its mirror image."
    assert said in ended.out.splitlines()
    found = json.loads(file.read_text())
    ranges = {"train_classes": ":4", "validation_classes": "2:4", "test_classes": "4:"}
    images = load_dataset(f"folder:{photos}", **ranges).test
    averaged = mirrored(teacher)
    embeddings, labels = embed_batches(averaged, evaluation_batches(images, image_size=40))
    metrics = retrieval_metrics(embeddings, labels, ks=[1, 2, 4, 8])
    assert found["mirror"] is True
    assert found["map_at_r"] == pytest.approx(metrics.map_at_r)
    assert found["map_at_r"] != expected("test", [1, 2, 4, 8]).map_at_r


@pytest.mark.slow
def test_mirror_is_refused_where_the_model_has_it(here, teacher, photos, tmp_path):
    mirrored(teacher).save(tmp_path / "averaged.keras")
    given = [f"--model={tmp_path / 'averaged.keras'}", f"--dataset=folder:{photos}"]
    ended = here("evaluate", *given, "--mirror")
    assert ended.code == 2
    assert "--mirror would average vectors of mirror images, but" in ended.err
    assert "averaged.keras does so already; leave it out." in ended.err
    file = tmp_path / "recall.json"
    assert here("evaluate", *given, f"--json={file}").code == 0
    assert json.loads(file.read_text())["mirror"] is True
