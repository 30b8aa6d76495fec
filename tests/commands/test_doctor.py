import functools
import importlib.metadata
import importlib.util
import json
import os

import pytest

from keras_distill.diagnosis.installation import check_addons, check_disk, guarded
from keras_distill.errors import InputError

HAS_ADDONS = importlib.util.find_spec("tensorflow_addons") is not None


@pytest.fixture(scope="session")
def healthy(ended_once, command, damaged_photos):
    """What is said where all is well but the data set."""

    def launch(folder):
        data = f"--dataset=folder:{damaged_photos}"
        return command("doctor", data, f"--out={folder}", f"--data_dir={folder}", "--json")

    return ended_once("healthy", launch)


@pytest.fixture
def broken(tmp_path):
    """A folder of packages that cannot be imported."""

    def plant(**modules):
        for name, text in modules.items():
            (tmp_path / f"{name}.py").write_text(text)
        return str(tmp_path)

    return plant


def by_name(ended):
    return {finding["name"]: finding for finding in json.loads(ended.out)["findings"]}


def test_each_finding_has_a_state_and_disabled_features(healthy, damaged_photos):
    found = by_name(healthy)
    for name in ("python", "numpy", "tensorflow", "keras", "protobuf", "grpcio", "processors"):
        assert (found[name]["state"], found[name]["disables"]) == ("ok", "")
        assert found[name]["found"]
    assert found["tensorflow"]["found"].startswith("2.20.")
    assert found["a step of training"]["state"] == "ok"
    if HAS_ADDONS:
        assert found["tensorflow-addons"]["found"].startswith("0.23.0 with tf-keras 2.20.")
    for name in ("bfloat16", "float16"):
        assert "times as fast as float32" in found[f"--mixed_precision=mixed_{name}"]["found"]
    assert "GB free in" in found[f"--out={healthy.path}"]["found"]
    for finding in found.values():
        assert finding["state"] in ("ok", "missing", "broken")
        if finding["state"] != "ok":
            assert finding["disables"]
    assert healthy.code == 1
    data = found[f"--dataset=folder:{damaged_photos}"]
    assert (data["state"], data["essential"]) == ("broken", True)
    assert data["found"] == "2 of 60 cannot be decoded, such as class_0/1.jpg"
    assert json.loads(healthy.out)["can_train"] is False


def test_missing_extras_disable_only_their_own_features(here, photos, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    gone = ("faiss", "pyarrow", "apache_beam", "scann")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name in gone else find(name, *a)
    )
    given = [f"--out={tmp_path}", f"--data_dir={tmp_path}", "--json"]
    ended = here("doctor", *given, f"--dataset=folder:{photos}")
    found = by_name(ended)
    assert found[f"--dataset=folder:{photos}"]["found"] == "60 images of 6 classes; decoded 60"
    assert {found[name]["state"] for name in ("faiss-cpu", "pyarrow", "apache-beam", "scann")} == {
        "missing"
    }
    assert found["faiss-cpu"]["disables"] == "--backend=faiss"
    assert found["faiss-cpu"]["remedy"] == "pip install 'keras_distill[faiss]'"
    assert (ended.code, json.loads(ended.out)["can_train"]) == (0, True)
    found = by_name(here("doctor", *given, "--dataset=cub"))["--dataset=cub"]
    assert (found["state"], found["essential"]) == ("missing", False)
    assert found["remedy"] == "tfds build caltech_birds2011"


def test_a_broken_import_is_a_finding(command, broken):
    path = broken(
        tensorflow="raise RuntimeError('no AVX here')",
        faiss="import sys\nsys.exit('bye')",
        scann="1 / 0",
    )
    ended = command("doctor", "--json", PYTHONPATH=_before(path))
    assert (ended.code, ended.err) == (1, "")
    found = by_name(ended)
    assert found["tensorflow"]["state"] == "broken"
    assert found["tensorflow"]["found"] == "import tensorflow: RuntimeError: no AVX here"
    assert found["tensorflow"]["essential"]
    assert found["faiss-cpu"]["found"] == "import faiss: SystemExit: bye"
    assert found["scann"]["found"] == "import scann: ZeroDivisionError: division by zero"
    assert found["gpu, precision, data"]["state"] == "unknown"
    ended = command("doctor", PYTHONPATH=_before(path))
    assert ended.code == 1
    assert "training cannot run: tensorflow" in ended.out
    assert "Traceback" not in ended.out + ended.err


@pytest.mark.slow
def test_a_narrow_terminal_cuts_nothing_off(command, broken, tmp_path):
    given = [f"--out={tmp_path}/out", f"--data_dir={tmp_path}/data"]
    path = broken(tensorflow="raise RuntimeError('no AVX here')")
    environment = {"PYTHONPATH": _before(path), "COLUMNS": "80"}
    names = [*by_name(command("doctor", *given, "--json", **environment))]
    lines = command("doctor", *given, **environment).out.splitlines()
    assert max(map(len, lines)) == 80
    rows = [""]
    for line in lines:
        if line.startswith("│"):
            area, name, *_ = (cell.strip() for cell in line.strip("│").split("│"))
            rows += [name] if area else [rows.pop() + name]
    assert sorted("".join(row.split()) for row in rows[1:]) == sorted(
        "".join(name.split()) for name in names
    )


@pytest.mark.slow
@pytest.mark.skipif(not HAS_ADDONS, reason="TensorFlow Addons has no wheel for this Python")
def test_addons_that_cannot_be_imported_are_broken(command, broken, tmp_path):
    path = broken(tf_keras="raise ImportError('half installed')")
    ended = command("doctor", f"--out={tmp_path}", "--json", PYTHONPATH=_before(path))
    assert ended.code == 0
    finding = by_name(ended)["tensorflow-addons"]
    assert (finding["state"], finding["found"]) == ("broken", "ImportError: half installed")
    assert finding["disables"].startswith("--task_loss=tfa:")


@pytest.mark.skipif(not HAS_ADDONS, reason="TensorFlow Addons has no wheel for this Python")
def test_addons_are_found_without_an_import(monkeypatch):
    assert check_addons().state == "ok"

    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    finding = check_addons()
    assert (finding.state, finding.found) == ("missing", "no tensorflow-addons")
    assert "pip install 'keras_distill[addons]'" in finding.remedy


def test_a_small_disk_is_broken(tmp_path, monkeypatch):
    finding = check_disk("--out", str(tmp_path / "not" / "there"), "runs")
    assert (finding.state, finding.found.endswith(f"GB free in {tmp_path}")) == ("ok", True)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("", (), {"free": 10**8}))
    finding = check_disk("--out", str(tmp_path), "runs")
    assert (finding.state, finding.disables) == ("broken", "runs")
    assert finding.found == f"0.1 GB free in {tmp_path}"


def test_a_data_set_that_cannot_be_used_names_the_flags(tmp_path, monkeypatch):
    from keras_distill.diagnosis import tensorflow as checks

    def refuse(name, data_dir):
        raise InputError(f"`name={name}` is not there; give its folder as `data_dir`.")

    monkeypatch.setattr(checks, "find_images", refuse)
    (tmp_path / "keras_distill" / "caltech_birds2011-0.0.1").mkdir(parents=True)
    check = functools.partial(checks.check_dataset, "cub", str(tmp_path))
    finding = guarded("data", "--dataset=cub", check, disables="training")
    assert finding.state == "broken"
    assert finding.found == "--dataset=cub is not there; give its folder as --data_dir."


def test_bad_flags_end_early(early):
    ended = early("doctor", "--dataset=birds", fresh=True)
    assert ended.code == 2
    assert "--dataset=birds is unknown; give one of" in ended.err


def _before(path):
    return os.pathsep.join([path, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
