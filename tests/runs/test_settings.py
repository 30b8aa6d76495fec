import pytest

from keras_distill import evaluate, report
from keras_distill.runs.directory import RunDirectory
from keras_distill.runs.settings import inherit_settings


def test_a_single_teacher_loses_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("photos/wren", "run", "teacher"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "run" / "student.keras").touch()
    (tmp_path / "run" / "flags.txt").write_text(
        "--dataset=folder:photos\n--teacher=a=teacher\n--teacher_image_size=a:224\n"
        "--teacher_preprocessing=0_1\n--teacher_output=\n"
    )
    settings, inherited, _ = inherit_settings(
        report.COMMAND.parse(["--run=run"]),
        RunDirectory("run"),
        ("dataset", "teacher", "image_size"),
    )
    assert inherited == {
        "dataset": "folder:photos",
        "teacher": "teacher",
        "teacher_image_size": "224",
        "teacher_preprocessing": "0_1",
    }
    assert (settings.teacher, settings.teacher_image_size) == ("teacher", 224)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run that was trained on other than the default classes, by worse images."""
    monkeypatch.chdir(tmp_path)
    for folder in ("photos/wren", "others/wren", "run"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "run" / "flags.txt").write_text(
        "--dataset=folder:photos\n--train_classes=3:\n--test_classes=:3\n--degrade=grey\n"
        "--teacher=\n--teacher_preprocessing=0_255\n--noattention\n"
    )
    return RunDirectory("run")


SPLIT = {"train_classes": "3:", "test_classes": ":3"}


@pytest.mark.parametrize(
    ("given", "inherited"),
    [
        ([], {"dataset": "folder:photos", **SPLIT, "degrade": "grey"}),
        (["--dataset=folder:photos"], {**SPLIT, "degrade": "grey"}),
        (["--dataset=folder:run/../photos/", "--degrade="], SPLIT),
        (["--dataset=folder:photos", "--test_classes=1:3", "--degrade="], {"train_classes": "3:"}),
        (["--dataset=folder:others"], {"degrade": "grey"}),
        (["--dataset=cub", "--degrade=jpeg:5"], {}),
    ],
)
def test_classes_belong_to_their_data(run, given, inherited):
    settings = evaluate.COMMAND.parse(given)
    settings, taken, said = inherit_settings(settings, run, ("dataset", "degrade"))
    assert taken == inherited
    for name, value in inherited.items():
        assert getattr(settings, name) == value
    assert ("From run/flags.txt: " in said) == bool(inherited)
    other = "is not the data set of the run, folder:photos: its classes (--train_classes=3:, --tes"
    assert (other in said) == ("others" in str(given) or "cub" in str(given))


def test_a_run_without_a_teacher_has_no_settings_of_one(run):
    settings, inherited, _ = inherit_settings(
        report.COMMAND.parse(["--run=run"]), run, ("dataset", "teacher", "image_size")
    )
    assert inherited == {"dataset": "folder:photos", **SPLIT}
    assert "teacher_preprocessing" not in settings.given


def test_nothing_is_inherited_from_a_folder_without_settings(tmp_path):
    settings = report.COMMAND.parse([f"--run={tmp_path}"])
    run = RunDirectory(tmp_path)
    assert inherit_settings(settings, run, ("dataset", "teacher")) == (settings, {}, "")
