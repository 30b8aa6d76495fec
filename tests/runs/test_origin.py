import json
import os

import numpy as np
import pytest
from PIL import Image

from keras_distill.errors import InputError
from keras_distill.runs.origin import model_origin, run_test_images

RESULT = {
    "data": "folder:photos",
    "split": "test",
    "protocol": "leave-one-out",
    "queries": 30,
    "gallery": 30,
    "classes": 3,
    "recall": {"1": 0.5, "2": 0.75},
    "seconds": 1.0,
}


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "student.keras").touch()
    os.utime(folder / "student.keras", (1e9, 1e9))
    return folder


def write(file, content):
    file.write_text(json.dumps(content))
    return str(file)


def test_nothing_is_known_of_a_single_file(tmp_path):
    file = tmp_path / "model.keras"
    file.touch()
    assert model_origin(str(file)) == {"model": str(file), "recall": []}
    assert run_test_images(str(file)) is None
    assert model_origin(str(file), data_licence="CC0")["data_licence"] == "CC0"


def test_what_a_run_tells(run, tmp_path):
    flags = (
        "--dataset=glyphs\n--backbone=mobilenet\n--alpha=0.25\n--teacher=\n--epochs=3\n--l2=0.1\n"
    )
    (run / "flags.txt").write_text(f"{flags}--data_dir={tmp_path}\n")  # where no glyphs are
    write(run / "summary.json", {"dataset": "glyphs", "validation": {"recall": {"1": 0.625}}})
    for model in (run, run / "student.keras"):
        assert model_origin(str(model)) == {
            "model": str(model),
            "data": "glyphs",
            "data_licence": "drawn by keras_distill, Apache-2.0",
            "training": {"backbone": "mobilenet", "alpha": "0.25", "epochs": "3"},
            "recall": [
                {
                    "model": str(run / "student.keras"),
                    "data": "glyphs",
                    "split": "validation",
                    "recall": {"1": 0.625},
                }
            ],
        }
    assert model_origin(str(run), data_licence="CC0")["data_licence"] == "CC0"
    (run / "teacher.keras").touch()
    assert "training" not in model_origin(str(run / "teacher.keras"))


def test_training_classes_are_those_of_the_summary_or_of_the_data(run, tmp_path):
    for name in ("crow", "robin", "wren", "tit"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "a.png").touch()
    flags = f"--dataset=folder:{tmp_path / 'photos'}\n--train_classes=:3\n--test_classes=3:\n"
    (run / "flags.txt").write_text(flags + "--validation_classes=1:2\n")
    assert model_origin(str(run))["training_classes"] == ["crow", "tit"]
    write(run / "summary.json", {"train_classes": ["wren"]})
    assert model_origin(str(run))["training_classes"] == ["wren"]


def test_results_of_the_model_are_found_beside_it(run, tmp_path):
    (run / "flags.txt").write_text("--dataset=folder:photos\n")
    ours = RESULT | {"model": str(run), "degrade": "blur:2", "degrade_side": "queries"}
    write(run / "recall.json", ours)
    write(run / "of_another.json", RESULT | {"model": str(tmp_path / "other")})
    write(run / "damaged.json", ours | {"recall": 3})
    write(run / "no_result.json", [1, 2])
    write(run / "stale.json", ours)
    os.utime(run / "stale.json", (1e9 - 1, 1e9 - 1))  # of a training before
    origin = model_origin(str(run))
    assert origin["data_licence"] is None
    assert origin["recall"] == [
        {key: value for key, value in RESULT.items() if key != "seconds"}
        | {"model": str(run), "data": "folder:photos, blur:2 on queries"}
    ]
    assert model_origin(str(run), results=[str(run / "recall.json")]) == origin  # once


def test_results_are_given_by_name(run, tmp_path):
    asymmetric = {"gallery_model": "runs/teacher"}
    file = write(tmp_path / "r.json", RESULT | {"model": "m", "asymmetric": asymmetric})
    (result,) = model_origin(str(run), results=[file])["recall"]
    assert result["data"] == "folder:photos, in the gallery of runs/teacher"
    assert result["recall"] == {"1": 0.5, "2": 0.75}
    (tmp_path / "r.json").write_text("no JSON")
    with pytest.raises(InputError, match=r"`results=.*r\.json` is not a result of an evaluation"):
        model_origin(str(run), results=[file])
    write(tmp_path / "r.json", {"model": "m", "protocol": "accuracy", "figures": {"top_1": 0.5}})
    with pytest.raises(InputError, match="is of the protocol accuracy; the model card takes"):
        model_origin(str(run), results=[file])


VERIFICATION = {
    "data": "pairs.csv",
    "split": "test",
    "protocol": "verification",
    "images": 9,
    "same_pairs": 10,
    "different_pairs": 20,
    "figures": {"accuracy": 0.75, "tar_at_far": {"1e-1": 0.5, "1e-2": None}},
    "intervals": {"accuracy": [0.7, 0.8], "tar_at_far": {"1e-1": None, "1e-2": None}},
    "intervals_over": "people",
    "calibration": {"slope": 9.0, "intercept": -2.0, "thresholds": []},
    "mirror": False,
}


def test_results_of_verification_are_found_beside_the_model_or_given(run, tmp_path):
    (run / "flags.txt").write_text("--dataset=folder:photos\n")
    ours = VERIFICATION | {"model": str(run)}
    write(run / "old.json", ours | {"images": 1})
    os.utime(run / "old.json", (1e9 + 1, 1e9 + 1))
    write(run / "pairs.json", ours)
    write(run / "degraded.json", ours | {"degrade": "blur:2", "images": 2})
    write(run / "of_another.json", ours | {"model": "other", "images": 3})
    write(run / "damaged.json", ours | {"calibration": {"slope": "x"}})
    origin = model_origin(str(run))
    expected = {key: value for key, value in ours.items() if key != "protocol"}
    assert (origin["verification"], origin["recall"]) == (expected, [])
    assert "verification" not in model_origin(str(run), mirror=True)
    file = write(tmp_path / "v.json", ours | {"degrade": "blur:2", "images": 2})
    given = model_origin(str(run), results=[file])["verification"]
    assert (given["images"], given["data"]) == (2, "pairs.csv, blur:2")
    with pytest.raises(InputError, match="was measured without `mirror`, and the model is export"):
        model_origin(str(run), results=[file], mirror=True)


def test_results_averaged_with_mirror_images_are_told_apart(run, tmp_path):
    file = write(tmp_path / "r.json", RESULT | {"model": "m", "mirror": True})
    (result,) = model_origin(str(run), results=[file])["recall"]
    assert result["data"] == "folder:photos, averaged with mirror images"


def test_test_images_of_a_run(run, tmp_path):
    for label in range(4):
        (tmp_path / "photos" / str(label)).mkdir(parents=True)
        pixels = np.full((8, 8, 3), label, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / str(label) / "a.png")
    flags = f"--dataset=folder:{tmp_path / 'photos'}\n--data_dir=~\n"
    (run / "flags.txt").write_text(flags + "--train_classes=:3\n--test_classes=3:\n")
    assert run_test_images(str(run)).paths.tolist() == ["3/a.png"]
    (run / "flags.txt").write_text(flags + "--test_classes=9:\n")
    assert run_test_images(str(run)) is None
    for dataset in ("folder:nowhere", "glyphs", "cub", ""):  # never drawn or downloaded for this
        (run / "flags.txt").write_text(f"--dataset={dataset}\n--data_dir={tmp_path}\n")
        assert run_test_images(str(run)) is None
    assert [path.name for path in tmp_path.iterdir() if "photo" not in path.name] == ["run"]


def test_a_run_of_classes_that_are_split_by_image(run, tmp_path):
    (run / "student.keras").rename(run / "model.keras")
    (tmp_path / "photos").mkdir()
    (run / "flags.txt").write_text(
        f"--recipe=head_sharing\n--dataset=folder:{tmp_path / 'photos'}\n--backbone=mobilenet\n"
        "--alpha=1.0\n--student=small.keras\n--teacher=big.keras\n--combination=th_kd\n"
    )
    write(run / "summary.json", {"labels": ["cat", "dog"], "train_classes": ["cat", "dog"]})
    found = model_origin(str(run))
    assert found["training_classes"] == ["cat", "dog"]
    assert found["training"] == {
        "student": "small.keras",
        "teacher": "big.keras",
        "combination": "th_kd",
    }
    write(run / "summary.json", {})
    assert "training_classes" not in model_origin(str(run))
    assert run_test_images(str(run)) is None
