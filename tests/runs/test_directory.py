import json

import pytest

from keras_distill.errors import InputError
from keras_distill.runs.directory import RunDirectory


def files_of(run):
    return sorted(str(p.relative_to(run.path)) for p in run.path.rglob("*") if p.is_file())


@pytest.fixture
def finished(tmp_path):
    run = RunDirectory(tmp_path / "runs" / "first")
    run.begin("--epochs=3\n")
    for path in (
        run.checkpoints / "step-000003" / "arrays.npz",
        run.tensorboard / "train" / "events",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("former")
    run.product.write_text("former")
    run.append_metrics({"epoch": 1, "step": 2, "loss": 0.5})
    run.append_metrics({"epoch": 2, "step": 4, "loss": 0.25})
    run.write_summary({"student": "first"})
    return run


def test_files(finished):
    assert files_of(finished) == [
        ".lock",
        "checkpoints/step-000003/arrays.npz",
        "flags.txt",
        "metrics.jsonl",
        "student.keras",
        "summary.json",
        "tensorboard/train/events",
    ]
    assert finished.flags.read_text() == "--epochs=3\n"
    lines = finished.metrics.read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"epoch": 1, "step": 2, "loss": 0.5},
        {"epoch": 2, "step": 4, "loss": 0.25},
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
    assert files_of(finished) == [".lock", "flags.txt", "notes.txt"]
    assert not list(finished.path.glob("projected_teacher*"))
    assert finished.flags.read_text() == "--epochs=5\n"


def test_resume_leaves_what_came_before_a_step(finished):
    with finished.metrics.open("a") as file:
        file.write('{"epoch": 3, "st')  # the disk was full
    finished.resume("--epochs=5\n", step=2)
    assert files_of(finished) == [
        ".lock",
        "checkpoints/step-000003/arrays.npz",
        "flags.txt",
        "metrics.jsonl",
        "student.keras",
        "tensorboard/train/events",
    ]
    assert finished.flags.read_text() == "--epochs=5\n"
    assert finished.read_metrics() == [{"epoch": 1, "step": 2, "loss": 0.5}]


def test_one_process_at_a_time(finished):
    finished.lock()  # again
    with pytest.raises(InputError, match="first`: another process trains there"):
        RunDirectory(finished.path).lock()
    finished.unlock()
    RunDirectory(finished.path).lock()
