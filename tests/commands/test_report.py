import json
import os
import re

import keras
import numpy as np
import pytest
from PIL import Image

from keras_distill import mirror_averaged
from keras_distill.data.image_set import read_folder
from keras_distill.data.pipeline import evaluation_batches
from keras_distill.serving.export.bundle import export_embedder
from keras_distill.serving.export.model_file import export_file
from keras_distill.serving.export.saved_model import write_saved_model
from keras_distill.settings.report import parse_scann

CLASSES, EACH, SIZE = 26, 10, 32


@pytest.fixture(scope="session")
def shades(once):
    """Pictures whose class is a pattern in red; green, blue, and how bright red is say nothing."""

    def draw(folder):
        rng = np.random.default_rng(0)
        patterns = rng.uniform(0.5, 1, (CLASSES, 4, 4))
        for label in range(CLASSES):
            (folder / f"{label:02d}.pattern").mkdir()
            for index in range(EACH):
                pixels = rng.uniform(0, 255, (4, 4, 3))
                noisy = patterns[label] + rng.normal(0, 0.1, (4, 4))
                pixels[..., 0] = 210 * rng.uniform(0.2, 1) * noisy
                blocks = np.clip(pixels, 0, 255).astype(np.uint8).repeat(12, 0).repeat(12, 1)
                file = folder / f"{label:02d}.pattern" / f"{index:02d}.jpg"
                Image.fromarray(blocks).save(file, quality=95, subsampling=0)

    return once("shades", draw)


def red_embedder(*, bgr=False, normalised=True):
    """An embedder that looks at red alone, in 16 places; or a faulty one."""
    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = keras.ops.flip(image, axis=-1) if bgr else image
    x = keras.layers.Rescaling(1 / 255)(x)
    x = keras.layers.AveragePooling2D(SIZE // 4)(x)
    x = keras.layers.Conv2D(1, 1, use_bias=False, name="red")(x)
    x = keras.layers.Flatten()(x)
    if normalised:
        x = keras.layers.UnitNormalization()(x)
    model = keras.Model(image, x)
    model.get_layer("red").set_weights([np.array([1.0, 0, 0], np.float32).reshape(1, 1, 3, 1)])
    return model


@pytest.fixture(scope="session")
def run(once, shades):
    """A run directory whose teacher embeds as its student does, and three exports."""

    def make(folder):
        red_embedder().save(folder / "student.keras")
        red_embedder().save(folder / "teacher.keras")
        lines = [
            f"--dataset=folder:{shades}",
            "--train_classes=:2",
            "--test_classes=2:",
            f"--teacher={folder / 'teacher.keras'}",
            "--teacher_preprocessing=0_255",
            "--teacher_image_size=",
            f"--image_size={SIZE}",
            "--a_flag_that_is_gone=1",
            "--noattention",
        ]
        (folder / "flags.txt").write_text("\n".join(lines) + "\n")
        export_embedder(red_embedder(), folder / "models", name="right")
        export_embedder(red_embedder(bgr=True), folder / "models", name="bgr")
        faulty = folder / "models" / "not_normalised" / "1"
        write_not_normalised(faulty)

    return once("report_run", make)


def write_not_normalised(folder):
    """A bundle that `export_embedder` would refuse, for its vectors are not of length 1."""
    folder.mkdir(parents=True)
    write_saved_model(red_embedder(normalised=False), folder, SIZE)


@pytest.fixture
def report(here, run, tmp_path):
    """Runs the command in this process and returns how it ended, and the JSON."""

    def launch(*flags):
        ended = here("report", f"--run={run}", f"--out={tmp_path / 'out'}", *flags)
        assert ended.code == 0
        return ended, json.loads((tmp_path / "out" / "report.json").read_text())

    return launch


def changes(found):
    """By step, the change of Recall@1, and whether it is beyond noise."""
    return {
        step["name"]: (step["change"]["recall"]["1"]["value"], step["change"]["recall"]["1"])
        for step in found["steps"][1:]
    }


def test_whole_chain(report, run, tmp_path):
    ended, found = report(f"--export={run / 'models' / 'right'}", "--ks=1,3")
    steps = found["steps"]
    assert [step["name"] for step in steps] == ["teacher", "student", "export", "index"]
    assert [step["before"] for step in steps] == [None, 0, 1, 2]
    assert found["intervals_shown"] == "classes"
    assert steps[2]["model"] == str(run / "models" / "right" / "1")
    for step in steps:
        assert (step["queries"], step["split"], step["protocol"]) == (240, "test", "retrieval")
        assert 0.5 < step["recall"]["1"] < 1
    assert {name: value for name, (value, _) in changes(found).items()} == {
        "student": 0,
        "export": 0,
        "index": 0,
    }
    assert steps[2]["compared_with_before"]["cosine"]["least"] > 0.9999
    assert steps[1]["cost"]["parameters"] == 3
    assert steps[1]["cost"]["milliseconds"] > 0
    assert steps[3]["backend"] == "scann"
    assert steps[3]["index"]["agreement"]["share"] > 0.999
    assert found["settings_of_the_run"].keys() == {
        "dataset",
        "train_classes",
        "test_classes",
        "teacher",
        "teacher_preprocessing",
        "image_size",
    }
    assert f"From {run}/flags.txt: --dataset=folder:" in ended.out
    assert ended.out.splitlines()[-1] == str(tmp_path / "out" / "report.html")
    assert re.search(
        r"^student +0\.\d{4} \[.*\] +[+-]0\.0000 \[\+0\.000, \+0\.000\] ", ended.out, re.M
    )
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["report.html", "report.json"]


@pytest.mark.slow
def test_channels_swapped_in_the_export(report, run):
    _, found = report(f"--export={run / 'models' / 'bgr'}")
    lost = changes(found)
    assert lost["student"][0] == lost["index"][0] == 0
    assert lost["export"][0] < -0.3
    assert lost["export"][1]["beyond_noise"]
    assert found["total"]["recall"]["1"]["value"] == pytest.approx(lost["export"][0])
    assert found["steps"][2]["compared_with_before"]["cosine"]["mean"] < 0.95
    worse = {(c["from"], c["to"]): c["regressed_count"] for c in found["comparisons"]}
    assert worse[1, 2] > 60
    assert worse[0, 1] == worse[2, 3] == 0


@pytest.mark.slow
def test_missing_normalisation_in_the_export(report, run):
    _, found = report(f"--export={run / 'models' / 'not_normalised' / '1'}")
    lost = changes(found)
    assert lost["student"][0] == lost["index"][0] == 0
    assert lost["export"][0] < -0.1
    assert lost["export"][1]["beyond_noise"]
    export = found["steps"][2]
    assert "not of length 1" in export["notes"][0]
    assert export["lengths"][1] > 2 * export["lengths"][0]
    assert export["compared_with_before"]["cosine"]["least"] > 0.999


@pytest.mark.slow
def test_starved_search(report, run):
    """A tree of which one leaf is looked into: ScaNN plants it at random, so mind the margins."""
    _, found = report(f"--export={run / 'models' / 'right'}", "--scann=6:1:1")
    lost = {step["name"]: step["change"] for step in found["steps"][1:]}
    for name in ("student", "export"):
        assert lost[name]["recall"]["1"]["value"] == 0
        assert lost[name]["map_at_r"]["value"] == pytest.approx(0, abs=1e-3)
    assert lost["index"]["recall"]["1"]["value"] < 0
    assert lost["index"]["map_at_r"]["value"] < -0.1  # -0.188 and less in four searches
    assert lost["index"]["map_at_r"]["beyond_noise"]
    assert found["total"]["map_at_r"]["value"] == pytest.approx(
        sum(change["map_at_r"]["value"] for change in lost.values())
    )
    index = found["steps"][3]
    share = index["index"]["agreement"]["share"]
    assert share < 0.7
    assert (index["index"]["num_leaves"], index["index"]["leaves_to_search"]) == (6, 1)
    assert f"Finds {100 * share:.2f} % of the exact" in index["notes"][0]


@pytest.mark.slow
def test_formats_and_settings_of_the_command_line(report, run, shades, tmp_path):
    table = tmp_path / "vectors.npz"
    paths = [path.relative_to(shades).as_posix() for path in sorted(shades.glob("*/*.jpg"))]
    vectors = np.random.default_rng(0).normal(size=(len(paths), 5))
    np.savez(table, ids=np.array(paths), vectors=vectors)
    (tmp_path / "again").mkdir()
    for copy in (tmp_path / "small.keras", tmp_path / "again" / "small.keras"):
        copy.write_bytes((run / "student.keras").read_bytes())
    ended, found = report(
        f"--teacher={table}",
        "--test_classes=18:",
        f"--format={tmp_path / 'small.keras'}",
        f"--format={tmp_path / 'again' / 'small.keras'}",
        "--backend=none",
        "--pictures=9",
        "--queries=4",
    )
    assert [step["name"] for step in found["steps"]] == [
        "teacher",
        "student",
        "small.keras",
        str(tmp_path / "again" / "small.keras"),
    ]
    assert {step["queries"] for step in found["steps"]} == {80}
    teacher = found["steps"][0]
    assert (teacher["cost"]["megabytes"], teacher["cost"]["milliseconds"]) == (None, None)
    assert teacher["index"]["dim"] == 5
    assert teacher["recall"]["1"] < found["steps"][1]["recall"]["1"]
    assert found["steps"][1]["compared_with_before"]["cosine"] is None
    assert found["pictures"] == {"shown": 9, "named": len(found["images"])}
    assert found["comparisons"][0]["improved_count"] > 4 == len(found["comparisons"][0]["improved"])
    assert set(found["settings_of_the_run"]) == {"dataset", "train_classes", "image_size"}
    assert "--teacher" not in ended.out.split("folder:")[0]


@pytest.mark.slow
def test_files_of_other_runtimes(report, run, shades, tmp_path):
    images = read_folder(shades)
    every = images.select(np.arange(0, len(images), 5))
    pixels = np.concatenate([x["image"] for x, _ in evaluation_batches(every, image_size=SIZE)])
    model = red_embedder()
    files = [
        export_file(model, tmp_path, pixels, name="red", precision=precision, calibration=pixels)
        for precision in ("float32", "int8")
    ]
    files.append(export_file(model, tmp_path, pixels, name="red", format="onnx"))
    formats = [f"--format={file}" for file in files]
    ended, found = report("--teacher=", "--backend=none", "--batch_size=37", *formats)
    names = [file.name for file in files]
    assert [step["name"] for step in found["steps"]] == ["student", *names]
    recall = [step["recall"]["1"] for step in found["steps"]]
    for step, file, value in zip(found["steps"][1:], files, recall[1:], strict=True):
        assert step["cost"]["megabytes"] == file.stat().st_size / 1e6
        assert step["cost"]["milliseconds"] > 0
        times = step["cost"]["runtime_milliseconds"]
        assert set(times) == {"1", str(os.cpu_count())}
        assert step["cost"]["milliseconds"] == times[str(os.cpu_count())]
        runtime = {".tflite": "LiteRT", ".onnx": "ONNX Runtime"}[file.suffix]
        assert step["cost"]["timed_in"] == runtime
        assert min(times.values()) > 0
        assert step["notes"][-1].startswith("One image in its own runtime, by number of threads: ")
        assert "ms with 1" in step["notes"][-1]
        exact = "float32" in file.name
        assert value == pytest.approx(recall[0], abs=0.005 if exact else 0.05)
    assert found["steps"][0]["cost"]["runtime_milliseconds"] is None
    assert found["steps"][0]["cost"]["timed_in"] == "Keras"
    # Files that share a beginning are told apart, though the table is narrow.
    first_column = "".join(line.split(" ")[0] for line in ended.out.splitlines())
    assert all(name in first_column for name in names)


@pytest.mark.slow
def test_formats_are_charged_only_their_own_loss(report, run, tmp_path):
    """One file has its channels swapped; the stages that follow were not made from it."""
    noise = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3), np.uint8)
    worse = export_file(red_embedder(bgr=True), tmp_path, noise)
    same = export_file(red_embedder(), tmp_path, noise, format="onnx")
    ended, found = report(
        f"--export={run / 'models' / 'right'}", f"--format={worse}", f"--format={same}"
    )
    names = ["teacher", "student", "export", "index", worse.name, same.name]
    assert [step["name"] for step in found["steps"]] == names
    assert [step["before"] for step in found["steps"]] == [None, 0, 1, 2, 1, 1]
    assert [step["branch"] for step in found["steps"]] == [False] * 4 + [True] * 2
    lost = changes(found)
    assert lost[worse.name][0] < -0.3
    assert lost[worse.name][1]["beyond_noise"]
    assert lost[same.name][0] == lost["index"][0] == found["total"]["recall"]["1"]["value"] == 0
    assert not lost[same.name][1]["beyond_noise"]
    assert found["steps"][5]["compared_with_before"]["cosine"]["least"] > 0.9999
    assert (0, 3) in [(c["from"], c["to"]) for c in found["comparisons"]]
    assert "Other formats are compared with the student they were made from." in ended.out


@pytest.mark.slow
def test_run_without_a_teacher(here, teacher, tmp_path):
    """Its flags.txt has --teacher_preprocessing=0_255 all the same."""
    ended = here("report", f"--run={teacher.path}", "--backend=none", f"--out={tmp_path}")
    assert (ended.code, ended.err) == (0, "")
    found = json.loads((tmp_path / "report.json").read_text())
    assert [step["name"] for step in found["steps"]] == ["student"]
    assert found["classes"] == 2


@pytest.mark.slow
def test_teacher_is_the_latest_version(report, run):
    _, found = report(f"--teacher={run / 'models' / 'right'}", "--backend=none")
    assert found["steps"][0]["model"] == str(run / "models" / "right" / "1")
    assert found["steps"][0]["cost"]["timed_in"] == "SavedModel"
    assert changes(found)["student"][0] == 0


@pytest.mark.slow
def test_student_alone(report):
    ended, found = report("--teacher=", "--backend=none", "--pictures=0")
    assert [step["name"] for step in found["steps"]] == ["student"]
    assert (found["total"], found["comparisons"]) == (None, [])
    assert "total" not in ended.out
    assert found["pictures"]["shown"] == 0


@pytest.mark.slow
def test_run_of_the_command_train(command, teacher, distilled, tmp_path):
    ended = command("report", f"--run={distilled.path}", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[-1] == str(distilled.path / "report" / "report.html")
    found = json.loads((distilled.path / "report" / "report.json").read_text())
    assert found["settings_of_the_run"]["teacher"] == str(teacher.path)
    assert [step["cost"].get("image_size") for step in found["steps"]] == [40, 32, None]
    assert found["steps"][0]["model"] == str(teacher.path / "student.keras")


@pytest.mark.slow
def test_damaged_images_are_named(here, run, damaged_photos, tmp_path):
    given = [f"--run={run}", f"--dataset=folder:{damaged_photos}", f"--out={tmp_path}"]
    assert here("report", *given, "--split=train").code == 0
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["skipped_images"] == ["class_0/1.jpg", "class_2/0.png"]
    assert found["steps"][0]["queries"] == 28


def test_export_that_cannot_be_read_leaves_no_report(here, run, tmp_path):
    (tmp_path / "models").mkdir()
    out = tmp_path / "out"
    ended = here("report", f"--run={run}", f"--export={tmp_path / 'models'}", f"--out={out}")
    assert ended.code == 2
    assert "--export='" in ended.err
    assert "is not a .keras file" in ended.err
    assert not out.exists()


def test_image_size_that_does_not_fit(here, run):
    ended = here("report", f"--run={run}", "--image_size=20")
    assert ended.code == 2
    assert f"--image_size=20: --run={run} takes 32 pixels." in ended.err


@pytest.mark.slow
def test_full_disk_keeps_the_old_report(here, run, tmp_path, small_disk):
    (tmp_path / "report.html").write_text("old")
    with small_disk():
        ended = here("report", f"--run={run}", f"--out={tmp_path}")
    assert ended.code == 2
    assert "could not be written" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "old"


@pytest.fixture
def bare(tmp_path):
    """A run directory without content, beside a folder of photographs."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "student.keras").touch()
    (tmp_path / "file").touch()
    return tmp_path


def test_usable_flags_load_tensorflow(early, bare):
    given = ["--run=run", "--dataset=folder:photos"]
    assert early("report", *given, cwd=bare, fresh=True).code == 99


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--run=", "--run is required: the run directory of a student."),
        ("--run=photos", "--run=photos is no run directory with a student.keras; train writes"),
        ("--dataset=", "--dataset is required: cub"),
        ("--teacher=nowhere", "--teacher=nowhere does not exist."),
        ("--teacher_output=x", "--teacher_output needs a teacher; the run has none, give --teach"),
        ("--export=nowhere", "--export=nowhere does not exist."),
        ("--format=nowhere", "--format=nowhere does not exist."),
        ("--backend=annoy", "--backend=annoy: value should be one of <auto|scann|faiss|exact|no"),
        ("--scann=3:4", "--scann=3:4 is not LEAVES:SEARCHED:REORDERED, three positive integers"),
        ("--scann=3:0:1", "--scann=3:0:1 is not LEAVES:SEARCHED:REORDERED"),
        ("--scann=3:4:1", "--scann=3:4:1 searches 4 leaves of 3; give fewer."),
        ("--scann=3:1:1 --backend=exact", "--scann=3:1:1 has no effect on --backend=exact."),
        ("--ks=0", "--ks=0 must be positive integers"),
        ("--split=validation", "--split=validation needs --validation_classes."),
        ("--out=file", "--out=file is a file; give a folder."),
        ("--pictures=-1", "--pictures=-1: -1 is not a non-negative integer"),
    ],
)
def test_unusable_flag_is_refused_before_tensorflow_is_loaded(early, bare, flags, said):
    ended = early("report", "--run=run", "--dataset=folder:photos", *flags.split(), cwd=bare)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            "--dataset=folder:gone",
            "'gone'. This is from run/flags.txt; its relative paths start wh",
        ),
        (
            "--dataset=folder:photos\n--teacher=gone",
            "--teacher=gone does not exist. This is from run/flags.txt; its relative paths start "
            "where it was trained. Give --teacher=PATH, or --teacher= to leave it out.",
        ),
        (
            "--dataset=folder:photos\n--teacher=a=photos,b=file",
            "the run has several teachers, a, b; choose the one to begin with by --teacher=PATH",
        ),
    ],
)
def test_unusable_setting_of_the_run(early, bare, written, said):
    (bare / "run" / "flags.txt").write_text(written + "\n")
    ended = early("report", "--run=run", cwd=bare)
    assert ended.code == 2
    assert said in ended.err


def test_a_run_of_another_recipe_is_refused(early, bare):
    (bare / "run" / "flags.txt").write_text(
        "--recipe=head_sharing\n--dataset=folder:photos\n--test_share=0.3\n"
    )
    ended = early("report", "--run=run", cwd=bare)
    assert ended.code == 2
    assert "--run=run is of the recipe head_sharing; report is for embedders, of" in ended.err


@pytest.mark.slow
def test_scann_settings():
    assert parse_scann("300:30:200") == (300, 30, 200)


@pytest.mark.slow
def test_mirror_is_a_stage_with_its_cost(report, run, tmp_path):
    """The patterns are not symmetric, so that averages of both views distinguish less."""
    averaged = mirror_averaged(red_embedder())
    folder = export_embedder(averaged, tmp_path, name="averaged")
    noise = np.random.default_rng(0).integers(0, 256, (8, SIZE, SIZE, 3), np.uint8)
    plain = export_file(red_embedder(), tmp_path, noise, name="plain", format="onnx")
    same = export_file(averaged, tmp_path, noise, name="same", format="onnx")
    given = ["--mirror", "--backend=exact", f"--format={plain}", f"--format={same}"]
    ended, found = report(*given, f"--export={folder}")
    steps = {step["name"]: step for step in found["steps"]}
    names = ["teacher", "student", "student with mirror", "export", "index", plain.name, same.name]
    assert list(steps) == names
    assert [step["before"] for step in found["steps"]] == [None, 0, 1, 2, 3, 1, 2]
    student, mirror = steps["student"], steps["student with mirror"]
    assert mirror["change"]["recall"]["1"]["value"] < -0.1
    for name in ("export", "index", plain.name, same.name):
        assert steps[name]["change"]["recall"]["1"]["value"] == 0
    assert mirror["cost"]["parameters"] == student["cost"]["parameters"]
    assert mirror["cost"]["megabytes"] == student["cost"]["megabytes"]
    assert mirror["cost"]["timed_in"] == "Keras"
    assert mirror["cost"]["milliseconds"] > 0
    assert [steps[name]["cost"].get("mirror", False) for name in names] == [
        *(False, False, True, True, False, False, True)
    ]
    note = "Averages the vectors of each image and its mirror image."
    assert [note in steps[name]["notes"] for name in names[:4]] == [False, False, True, True]
    assert "does not average mirror images" not in ended.out


@pytest.mark.slow
def test_export_without_mirror_is_named(report, run):
    given = ["--mirror", "--teacher=", "--backend=exact", f"--export={run / 'models' / 'right'}"]
    ended, found = report(*given)
    assert [step["name"] for step in found["steps"]] == [
        *("student", "student with mirror", "export", "index")
    ]
    assert (
        "The export does not average mirror images, as the stage before it does: export it by "
        "`export --mirror`."
    ) in ended.out
    assert "The index does not" not in ended.out
