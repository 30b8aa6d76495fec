import json

import pytest

from keras_distill.errors import InputError
from keras_distill.training.run_directory import RunDirectory


def files_of(run):
    return sorted(str(p.relative_to(run.path)) for p in run.path.rglob("*") if p.is_file())


@pytest.fixture
def finished(tmp_path):
    run = RunDirectory(tmp_path / "runs" / "first")
    run.begin("--epochs=3\n")
    for path in (run.last_checkpoint, run.best_checkpoint, run.tensorboard / "train" / "events"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("former")
    run.student.write_text("former")
    run.append_metrics({"epoch": 1, "loss": 0.5})
    run.append_metrics({"epoch": 2, "loss": 0.25})
    run.write_summary({"student": "first"})
    return run


def test_files(finished):
    assert files_of(finished) == [
        "checkpoints/best.keras",
        "checkpoints/last.keras",
        "flags.txt",
        "metrics.jsonl",
        "student.keras",
        "summary.json",
        "tensorboard/train/events",
    ]
    assert finished.flags.read_text() == "--epochs=3\n"
    lines = finished.metrics.read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"epoch": 1, "loss": 0.5},
        {"epoch": 2, "loss": 0.25},
    ]
    assert json.loads(finished.summary.read_text()) == {"student": "first"}


def test_begin_leaves_nothing_of_a_former_run(finished):
    (finished.path / "notes.txt").write_text("mine")
    for name in ("teacher_pca.keras", "teacher_pca_a.keras", "projected_teacher_a.npz"):
        (finished.path / name).write_text("former")
    for name in ("projected_teacher", "projected_teacher_b"):
        (finished.path / name / "variables").mkdir(parents=True)
        (finished.path / name / "saved_model.pb").write_text("former")
    finished.begin("--epochs=5\n")
    assert files_of(finished) == ["flags.txt", "notes.txt"]
    assert not list(finished.path.glob("projected_teacher*"))
    assert finished.flags.read_text() == "--epochs=5\n"


def test_check_free(finished, tmp_path):
    with pytest.raises(InputError, match=r"--run_dir=.*first holds a run already; .*--overwrite"):
        finished.check_free(overwrite=False)
    finished.check_free(overwrite=True)
    assert "student.keras" in files_of(finished)  # to overwrite is up to `begin`
    RunDirectory(str(tmp_path / "another")).check_free(overwrite=False)
    (tmp_path / "empty").mkdir()
    RunDirectory(tmp_path / "empty").check_free(overwrite=False)


@pytest.mark.parametrize("overwrite", [False, True])
def test_check_free_of_a_file(overwrite, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file is a file; give a folder"):
        RunDirectory(tmp_path / "file").check_free(overwrite=overwrite)
