import pytest

from keras_distill import evaluate, report
from keras_distill.errors import InputError, as_flags
from keras_distill.runs.directory import RunDirectory
from keras_distill.runs.settings import inherit_settings, read_settings
from keras_distill.settings.evaluation import protocol_of


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
    other = "is not the data set of the run, folder:photos: its split (--train_classes=3:, --tes"
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


CLASSIFIED = "--recipe=head_sharing\n--test_share=0.0\n--validation_share=0.0\n--split_seed=7\n"


def test_a_share_of_zero_is_a_value_of_the_run(run):
    run.flags.write_text(f"{CLASSIFIED}--dataset=folder:photos\n")
    settings = evaluate.COMMAND.parse(["--protocol=accuracy"])
    settings, _, said = inherit_settings(settings, run, ("dataset", "degrade"))
    assert (settings.test_share, settings.validation_share, settings.split_seed) == (0, 0, 7)
    assert said.endswith("--validation_share=0.0, --test_share=0.0, --split_seed=7")


@pytest.mark.parametrize(
    ("trained", "given", "same"),
    [
        ("faces:photos", "faces:./others/../photos", True),
        ("faces:photos", "folder:photos", False),
        ("faces:photos", "faces:others", False),
        ("cifar10", "cifar10", True),
        ("cifar10", "cifar100", False),
    ],
)
def test_data_are_the_same_however_the_path_is_written(run, trained, given, same):
    run.flags.write_text(f"{CLASSIFIED}--dataset={trained}\n")
    settings = evaluate.COMMAND.parse([f"--dataset={given}", "--protocol=accuracy"])
    settings, _, said = inherit_settings(settings, run, ("dataset", "degrade"))
    assert settings.split_seed == (7 if same else 0)
    other = (
        f"{given} is not the data set of the run, {trained}: its split (--validation_share=0.0, "
        "--test_share=0.0, --split_seed=7) is not taken over."
    )
    assert (other in said) != same


@pytest.mark.parametrize(
    ("given", "share"),
    [
        ("labels:train=./a.csv,test=b.csv", 0.0),
        ("labels:train=b.csv,test=a.csv", 0.1),
        ("labels:a.csv", 0.1),
    ],
)
def test_data_of_several_files_are_the_same_if_all_are(run, given, share):
    for name in "ab":
        (run.path.parent / f"{name}.csv").touch()
    run.flags.write_text(
        "--recipe=multilabel\n--validation_share=0.0\n--dataset=labels:train=a.csv,test=b.csv\n"
    )
    settings = evaluate.COMMAND.parse([f"--dataset={given}", "--protocol=multilabel"])
    settings, _, _ = inherit_settings(settings, run, ("dataset", "degrade"))
    assert settings.validation_share == share


def test_nothing_is_said_of_classes_if_pairs_are_given(run):
    settings = evaluate.COMMAND.parse(["--pairs=pairs.csv"])
    assert inherit_settings(settings, run, ("degrade",))[2] == (
        "From run/flags.txt: --degrade=grey"
    )


@pytest.mark.parametrize(
    ("written", "remedy"),
    [
        ("--dataset=folder:gone", "--dataset=folder:PATH"),
        ("--recipe=head_sharing\n--dataset=faces:gone", "--dataset=faces:PATH"),
        ("--recipe=multilabel\n--dataset=labels:gone.csv", "--dataset=labels:PATH"),
        (
            "--recipe=ranked_regression\n--dataset=folder:photos\n--scores=gone.csv",
            "--scores",
        ),
    ],
)
def test_the_remedy_is_of_what_is_missing(run, written, remedy):
    run.flags.write_text(f"{written}\n")
    settings = evaluate.COMMAND.parse([])
    settings = settings.replace(protocol=protocol_of(read_settings(run)))
    with pytest.raises(InputError, match=r"there is no .*run/flags\.txt") as error:
        inherit_settings(settings, run, ("dataset",))
    assert as_flags(str(error.value), ["dataset", "scores"]).endswith(f"Give {remedy}.")
