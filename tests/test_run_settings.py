from keras_distill import report
from keras_distill.run_settings import inherit_settings


def test_a_single_teacher_loses_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("photos/wren", "run", "teacher"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "run" / "student.keras").touch()
    (tmp_path / "run" / "flags.txt").write_text(
        "--dataset=folder:photos\n--teacher=a=teacher\n--teacher_image_size=a:224\n"
        "--teacher_preprocessing=0_1\n--teacher_output=\n"
    )
    flags = report.COMMAND.parse(["--run=run"])
    assert inherit_settings(flags) == {
        "dataset": "folder:photos",
        "teacher": "teacher",
        "teacher_image_size": "224",
        "teacher_preprocessing": "0_1",
    }
    assert (flags.teacher, flags.teacher_image_size) == ("teacher", 224)
