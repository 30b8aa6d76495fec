import json
import re
import signal
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill import InputError, evaluation_batches, load_teacher, mirror_averaged
from keras_distill.data.image_set import read_pictures
from keras_distill.data.views import centre_view
from keras_distill.serving.export import bundle
from keras_distill.serving.export.session_model import SessionModel
from keras_distill.teachers.embedder_fingerprint import embedder_fingerprint


def versions(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.isdecimal())


def files(folder):
    """What a server would look at, and when it was written."""
    return {
        path: path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if not path.relative_to(folder).parts[0].startswith(".")
    }


def test_export_says_what_it_wrote(exported, teacher):
    assert (exported.code, exported.err) == (0, "")
    written = json.loads(exported.out.splitlines()[-1])
    assert written["model"] == str(teacher.path)
    assert written["saved_model"] == str(exported.path)
    size = sum(file.stat().st_size for file in exported.path.rglob("*") if file.is_file())
    assert written["megabytes"] == round(size / 1e6, 3) > 0
    assert versions(exported.path.parent) == ["1"]


def test_exported_model_embeds_as_the_run_does(exported, teacher):
    student = keras.models.load_model(teacher.path / "student.keras", compile=False)
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), np.uint8)
    with SessionModel(exported.path) as model:
        answer = model.call("serve_uint8", {"image": images}, ["embedding"])
    np.testing.assert_allclose(answer["embedding"], student(images), atol=1e-5)


@pytest.mark.slow
def test_version_is_the_next_free_one_or_as_asked(here, teacher, tmp_path):
    given = [f"--model={teacher.path / 'student.keras'}", f"--out={tmp_path}", "--name=birds"]
    (tmp_path / "birds" / "4").mkdir(parents=True)
    assert here("export", *given).code == 0
    assert versions(tmp_path / "birds") == ["4", "5"]
    assert here("export", *given, "--version=3").code == 0
    assert versions(tmp_path / "birds") == ["3", "4", "5"]
    before = files(tmp_path / "birds")
    taken = here("export", *given, "--version=4")
    assert taken.code == 2
    assert f"version=4 of '{tmp_path / 'birds'}' exists; leave it out" in taken.err
    assert before == files(tmp_path / "birds")


@pytest.mark.slow
def test_export_that_differs_is_not_published(here, monkeypatch, teacher, tmp_path):
    other = keras.models.load_model(teacher.path / "student.keras", compile=False)
    other.set_weights([-weight for weight in other.get_weights()])
    write = bundle.write_saved_model
    monkeypatch.setattr(
        bundle, "write_saved_model", lambda _, *given, **more: write(other, *given, **more)
    )
    ended = here("export", f"--model={teacher.path}", f"--out={tmp_path}")
    assert ended.code == 1
    assert "export: The export is not fit to be served; nothing was published." in ended.out
    assert "- the signature serving_default differs from the Keras model: cosine" in ended.out
    assert files(tmp_path / "embedder") == {}
    assert not list((tmp_path / "embedder").glob(".tmp-*"))


@pytest.mark.slow
def test_killed_export_leaves_no_version(here, nursery, teacher, tmp_path):
    given = [f"--model={teacher.path}", f"--out={tmp_path}", "--name=birds"]
    export = nursery.popen([sys.executable, "-m", "keras_distill.export", *given])
    while export.poll() is None and not list(tmp_path.glob("birds/.tmp-*/saved_model.pb")):
        time.sleep(0.002)  # until the model is written and only the comparison is left
    export.kill()
    assert export.wait() == -signal.SIGKILL
    assert files(tmp_path / "birds") == {}
    assert len(list(tmp_path.glob("birds/.tmp-1-*"))) == 1
    assert here("export", *given).code == 0
    assert versions(tmp_path / "birds") == ["1"]
    assert not list(tmp_path.glob("birds/.tmp-*"))


def test_full_disk_publishes_nothing(here, teacher, tmp_path, small_disk):
    with small_disk():
        ended = here("export", f"--model={teacher.path}", f"--out={tmp_path}")
    assert ended.code == 2
    assert f"'{tmp_path / 'embedder' / '1'}' could not be written" in ended.err
    assert files(tmp_path / "embedder") == {}
    assert not list((tmp_path / "embedder").glob(".tmp-*"))


def test_bundle_tells_of_the_run(exported, teacher, photos):
    facts = json.loads((exported.path / "assets.extra" / "distill.json").read_text())
    assert facts["data"] == f"folder:{photos}"
    assert facts["data_licence"] is None
    assert facts["training"]["epochs"] == "2"
    assert [result["split"] for result in facts["recall"]] == ["validation"]
    assert facts["checks"]["images"] == f"12 pictures, some drawn, some of {photos}"
    assert "The golden requests show drawn pictures." in exported.out
    written = json.loads(exported.out.splitlines()[-1])
    assert (written["version"], written["batching"]) == (1, "graph")
    assert written["least_cosine"] >= 0.9999


@pytest.mark.slow
def test_photographs_become_golden_if_they_are_given(here, teacher, photos, tmp_path):
    ended = here(
        "export",
        f"--model={teacher.path / 'student.keras'}",
        f"--out={tmp_path}",
        f"--images={photos}",
        "--batching=none",
        "--data_licence=CC BY 4.0",
    )
    assert ended.code == 0
    assert f"The golden requests show small copies of 8 images of {photos}." in ended.out
    folder = tmp_path / "embedder" / "1"
    card = (folder / "MODEL_CARD.md").read_text()
    assert "| Licence of the data | CC BY 4.0 |" in card
    assert "| Training classes | 2: class_0, class_1 |" in card
    assert b"BatchFunction" not in (folder / "saved_model.pb").read_bytes()


def test_check(here, exported, tmp_path):
    ended = here("export", f"--check={exported.path}")
    assert (ended.code, ended.err) == (0, "")
    assert json.loads(ended.out) == {"saved_model": str(exported.path), "faults": []}
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.export(str(tmp_path / "bare"), verbose=False)
    ended = here("export", f"--check={tmp_path / 'bare'}")
    assert ended.code == 1
    faults = json.loads(ended.out.splitlines()[-1])["faults"]
    assert len(faults) == 2  # Keras writes the same signature under two names
    assert all(f"export: {fault}" in ended.out for fault in faults)


@pytest.mark.slow
def test_litert_files_calibrated_by_the_classes_of_the_run(command, teacher, photos, tmp_path):
    given = [f"--model={teacher.path}", f"--out={tmp_path}", "--name=birds", "--format=litert"]
    ended = command(
        "export", *given, "--precision=int8", "--precision=float16", "--calibration_images=5"
    )
    assert (ended.code, ended.err) == (0, "")
    folder = tmp_path / "birds" / "litert"
    assert sorted(path.name for path in folder.iterdir()) == [
        "birds_float16.json",
        "birds_float16.tflite",
        "birds_int8.json",
        "birds_int8.tflite",
    ]
    said = [json.loads(line) for line in ended.out.splitlines()]
    assert [one["file"] for one in said] == [
        str(folder / "birds_int8.tflite"),
        str(folder / "birds_float16.tflite"),
    ]
    card = json.loads((folder / "birds_int8.json").read_text())
    assert card["images"] == f"the training classes of folder:{photos}"
    # Classes :4 but for 2:4, which the run held out.
    assert (card["calibration_images"], card["compared_images"]) == (5, 20)
    assert said[0]["cosine"] == card["cosine"]
    assert said[0]["cosine"]["least"] > 0.9


@pytest.mark.slow
def test_onnx_file_of_a_model_without_images(here, teacher, tmp_path):
    (tmp_path / "alone.keras").write_bytes((teacher.path / "student.keras").read_bytes())
    given = [f"--model={tmp_path / 'alone.keras'}", f"--out={tmp_path}", "--format=onnx"]
    ended = here("export", *given)
    assert (ended.code, ended.err) == (0, "")
    card = json.loads((tmp_path / "embedder" / "onnx" / "embedder_float32.json").read_text())
    assert (card["images"], card["compared_images"]) == ("generated glyphs", 64)
    # A run whose data is elsewhere is checked on glyphs too, but glyphs calibrate nothing.
    (tmp_path / "run").mkdir()
    (tmp_path / "alone.keras").rename(tmp_path / "run" / "student.keras")
    (tmp_path / "run" / "flags.txt").write_text("--dataset=folder:gone\n")
    given = [f"--model={tmp_path / 'run'}", f"--out={tmp_path}", "--name=b"]
    ended = here("export", *given, "--format=litert", "--precision=int8")
    assert ended.code == 2
    assert "'gone' does not exist" in ended.err
    assert "calibrate int8; give --calibration=FOLDER." in ended.err
    assert not (tmp_path / "b").exists()


@pytest.mark.slow
def test_calibration_by_a_folder(here, teacher, photos, tmp_path):
    given = [f"--model={teacher.path}", f"--out={tmp_path}", "--format=litert"]
    calibrated = [*given, f"--calibration={photos / 'class_5'}", "--precision=int8"]
    assert here("export", *calibrated).code == 0
    folder = tmp_path / "embedder" / "litert"
    card = json.loads((folder / "embedder_int8.json").read_text())
    assert (card["calibration_images"], card["compared_images"]) == (10, 10)
    before = (folder / "embedder_int8.tflite").read_bytes()
    ended = here("export", *calibrated, "--least_cosine=1")
    assert ended.code == 1
    assert "export: litert int8: The exported file differs from the Keras model: " in ended.out
    assert (folder / "embedder_int8.tflite").read_bytes() == before
    (advised,) = re.findall(r"--least_cosine=[\d.]+\d", ended.out)
    assert here("export", *calibrated, advised).code == 0
    (tmp_path / "empty").mkdir()
    ended = here("export", *given, f"--calibration={tmp_path / 'empty'}")
    assert ended.code == 2
    assert "has no JPEG or PNG images" in ended.err


def test_model_that_is_no_embedder_is_refused(here, photos, tmp_path):
    ended = here("export", f"--model={photos}", f"--out={tmp_path}")
    assert ended.code == 2
    assert "is not a .keras file" in ended.err
    vector = keras.Input((5,))
    keras.Model(vector, keras.layers.Dense(3)(vector)).save(tmp_path / "dense.keras")
    ended = here("export", f"--model={tmp_path / 'dense.keras'}", f"--out={tmp_path / 'out'}")
    assert ended.code == 2
    assert "square RGB images" in ended.err
    assert not (tmp_path / "out").exists()


def test_usable_flags_load_tensorflow(early):
    assert early("export", "--model=.", "--out=models", fresh=True).code == 99


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--modle=x", "'modle'. Did you mean: model"),
        ("--model=", "--model is required."),
        ("--model=nowhere.keras", "--model=nowhere.keras does not exist."),
        ("--out=", "--out is required."),
        ("--out=model.keras", "--out=model.keras is a file; give a folder."),
        ("--name=", "--name= cannot be the name of a folder."),
        ("--name=a/b", "--name=a/b cannot be the name of a folder."),
        ("--name=..", "--name=.. cannot be the name of a folder."),
        ("--name=.tmp", "--name=.tmp cannot be the name of a folder."),
        ("--name=a:b", "--name=a:b could not be requested"),
        ("--name=7", "--name=7 could not be requested"),
        ("--images=nowhere", "--images=nowhere is not a folder."),
        ("--recall=nowhere.json", "--recall=nowhere.json is not a file; evaluate --json writes"),
        ("--batching=always", "--batching=always: value should be one of <graph|none>"),
        ("--check=nowhere", "--model has no effect with --check; leave it out."),
        ("--check=. --mirror", "has no effect with --check; leave it out."),
        ("--version=0", "--version=0: 0 is not a positive integer"),
        ("--version=new", "--version=new: invalid literal for int()"),
        ("--format=tflite", "--format=tflite: value should be one of <saved_model|litert|onnx>"),
        ("--format=litert --precision=int4", "--precision=int4 is not one of float32, float16, dy"),
        ("--precision=int8", "--precision=int8 has no effect on --format=saved_model; LiteRT"),
        ("--format=onnx --precision=int8", "--precision=int8 has no effect on --format=onnx"),
        ("--calibration=.", "--calibration has no effect on --format=saved_model."),
        ("--least_cosine=0.9", "--least_cosine has no effect on --format=saved_model."),
        ("--calibration_images=5", "--calibration_images has no effect on --format=saved_model."),
        ("--format=onnx --least_cosine=1.5", "--least_cosine=1.5 must be above 0 and at most 1"),
        ("--format=litert --calibration=no", "--calibration=no is not a folder."),
        ("--format=litert --version=2", "--version has no effect on --format=litert; leave"),
        ("--format=litert --precision=int8", "--precision=int8 needs images to calibrate with: "),
        ("--calibration_images=0", "--calibration_images=0: 0 is not a positive integer"),
    ],
)
def test_unusable_flag_is_refused_before_tensorflow_is_loaded(early, tmp_path, flags, said):
    (tmp_path / "model.keras").touch()
    ended = early("export", "--model=model.keras", "--out=models", *flags.split(), cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert ended.err.startswith("export: ")
    assert ended.err.endswith("See `python -m keras_distill.export --help`.\n")
    assert "Traceback" not in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


def test_check_of_what_is_no_saved_model(early, tmp_path):
    ended = early("export", f"--check={tmp_path}")
    assert ended.code == 2
    assert "holds no saved_model.pb; give a version, such as models/birds/1." in ended.err


@pytest.mark.slow
def test_mirror_is_in_the_graph_the_facts_and_the_card(here, teacher, tmp_path):
    given = [f"--model={teacher.path}", f"--out={tmp_path}", "--name=birds"]
    assert here("export", *given, "--mirror").code == 0
    folder = tmp_path / "birds" / "1"
    student = keras.models.load_model(teacher.path / "student.keras", compile=False)
    averaged = mirror_averaged(student)
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), np.uint8)
    expected = np.asarray(averaged(images))
    assert np.abs(expected - np.asarray(student(images))).max() > 1e-3
    signatures = tf.saved_model.load(str(folder)).signatures
    files = [tf.io.encode_png(image).numpy() for image in images]
    served = {
        "serve_uint8": {"image": tf.constant(images)},
        "serve_float": {"image": tf.constant(images, tf.float32)},
    }
    for name, request in served.items():
        np.testing.assert_allclose(signatures[name](**request)["embedding"], expected, atol=1e-5)
    centres = np.stack([centre_view(file, 40) for file in files])
    answers = signatures["serving_default"](image_bytes=tf.constant(files))["embedding"]
    np.testing.assert_allclose(answers, averaged(centres), atol=1e-5)
    facts = json.loads((folder / "assets.extra" / "distill.json").read_text())
    assert facts["mirror"] is True
    assert facts["embedder"] == embedder_fingerprint(load_teacher(teacher.path, mirror=True), 40)
    assert facts["parameters"] == student.count_params()
    card = (folder / "MODEL_CARD.md").read_text()
    assert "| Mirror averaging | the mean over an image and its mirror image," in card
    assert load_teacher(folder).mirror_averaged


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--format=litert", "--format=onnx"])
def test_mirror_is_in_files(here, teacher, photos, tmp_path, flag):
    given = [f"--model={teacher.path}", f"--out={tmp_path}", f"--calibration={photos}", flag]
    more = ["--precision=float32", "--precision=int8"] if "litert" in flag else []
    assert here("export", *given, *more, "--mirror").code == 0
    student = keras.models.load_model(teacher.path / "student.keras", compile=False)
    images = read_pictures(photos)
    ((x, _),) = evaluation_batches(images, image_size=40, batch_size=60)
    expected = mirror_averaged(student)(x["image"])
    files = [*tmp_path.rglob("*.tflite"), *tmp_path.rglob("*.onnx")]
    assert len(files) == 1 + ("litert" in flag)
    for file in files:
        assert json.loads(file.with_suffix(".json").read_text())["mirror"] is True
        loaded = load_teacher(file)
        assert loaded.mirror_averaged
        atol = 0.1 if "int8" in file.name else 1e-4
        np.testing.assert_allclose(loaded(x["image"]), expected, atol=atol)
        with pytest.raises(InputError, match="averages mirror images already"):
            load_teacher(file, mirror=True)


@pytest.mark.slow
def test_model_that_averages_mirror_images_is_exported_as_it_is(here, teacher, tmp_path):
    student = keras.models.load_model(teacher.path / "student.keras", compile=False)
    mirror_averaged(student).save(tmp_path / "averaged.keras")
    given = [f"--model={tmp_path / 'averaged.keras'}", f"--out={tmp_path}", "--name=birds"]
    ended = here("export", *given, "--mirror")
    assert ended.code == 2
    assert "averages mirror images already; use it as it is, without --mirror." in ended.err
    assert here("export", *given).code == 0
    assert load_teacher(tmp_path / "birds" / "1").mirror_averaged
