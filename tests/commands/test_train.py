import importlib.util
import json
import math
import re
import shutil
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.data.dataset import load_dataset
from keras_distill.data.pipeline import evaluation_batches
from keras_distill.embedding.batches import embed_batches
from keras_distill.evaluation.retrieval_metrics import retrieval_metrics
from keras_distill.models.class_head import load_class_head
from keras_distill.runs.directory import RunDirectory
from keras_distill.teachers.loading import load_teacher
from keras_distill.training.collapse_monitor import CollapseMonitor

SPREAD = CollapseMonitor.names


def load(path):
    return keras.models.load_model(path, compile=False)


def weights(run):
    return load(run.path / "student.keras").get_weights()


def same(left, right):
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def epochs(run):
    return [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]


def summary(run):
    return json.loads((run.path / "summary.json").read_text())


def scalars(folder):
    """Values by tag of the event files in a folder, in the order of their steps."""
    found = {}
    for file in folder.glob("events.*"):
        for record in tf.data.TFRecordDataset(str(file)):
            for value in tf.compat.v1.Event.FromString(record.numpy()).summary.value:
                point = tf.make_ndarray(value.tensor)
                found.setdefault(value.tag, []).append(float(point) if point.ndim == 0 else None)
    return found


@pytest.fixture(scope="session")
def nan_teacher(once):
    """A SavedModel that returns NaN from its fourth batch on."""

    class Failing(tf.Module):
        def __init__(self):
            super().__init__()
            self.calls = tf.Variable(0)

        @tf.function(input_signature=[tf.TensorSpec([None, 32, 32, 3], tf.float32, "image")])
        def embed(self, image):
            self.calls.assign_add(1)
            vectors = tf.reduce_mean(image, [1, 2]) / 255.0
            return {"embedding": tf.where(self.calls < 4, vectors, np.nan)}

    def fill(folder):
        failing = Failing()
        tf.saved_model.save(failing, str(folder), signatures={"serve_float": failing.embed})

    return once("nan_teacher", fill)


# What a training leaves behind


def test_run_is_named_after_its_flag_file_and_complete(teacher):
    assert (teacher.code, teacher.err) == (0, "")
    assert teacher.out.splitlines()[-1] == "runs/striped/summary.json"
    files = {str(file.relative_to(teacher.path)) for file in teacher.path.rglob("*.*")}
    assert {file for file in files if not file.startswith("tensorboard/")} == {
        ".lock",
        "flags.txt",
        "metrics.jsonl",
        *(
            f"checkpoints/step-00000{step}/{file}"
            for step in (2, 4)
            for file in ("arrays.npz", "manifest.json", "state.json", "student.keras")
        ),
        "student.keras",
        "summary.json",
        "training.png",
    }


def test_metrics_hold_one_finite_record_an_epoch(teacher):
    first, second = epochs(teacher)
    assert first.keys() == second.keys()
    assert {"loss", "triplet", "val_recall@1", "learning_rate", "images_per_second"} < first.keys()
    assert (first["epoch"], first["step"]) == (1, 2)
    assert (second["epoch"], second["step"]) == (2, 4)
    assert all(math.isfinite(value) for value in [*first.values(), *second.values()])
    for record in (first, second):
        assert record["loss"] == pytest.approx(record["triplet"])
        assert f"epoch {record['epoch']}/2  loss {record['loss']:.4f}" in teacher.out


def test_tensorboard_shows_the_metrics(teacher):
    records = epochs(teacher)
    shown = scalars(teacher.path / "tensorboard")
    groups = {
        "loss": ["loss", "triplet"],
        "recall": ["val_recall@1"],
        "optimizer": ["learning_rate", "gradient_norm", "gradient_norm_max"],
        "spread": SPREAD,
        "speed": ["images_per_second", "seconds"],
    }
    assert shown.keys() - {"batch/student"} == {f"{g}/{n}" for g in groups for n in groups[g]}
    for group, names in groups.items():
        for name in names:
            expected = [record[name] for record in records]
            assert shown[f"{group}/{name}"] == pytest.approx(expected)


def test_tensorboard_shows_the_first_batch_as_each_sees_it(distilled):
    seen = {}
    (file,) = (distilled.path / "tensorboard").glob("events.*")
    for record in tf.data.TFRecordDataset(str(file)):
        for value in tf.compat.v1.Event.FromString(record.numpy()).summary.value:
            if value.tag.startswith("batch/"):
                width, height, *images = tf.make_ndarray(value.tensor)
                seen[value.tag] = (int(width), int(height)), images
    student, teacher = (seen[f"batch/{who}"] for who in ("student", "teacher"))
    assert (student[0], teacher[0]) == ((32, 32), (40, 40))
    for small, large in zip(student[1], teacher[1], strict=True):
        crop, same = (tf.cast(tf.io.decode_png(png), tf.float32) for png in (small, large))
        np.testing.assert_allclose(crop, tf.image.resize(same, (32, 32)), atol=40)
        assert np.abs(crop - tf.image.resize(same, (32, 32))).mean() < 6


def test_summary_describes_the_run(teacher, photos):
    described = summary(teacher)
    assert described["run_dir"] == "runs/striped"
    assert described["student"] == "runs/striped/student.keras"
    assert described["teacher"] is None
    assert described["dataset"] == f"folder:{photos}"
    assert described["images"] == {"train": 20, "validation": 20, "unlabelled": 0}
    assert described["unlabelled_per_batch"] == 0
    assert described["collapsed"] is False
    assert described["spread"] == {name: epochs(teacher)[-1][name] for name in SPREAD}
    assert described["skipped_images"] == []
    assert described["parameters"] == load(teacher.path / "student.keras").count_params()
    assert (described["image_size"], described["embedding_dim"]) == (40, 8)
    assert (described["epochs"], described["steps_per_epoch"], described["batch_size"]) == (2, 2, 4)
    assert described["seed"] == 3
    assert described["loss"] == pytest.approx(
        {name: epochs(teacher)[-1][name] for name in ("loss", "triplet")}
    )


def test_student_is_the_epoch_with_the_highest_validation_recall(teacher, photos):
    recalls = [record["val_recall@1"] for record in epochs(teacher)]
    best = int(np.argmax(recalls))
    assert summary(teacher)["validation"] == {"recall": {"1": recalls[best]}, "epoch": best + 1}
    student = load(teacher.path / "student.keras")
    kept = [teacher.path / "checkpoints" / f"step-00000{step}" for step in (2, 4)]
    first, last = (load(folder / "student.keras").get_weights() for folder in kept)
    assert same(student.get_weights(), (first, last)[best])
    assert not same(first, last)
    images = load_dataset(f"folder:{photos}", train_classes="2:4", test_classes="4:").train
    embeddings, labels = embed_batches(student, evaluation_batches(images, image_size=40))
    assert retrieval_metrics(embeddings, labels).recall[1] == recalls[best]


def test_both_teacher_losses_are_weighed_and_reported(distilled):
    (record,) = epochs(distilled)
    assert record["loss"] == pytest.approx(
        0.7 * record["triplet"] + 2 * record["absolute"] + 0.5 * record["relative"], rel=1e-5
    )
    assert min(record["triplet"], record["absolute"], record["relative"]) > 0
    assert summary(distilled)["loss"].keys() == {"loss", "triplet", "absolute", "relative"}
    assert summary(distilled)["image_size"] == 32  # and 40 for the teacher


@pytest.mark.slow
def test_equal_flags_give_equal_students_and_another_seed_does_not(train, teacher, distilled):
    flags = distilled.path / "flags.txt"
    again = train("again", f"--flagfile={flags}")
    file = teacher.path / "student.keras"
    other = train("other", f"--flagfile={flags}", f"--teacher={file}", "--seed=1")
    assert (again.code, other.code) == (0, 0)
    assert same(weights(distilled), weights(again))
    assert not any(same([a], [b]) for a, b in zip(weights(distilled), weights(other), strict=True))
    written = (again.path / "flags.txt").read_text()
    assert written == flags.read_text().replace(str(distilled.path), str(again.path))


@pytest.fixture(scope="session")
def replaced(ended_once, command, tiny, teacher, damaged_photos):
    """A run in float16, on images of which two are damaged, in the place of another run."""

    def launch(folder):
        shutil.copytree(teacher.path, folder / "run")
        data, output = f"--dataset=folder:{damaged_photos}", f"--run_dir={folder / 'run'}"
        more = ["--overwrite", "--mixed_precision=mixed_float16", "--l2=1e-4", "--warmup_steps=1"]
        return command("train", data, *tiny, *more, output)

    ended = ended_once("replaced", launch)
    return replace(ended, path=ended.path / "run")


@pytest.mark.slow
def test_overwrite_replaces_a_run(replaced):
    assert replaced.code == 0
    assert len(epochs(replaced)) == 1
    assert [folder.name for folder in (replaced.path / "checkpoints").iterdir()] == ["step-000002"]
    assert len(list((replaced.path / "tensorboard").rglob("events.*"))) == 1
    assert load(replaced.path / "student.keras").input_shape == (None, 32, 32, 3)


@pytest.mark.slow
def test_damaged_images_are_named_skipped_and_counted(replaced, damaged_photos):
    damaged = ["class_0/1.jpg", "class_2/0.png"]
    for path in damaged:
        assert f"Skipping a corrupt or truncated image: {damaged_photos / path}" in replaced.err
    assert summary(replaced)["skipped_images"] == damaged
    assert summary(replaced)["images"] == {"train": 38, "validation": 0, "unlabelled": 0}


@pytest.fixture(scope="session")
def bfloat16(train, exported):
    """A run in bfloat16 that learns from a SavedModel alone."""
    more = ["--mixed_precision=mixed_bfloat16", "--task_loss=none", "--teacher_losses=relative:1"]
    return train("bfloat16", f"--teacher={exported.path}", *more)


@pytest.mark.slow
def test_student_learns_from_a_saved_model_alone(bfloat16):
    assert bfloat16.code == 0
    (record,) = epochs(bfloat16)
    assert record["loss"] == pytest.approx(record["relative"])
    assert "triplet" not in record


@pytest.mark.slow
def test_students_of_any_precision_load_in_a_fresh_process(
    run_warm_python, distilled, bfloat16, replaced
):
    files = [run.path / "student.keras" for run in (distilled, bfloat16, replaced)]
    printed = run_warm_python(
        """
import sys
import keras_distill
import keras
import numpy as np

images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype="uint8")
for file in sys.argv[1:]:
    student = keras.models.load_model(file)
    vectors = student(images)
    error = np.abs(np.linalg.norm(vectors, axis=1) - 1).max()
    print(student.get_layer("head").compute_dtype, vectors.dtype.name, vectors.shape, error < 1e-5)
""",
        *files,
    )
    assert printed.splitlines() == [
        f"{policy} float32 (5, 8) True" for policy in ("float32", "bfloat16", "float16")
    ]


@pytest.mark.slow
def test_no_epochs_write_the_embedder_as_it_stands(here, tiny, photos, tmp_path):
    keras.utils.set_random_seed(5)
    backbone = keras.applications.MobileNet(
        (32, 32, 3), alpha=0.25, include_top=False, weights=None
    )
    file = tmp_path / "backbone.weights.h5"
    backbone.save_weights(file)
    given = [*tiny, f"--dataset=folder:{photos}", "--backbone_layer=", f"--backbone_weights={file}"]
    ended = here(
        "train", *given, "--epochs=0", "--embedding_dim=0", f"--run_dir={tmp_path / 'run'}"
    )
    assert ended.code == 0
    assert ended.out.splitlines()[-1] == str(tmp_path / "run" / "summary.json")
    student = load(tmp_path / "run" / "student.keras")
    assert student.output_shape == (None, 256)
    assert same(student.get_layer("trunk").get_weights(), backbone.get_weights())
    assert summary(replace(ended, path=tmp_path / "run"))["epochs"] == 0
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.fixture(scope="session")
def inner(train, teacher):
    """A student of that teacher under losses on inner layers, and one with a memory."""
    losses = "--teacher_losses=relative,attention,hint"
    return train(
        "inner", f"--teacher={teacher.path}", losses, "--task_loss=multi_similarity", "--memory=16"
    )


@pytest.mark.slow
def test_losses_on_inner_layers_and_a_memory(inner, run_warm_python):
    assert (inner.code, inner.err) == (0, "")
    (record,) = epochs(inner)
    losses = {"multi_similarity": 1, "relative": 0.3, "attention": 1000, "hint": 100}
    for name in losses:
        assert record[name] > 0
        assert f"  {name} {record[name]:.4f}" in inner.out
    total = sum(weight * record[name] for name, weight in losses.items())
    assert record["loss"] == pytest.approx(total, rel=1e-5)
    assert summary(inner)["loss"].keys() == {"loss", *losses}
    student = load(inner.path / "student.keras")
    assert summary(inner)["parameters"] == student.count_params()  # without regressors and memory
    printed = run_warm_python(
        """
import sys
import keras

print(keras.models.load_model(sys.argv[1]).output_shape)
assert not any(name.startswith("keras_distill") for name in sys.modules)
""",
        inner.path / "student.keras",
    )
    assert printed.strip() == "(None, 8)"


@pytest.mark.slow
def test_feature_maps_may_be_cached(inner, here, tmp_path):
    flags = [f"--flagfile={inner.path / 'flags.txt'}", f"--run_dir={tmp_path / 'run'}"]
    ended = here("train", *flags, "--cache_features", f"--cache_dir={tmp_path / 'cache'}")
    assert (ended.code, ended.err) == (0, "")
    (cached,), (live,) = epochs(replace(ended, path=tmp_path / "run")), epochs(inner)
    for name in ("loss", "multi_similarity", "relative", "attention", "hint"):
        assert cached[name] == pytest.approx(live[name], rel=2e-3)
    (manifest,) = (tmp_path / "cache").glob("*/manifest.json")
    maps = {"layer/trunk/conv_pw_1_relu": [20, 20, 16]}  # hint needs it all
    outputs = {"embedding": [8], **maps, "exponents": [2]}  # of each image and output
    assert json.loads(manifest.read_text())["outputs"] == outputs


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="no TensorFlow Addons")
def test_a_loss_of_tensorflow_addons(train):
    ended = train("addons", "--task_loss=tfa:triplet_semihard", "--margin=1.5")
    assert (ended.code, ended.err) == (0, "")
    (record,) = epochs(ended)
    # Near the margin, since nothing has been learnt.
    assert record["loss"] == record["triplet_semihard"] == pytest.approx(1.5, abs=0.4)
    assert f"  triplet_semihard {record['triplet_semihard']:.4f}" in ended.out


@pytest.fixture
def table(photos, tmp_path):
    """A table with 5 numbers for each image."""
    names = sorted(str(file.relative_to(photos)) for file in photos.rglob("*.*"))
    vectors = np.random.default_rng(0).normal(size=(len(names), 5))
    np.savez(tmp_path / "table.npz", ids=names, vectors=vectors)
    return tmp_path / "table.npz"


@pytest.mark.slow
def test_several_teachers_are_cached_or_asked_alike(
    here, tiny, photos, teacher, exported, table, tmp_path
):
    given = [
        f"--dataset=folder:{photos}",
        *tiny,
        f"--cache_dir={tmp_path / 'cache'}",
        f"--teacher=run={teacher.path},_model={exported.path},table={table}",
        "--teacher_losses=relative:0.5,run.absolute:2",
        "--teacher_projection=run:student",
        "--embedding_dim=6",
    ]
    records = {}
    for cache in ("views:2", "off"):
        run = tmp_path / cache
        ended = here("train", *given, f"--run_dir={run}", f"--teacher_cache={cache}")
        assert (ended.code, ended.err) == (0, "")
        (records[cache],) = epochs(replace(ended, path=run))
        for name in ("run", "_model", "table"):
            asked = f"teacher {name}: 40 views to compute for the cache {tmp_path}" in ended.out
            assert asked == (cache != "off" and name != "table")
        assert load(run / "student.keras").output_shape == (None, 6)
        assert not list(run.glob("*projection*"))
    cached, live = records["views:2"], records["off"]
    losses = [
        "loss",
        "triplet",
        "run_absolute",
        "run_relative",
        "_model_relative",
        "table_relative",
    ]
    assert set(losses) < cached.keys() == live.keys()
    assert {name: cached[name] for name in losses} == pytest.approx(
        {name: live[name] for name in losses}, rel=2e-3
    )
    assert cached["_model_relative"] == pytest.approx(cached["run_relative"], rel=1e-3)  # the same
    weighed = 0.5 * sum(live[f"{name}_relative"] for name in ("run", "_model", "table"))
    assert live["loss"] == pytest.approx(
        live["triplet"] + 2 * live["run_absolute"] + weighed, rel=1e-5
    )
    assert len(list((tmp_path / "cache").glob("*/manifest.json"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("mode", [pytest.param("clean", marks=pytest.mark.slow), "off"])
def test_cached_images_serve_whatever_the_teacher_is_asked_about(
    mode, here, tiny, photos, teacher, tmp_path
):
    given = [
        f"--dataset=folder:{photos}",
        *tiny,
        "--epochs=2",
        f"--cache_dir={tmp_path / 'cache'}",
        f"--teacher={teacher.path}",
        f"--teacher_cache={mode}",
        "--image_size=40",  # the teacher's own
    ]
    decoding, cached = tmp_path / "decoding", tmp_path / "cached"
    assert here("train", *given, f"--run_dir={decoding}").code == 0
    ended = here("train", *given, "--image_cache=views:2", f"--run_dir={cached}")
    assert (ended.code, ended.err) == (0, "")
    for one, other in zip(
        *(epochs(replace(ended, path=path)) for path in (decoding, cached)), strict=True
    ):
        assert one["relative"] == pytest.approx(other["relative"], rel=1e-5)


@pytest.mark.slow
def test_the_student_is_degraded_and_the_teacher_is_not(here, tiny, photos, teacher, tmp_path):
    given = [
        f"--dataset=folder:{photos}",
        *tiny,
        f"--cache_dir={tmp_path / 'cache'}",
        f"--teacher={teacher.path}",
        "--image_size=40",  # the teacher's own
        "--validation_classes=2:4",
    ]
    degrade = "--degrade=noise:90,blur:2"
    records = {}
    for name, more in {
        "good": ["--teacher_cache=views:1"],
        "cached": ["--teacher_cache=views:1", "--image_cache=views:1", degrade],
        "live": ["--teacher_cache=off", degrade],
    }.items():
        ended = here("train", *given, *more, f"--run_dir={tmp_path / name}")
        assert (ended.code, ended.err) == (0, "")
        records[name] = epochs(replace(ended, path=tmp_path / name))[0]
        complete = re.search(r"teacher: cache \S+ \(.*\) is complete", ended.out)
        assert (complete is not None) == (name == "cached")  # with what the first run asked
    losses = ["loss", "triplet", "relative"]
    good, cached, live = ([record[name] for name in losses] for record in records.values())
    assert cached == pytest.approx(live, rel=2e-3)
    assert min(abs(np.divide(cached, good) - 1)) > 0.01
    described = summary(replace(ended, path=tmp_path / "live"))
    assert described["degrade"] == "noise:90,blur:2"

    images = load_dataset(f"folder:{photos}", train_classes="2:4", test_classes="4:").train
    batches = evaluation_batches(images, image_size=40, degrade="noise:90,blur:2")
    embeddings, labels = embed_batches(load(tmp_path / "live" / "student.keras"), batches)
    assert retrieval_metrics(embeddings, labels).recall[1] == records["live"]["val_recall@1"]


@pytest.mark.slow
def test_projected_teacher_is_kept_with_the_run(narrow, here, teacher, photos, tmp_path):
    assert (narrow.code, narrow.err) == (0, "")
    assert epochs(narrow)[0]["absolute"] > 0
    pca, projected = narrow.path / "teacher_pca.keras", narrow.path / "projected_teacher.keras"
    for path in (pca, projected):
        kind = "projection of the teacher" if path == pca else "projected teacher"
        assert f"{kind}: {path}" in narrow.out
    images = np.random.default_rng(0).integers(0, 256, (5, 40, 40, 3), dtype=np.uint8)
    expected = load(pca)(load(teacher.path / "student.keras")(images))
    np.testing.assert_allclose(load_teacher(projected)(images), expected, atol=1e-5)
    recall = tmp_path / "recall.json"
    ended = here(
        "evaluate",
        f"--model={projected}",
        f"--dataset=folder:{photos}",
        "--test_classes=4:",
        f"--json={recall}",
    )
    assert ended.code == 0
    assert json.loads(recall.read_text())["index"]["dim"] == 4


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "projection"), [("table", "whitened"), ("live", "pca")])
def test_projection_without_training(
    kind, projection, here, tiny, photos, teacher, table, tmp_path
):
    run = tmp_path / "run"
    asked = {"table": table, "live": teacher.path}[kind]
    given = [f"--dataset=folder:{photos}", *tiny, f"--run_dir={run}", "--epochs=0"]
    given += [f"--teacher_projection={projection}", "--embedding_dim=3", "--teacher_cache=off"]
    ended = here("train", *given, f"--teacher={asked}")
    assert (ended.code, ended.err) == (0, "")
    images = load_dataset(f"folder:{photos}", train_classes=":4", test_classes="4:").train
    (x, _), *_ = evaluation_batches(images, image_size=40)
    answer = load_teacher(asked)(x["image"], x["id"])
    projected = load_teacher(run / f"projected_teacher.{'npz' if kind == 'table' else 'keras'}")
    expected = load(run / "teacher_pca.keras")(answer)
    np.testing.assert_allclose(projected(x["image"], x["id"]), expected, atol=1e-5)
    pca = load(run / "teacher_pca.keras").get_layer("linear")
    spread = np.var(pca(answer), axis=0, ddof=1)
    assert expected.shape == (40, 3)
    assert np.allclose(spread, 1, atol=0.01) == (projection == "whitened")
    assert spread.min() > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "losses"),
    [
        pytest.param(
            ["--references=both", "--teacher_losses="], {"triplet"}, marks=pytest.mark.slow
        ),
        (
            [
                *("--task_loss=proxy_anchor", "--proxies=teacher", "--self_distillation=6,9"),
                *("--teacher_losses=relative,teacher_head", "--teacher_head=means"),
            ],
            {"proxy_anchor", "relative", "teacher_head"},
        ),
    ],
)
def test_labels_meet_the_teacher(flags, losses, here, tiny, photos, teacher, distilled, tmp_path):
    run = tmp_path / "run"
    given = [f"--dataset=folder:{photos}", *tiny, f"--run_dir={run}", f"--teacher={teacher.path}"]
    given += ["--teacher_projection=whitened", "--embedding_dim=4", f"--cache_dir={tmp_path}"]
    ended = here("train", *given, "--teacher_cache=views:1", *flags)
    assert (ended.code, ended.err) == (0, "")
    (record,) = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    assert losses == record.keys() & {"triplet", "proxy_anchor", "relative", "teacher_head"}
    assert all(record[loss] > 0 for loss in losses)
    student, other = load(run / "student.keras"), load(distilled.path / "student.keras")
    assert [layer.name for layer in student.layers] == [layer.name for layer in other.layers]
    arrays = np.load(sorted((run / "checkpoints").iterdir())[-1] / "arrays.npz")
    if "proxy_anchor" in losses:  # 4 classes, as short as at random after two steps
        vectors = [arrays[name] for name in arrays.files if arrays[name].shape == (4, 4)]
        short = [
            each for each in vectors if np.allclose(np.linalg.norm(each, axis=1), 0.02, atol=0.002)
        ]
        assert short
        head = load_class_head(run / "class_head.npz")
        assert (head.scale, head.names) == (32.0, tuple(f"class_{label}" for label in range(4)))
        assert any(np.array_equal(head.kernel, each.T) for each in short)


@pytest.mark.slow
def test_compiled_step_trains(train, distilled):
    compiled = train("compiled", f"--flagfile={distilled.path / 'flags.txt'}", "--jit_compile")
    assert compiled.code == 0
    assert epochs(compiled)[0]["loss"] == pytest.approx(epochs(distilled)[0]["loss"], rel=1e-3)


# When it fails


@pytest.mark.slow
def test_unlabelled_images_are_learnt_from_and_counted(train, teacher, photos):
    ended = train(
        "semi_supervised",
        f"--teacher={teacher.path}",
        "--train_classes=:2",
        f"--unlabelled=folder:{photos}:2:4",
        "--unlabelled_per_batch=3",
        "--teacher_losses=relative,anchor_kl:0.5",
        "--teacher_cache=views:1",
        "--image_cache=views:1",
        "--memory=16",
    )
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("20 images of 2 classes and 20 unlabelled; student ")
    described = summary(ended)
    assert described["images"] == {"train": 20, "validation": 0, "unlabelled": 20}
    assert (described["batch_size"], described["unlabelled_per_batch"]) == (7, 3)
    assert described["loss"].keys() == {"loss", "triplet", "relative", "anchor_kl"}
    manifests = [json.loads(path.read_text()) for path in ended.path.parent.glob("*/manifest.json")]
    assert [manifest["rows"] for manifest in manifests] == [40, 40]
    assert all(math.isfinite(value) for value in epochs(ended)[0].values())


@pytest.mark.slow
def test_two_views_of_an_image_and_a_queue_of_anchors(train, teacher):
    ended = train(
        "views",
        f"--teacher={teacher.path}",
        "--task_loss=none",
        "--teacher_losses=relaxed_contrastive,anchor_kl",
        "--anchors=queue:24",
        "--views_per_image=2",
        "--teacher_cache=views:3",
        "--image_cache=views:3",
        "--epochs=2",
    )
    assert (ended.code, ended.err) == (0, "")
    described = summary(ended)
    assert described["batch_size"] == 2 * summary(teacher)["batch_size"]
    assert described["steps_per_epoch"] == summary(teacher)["steps_per_epoch"]
    assert described["loss"].keys() == {"loss", "relaxed_contrastive", "anchor_kl"}
    arrays = np.load(sorted(ended.path.glob("checkpoints/*/arrays.npz"))[-1])
    labels = [arrays[name] for name in arrays.files if arrays[name].dtype == "int64"]
    assert any(np.array_equal(each, np.zeros(24)) for each in labels)  # the queue is full
    assert all(math.isfinite(value) for record in epochs(ended) for value in record.values())


@pytest.mark.slow
def test_divergence_keeps_the_last_good_checkpoint(train, nan_teacher):
    diverged = train("diverged", f"--teacher={nan_teacher}", "--epochs=3", "--teacher_cache=off")
    assert diverged.code == 3
    assert "loss, relative became NaN or infinite in epoch 2, step 2." in diverged.out
    assert "--learning_rate" in diverged.out
    kept = diverged.path / "checkpoints" / "step-000002"
    assert f"The last good checkpoint: {kept}." in diverged.out
    assert all(np.isfinite(weight).all() for weight in load(kept / "student.keras").get_weights())
    assert len(epochs(diverged)) == 1
    assert not (diverged.path / "student.keras").exists()
    assert not (diverged.path / "summary.json").exists()
    assert "Traceback" not in diverged.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ["--learning_rate=3e38", "--weight_decay=10"],
            "weights became NaN or infinite in epoch 1",
        ),
        (
            ["--learning_rate=3e38", "--validation_classes=2:4"],
            "In epoch 1, model returned embeddings that are not finite",
        ),
    ],
)
def test_divergence_in_the_very_last_step_is_seen(here, tiny, photos, tmp_path, flags, said):
    run = RunDirectory(tmp_path / "run")
    given = [f"--dataset=folder:{photos}", *tiny, "--steps_per_epoch=1", f"--run_dir={run.path}"]
    ended = here("train", *given, "--backbone_layer=conv1_relu", *flags)
    assert ended.code == 3
    assert said in ended.out
    assert "The last good checkpoint: none was saved." in ended.out
    assert not list(run.path.rglob("*.keras"))
    assert not run.summary.exists()


def test_run_directory_that_cannot_be_made_is_refused(here, tiny, photos):
    ended = here("train", f"--dataset=folder:{photos}", *tiny, "--run_dir=/proc/nothing/run")
    assert ended.code == 2
    assert "--run_dir='/proc/nothing/run' could not be written" in ended.err


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--classes_per_batch=5"], "classes_per_batch=5 is more than the 4 training classes"),
        (
            ["--validation_classes=3:5"],
            "--validation_classes=3:5 must lie within --train_classes=0:4",
        ),
        (["--train_classes=0:9"], "train_classes='0:9' does not lie within the 6 classes"),
        (["--train_classes=0-3"], "train_classes='0-3' is not of the form A:B"),
        (["--alpha=0"], "alpha=0.0 must be positive"),
        (["--backbone_layer=last"], "backbone_layer='last' is not a layer"),
        (["--strict_images"], "class_0/1.jpg, class_2/0.png"),
    ],
)
def test_data_and_sizes_that_do_not_fit_leave_no_run(
    here, tiny, damaged_photos, tmp_path, flags, said
):
    run = tmp_path / "run"
    ended = here("train", f"--dataset=folder:{damaged_photos}", *tiny, f"--run_dir={run}", *flags)
    assert ended.code == 2
    assert said in ended.err
    assert not run.exists()


@pytest.mark.quick(6)
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ["--teacher_losses=relative,absolute", "--embedding_dim=9"],
            "the teacher's embedding has 8 and the student's 9; give --embedding_dim=8, "
            "--teacher_projection=pca or student, or --teacher_losses=relative.",
        ),
        (
            ["--teacher_projection=whitened", "--embedding_dim=9"],
            "--teacher_projection=whitened cannot widen the teacher's 8 dimensions to the student",
        ),
        (
            ["--teacher_projection=pca", "--embedding_dim=9"],
            "--teacher_projection=pca cannot widen the teacher's 8 dimensions to the student's 9; "
            "give --embedding_dim=8 or less, or leave the projection out.",
        ),
        (
            ["--teacher_projection=pca", "--embedding_dim=9", "--teacher_losses=absolute"],
            "give --embedding_dim=8 or less, or --teacher_projection=student.",
        ),
        (
            ["--references=both", "--teacher_losses=", "--embedding_dim=9"],
            "--references=both needs equal widths, but the teacher's embedding has 8 and the "
            "student's 9; give --embedding_dim=8 or --teacher_projection=pca.",
        ),
        (
            ["--proxies=teacher", "--task_loss=arc_face", "--embedding_dim=9"],
            "--proxies=teacher needs equal widths, but the teacher's embedding has 8",
        ),
        (["--teacher_output=top"], "--teacher_output='top' is not a layer of --teacher 'embedder'"),
        (["--teacher_image_size=33"], "--teacher_image_size=33: --teacher takes images of "),
        (["--teacher_signature=serve"], "--teacher_signature='serve': --teacher='"),
        (
            ["--teacher={teacher}/lacking.npz"],
            "lacks 39 of 40 images, such as 'class_0/1.jpg', 'class_0/2.jpg'",
        ),
        (
            ["--teacher={teacher}/lacking.npz", "--teacher_preprocessing=0_1"],
            "leave --teacher_output, --teacher_image_size and --teacher_preprocessing out.",
        ),
        (
            ["--teacher_losses=hint", "--hint_layers=foo:conv1"],
            "train: --hint_layers=foo:conv1: teacher_layer='foo' is not a layer of --teacher",
        ),
        (
            ["--teacher_losses=attention", "--attention_layers=conv1:bar"],
            "train: --attention_layers=conv1:bar: student_layer='bar' is not a layer of student",
        ),
        (["--teacher_losses=hint", "--hint_layers=foo:conv1"], ", trunk/conv_pw_1_relu.\n"),
        (
            ["--teacher={teacher}/table.npz", "--teacher_losses=hint"],
            "train: --teacher_losses=hint: hint needs a teacher that is a Keras model",
        ),
        (
            ["--teacher={teacher}/table.npz", "--hint"],
            "train: --hint: hint needs a teacher that is a Keras model",
        ),
        (
            ["--image_cache=views:8", "--hint"],
            "--image_cache=views:8 holds images of 32 pixels, but the teacher takes 40 pixels and",
        ),
        (["--cache_max_gb=1e-7"], "more than --cache_max_gb=1e-07; raise --cache_max_gb"),
        (["--image_cache=views:8", "--cache_max_gb=1e-4"], "the image cache needs 0.000123 GB"),
        (["--unlabelled=folder:{photos}"], "are in the test split, and nothing may learn from it"),
        (["--unlabelled=folder:{photos}:3:4"], "are in the train split, and they are labelled"),
        (["--teacher={photos}"], "is not a .keras file"),
        (["--teacher={photos}/class_0/0.png"], "is not a .keras file"),
        (
            ["--backbone_weights={teacher}/student.keras"],
            "does not fit mobilenet with --alpha=0.25",
        ),
    ],
)
def test_unfit_teacher_leaves_no_run(here, tiny, photos, teacher, tmp_path, flags, said):
    run = tmp_path / "run"
    copy = shutil.copytree(teacher.path, tmp_path / "teacher")
    np.savez(copy / "lacking.npz", ids=["class_0/0.png"], vectors=np.ones((1, 8)))
    names = sorted(str(file.relative_to(photos)) for file in photos.rglob("*.*"))
    np.savez(copy / "table.npz", ids=names, vectors=np.ones((len(names), 8)))
    given = [f"--dataset=folder:{photos}", *tiny, f"--teacher={copy}", f"--run_dir={run}"]
    given.append(f"--cache_dir={tmp_path / 'cache'}")
    paths = {"photos": photos, "teacher": copy}
    ended = here("train", *given, *(flag.format(**paths) for flag in flags))
    assert ended.code == 2
    assert said in ended.err
    assert not run.exists()
    assert not list(tmp_path.rglob("*.npy"))


# Unusable flags, before TensorFlow


@pytest.mark.parametrize(
    "flags",
    [
        "",
        "--augment=cutout,randaugment:1:4,jitter:0.5",
        "--teacher=. --teacher_projection=student --teacher_losses=cosine",
        "--teacher=a=.,b=. --teacher_projection=student --teacher_losses=b.kde,a.relative",
    ],
)
def test_usable_flags_load_tensorflow(early, tiny, photos, tmp_path, flags):
    given = [f"--dataset=folder:{photos}", *tiny, *flags.split()]
    assert early("train", *given, cwd=tmp_path, fresh=True).code == 99


@pytest.mark.parametrize("missing", ["tensorflow_addons", "tf_keras"])
def test_missing_extra_is_seen_before_tensorflow_is_loaded(
    command, photos, tiny, tmp_path, missing
):
    (tmp_path / "tensorflow.py").write_text("import os\n\nos._exit(99)\n")
    (tmp_path / "sitecustomize.py").write_text(f"import sys\n\nsys.modules[{missing!r}] = None\n")
    given = [f"--dataset=folder:{photos}", *tiny, "--task_loss=tfa:npairs"]
    ended = command("train", *given, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("train: --task_loss=tfa:npairs needs ")
    absent = [
        name
        for name in ("tensorflow_addons", "tf_keras")
        if name == missing or importlib.util.find_spec(name) is None  # from Python 3.12 on, both
    ]
    said = (
        f"needs {' and '.join(absent)}, not installed here; use n_pairs, which is close, or, on P"
    )
    assert said in ended.err
    assert "pip install 'keras_distill[addons]'" in ended.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--learning_rat=1", "'learning_rat'. Did you mean: learning_rate"),
        ("--epochs=-1", "--epochs=-1: -1 is not a non-negative integer"),
        ("--learning_rate=fast", "--learning_rate=fast: could not convert string to float"),
        ("--learning_rate=nan", "--learning_rate=nan: not finite"),
        (
            "--seed=4294967296",
            "--seed=4294967296: 4294967296 is not an integer in the range [0, 42",
        ),
        ("--image_size=16", "--image_size=16: 16 is not integer >= 32"),
        ("--classes_per_batch=1", "--classes_per_batch=1: 1 is not integer >= 2"),
        ("--degrade=grey,haze", "--degrade=grey,haze: 'haze' is unknown; give one or several of l"),
        ("--degrade=blur:0", "'blur:0' is out of range; blur:SIGMA takes a number from 0.1 to 100"),
        (
            "--backbone=resnet50 --degrade=low_resolution:224",
            "changes nothing, since the images have 2",
        ),
        ("--augment=haze", "--augment=haze: 'haze' is unknown; give one or several of jitter:P, g"),
        ("--augment=randaugment:2:30", "'randaugment:2:30' has no magnitude from 0 to 10; the pub"),
        ("--augment=jitter,cutout:2", "'cutout:2' has no share of the side above 0 and below 1"),
        ("--mixed=0.5", "--mixed=0.5: without --teacher there is nothing to learn from mixed"),
        ("--mixed=0.5 --teacher=. --teacher_losses=", "without --teacher_losses there is nothing"),
        ("--mixed=1 --teacher=. --views_per_image=2", "leaves no rows of one image for --views_p"),
        ("--mixed=1.5 --teacher=.", "--mixed=1.5 is a share of the rows, from 0 to 1"),
        ("--mixed=1 --teacher=.", "--mixed=1.0 leaves no labels for --task_loss=batch_hard_tripl"),
        ("--mixed=0.5 --teacher=. --teacher_cache=clean", "--teacher_cache=clean knows the teache"),
        ("--mixup_alpha=0.5", "--mixup_alpha=0.5 has no effect without mixed rows; add --mixed=0"),
        ("--mixed=0.5 --mixup_alpha=0 --teacher=.", "--mixup_alpha=0 must be a number from 0.05"),
        ("--crop_area=0", "--crop_area=0.0 must be above 0 and at most 1"),
        ("--backbone=resnet18", "--backbone=resnet18: value should be one of <resnet50|"),
        ("--dataset=", "--dataset is required: cub, cars196, sop, glyphs, or folder:PATH"),
        ("--dataset=birds", "--dataset=birds is unknown; give one of cub, cars196, sop, glyphs"),
        ("--dataset=folder:", "--dataset=folder: is unknown; give one of cub"),
        ("--dataset=folder:nowhere", "--dataset=folder:nowhere: there is no folder 'nowhere'"),
        ("--unlabelled=glyphs:0:2", "--unlabelled=glyphs:0:2: without --teacher there is nothing"),
        ("--unlabelled=birds:0:2 --teacher=.", "--unlabelled=birds:0:2 is unknown; give one of"),
        ("--unlabelled=folder:no:0:2 --teacher=.", "there is no folder 'no'"),
        ("--unlabelled_per_batch=0", "--unlabelled_per_batch=0: 0 is not a positive integer"),
        ("--teacher=nowhere", "--teacher=nowhere does not exist"),
        ("--backbone_weights=nowhere.h5", "--backbone_weights=nowhere.h5 does not exist"),
        (
            "--freeze_batch_norm --backbone_weights=none",
            "--backbone_weights=none would keep the statistics of a backbone that has seen no im",
        ),
        (
            "--freeze_batch_norm --sync_batch_norm",
            "--sync_batch_norm has no effect with --freeze_batch_norm, which keeps all statistics",
        ),
        (
            "--freeze_batch_norm --ema=0.9 --ema_batches=4",
            "--ema_batches=4 has no effect with --freeze_batch_norm",
        ),
        ("--self_distillation=8,x", "--self_distillation=8,x: 'x' is not a width; give some, such"),
        ("--self_distillation=0", "--self_distillation=0: '0' is not a width"),
        (
            "--self_distillation_weight=3",
            "--self_distillation_weight=3.0 has no effect without --self_distillation=512,1024",
        ),
        (
            "--self_distillation=8 --task_loss=none --teacher=.",
            "--self_distillation=8 has no effect with --task_loss=none",
        ),
        ("--self_distillation=8 --memory=4", "--memory, --self_distillation and --references each"),
        (
            "--references=both --teacher=. --memory=4",
            "on the labels compares; give one of them.",
        ),
        ("--references=teacher", "--references=teacher needs one --teacher=PATH without a name"),
        (
            "--references=teacher --teacher=. --task_loss=proxy_anchor",
            "--references=teacher: --task_loss=proxy_anchor compares images with class vectors, "
            "not with other images; leave the flag out.",
        ),
        (
            "--teacher=. --teacher_projection=student",
            "--teacher_projection=student: the projection of the student is learned by absolute, "
            "anchor_kl, asymmetric, cosine, d3still, kde, teacher_head, but "
            "--teacher_losses=relative has none of them; add one, or leave the projection out.",
        ),
        (
            "--teacher=a=.,b=. --teacher_projection=a:student --teacher_losses=b.kde,a.relative",
            "--teacher_losses=b.kde,a.relative has none of them of the teacher 'a'; add one, or",
        ),
        ("--references=both --teacher=a=.,b=.", "whose embeddings are compared; there are several"),
        (
            "--proxies=teacher --task_loss=arc_face",
            "--proxies=teacher needs one --teacher=PATH without a name, whose embedding",
        ),
        (
            "--proxies=teacher --teacher=.",
            "--proxies=teacher: --task_loss=batch_hard_triplet has no class vectors; give proxy_an",
        ),
        ("--dropout=1", "--dropout=1.0 must be below 1, such as 0.4."),
        ("--dropout=0.4 --embedding_dim=0", "--dropout=0.4 comes before the head, and --embeddin"),
        ("--task_loss=none", "--task_loss=none leaves nothing to learn from; give --teacher"),
        ("--task_loss=none --teacher=. --teacher_losses=", "leaves nothing to learn from"),
        ("--teacher=. --teacher_losses=near", "'near' is unknown; give some of absolute, relative"),
        ("--teacher=. --teacher_losses=relative,relative:2", "'relative' is there twice"),
        ("--teacher=. --teacher_losses=relative:much", "'much' is not a weight; give a number"),
        ("--teacher=. --teacher_losses=relative:-1", "'-1' is not a weight; give a number, 0 or"),
        ("--teacher=. --teacher_losses=relative:nan", "'nan' is not a weight"),
        ("--teacher=a=.,b=", "--teacher=a=.,b=: 'b=' is not NAME=PATH with a name of its own"),
        ("--teacher=a=.,b=. --teacher_losses=a.relative", "gives the teacher 'b' nothing to teach"),
        ("--hint_layers=conv1", "--hint_layers=conv1: 'conv1' is not TEACHER:STUDENT, two names"),
        (
            "--teacher=. --hint_layers=a:b",
            "--hint_layers=a:b has no effect without the loss; add --",
        ),
        ("--task_loss=none --teacher=. --teacher_losses= --hint", "alone leaves the embedding as"),
        ("--hint", "--hint needs a --teacher to learn from"),
        ("--memory=9 --task_loss=none --teacher=.", "--memory=9 has no effect with --task_loss=no"),
        ("--task_loss=n_pairs --margin=1", "--margin=1.0: --task_loss=n_pairs has no margin to"),
        ("--teacher_cache=views:0", "--teacher_cache=views:0 is none of views:K with K of 1 or mo"),
        ("--image_cache=clean", "--image_cache=clean is none of views:K"),
        ("--cache_max_gb=-1", "--cache_max_gb=-1: -1.0 is not a non-negative"),
        ("--teacher=. --teacher_projection=lda", "--teacher_projection=lda is unknown; give one"),
        ("--run_dir=taken", "--run_dir=taken holds a run already; give another folder, or --ov"),
        ("--run_dir=file", "--run_dir=file is a file; give a folder"),
        ("--run_dir=file/run", "--run_dir='file/run' could not be written (Not a directory); cho"),
        (
            "--image_cache=views:2 --views_per_image=3",
            "--image_cache=views:2 has fewer views than --views_per_image=3, so that a batch would",
        ),
        ("--teacher_losses=relative", "--teacher_losses=relative needs a --teacher to learn from"),
        ("--run_dir=", "--run_dir=runs/photos holds a run already"),
        ("--run_dir= --flagfile=a.flags --flagfile=b.flags", "--run_dir=runs/b holds a run alread"),
    ],
)
def test_unusable_flag_is_refused_before_tensorflow_is_loaded(early, tmp_path, flags, said):
    for run in ("taken", "runs/photos", "runs/b"):
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / "flags.txt").touch()
    for file in ("file", "a.flags", "b.flags"):
        (tmp_path / file).touch()
    (tmp_path / "photos").mkdir()
    before = sorted(tmp_path.rglob("*"))
    ended = early("train", "--dataset=folder:photos", "--run_dir=new", *flags.split(), cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert ended.err.startswith("train: ")
    assert ended.err.endswith("See `python -m keras_distill.train --help`.\n")
    assert "Traceback" not in ended.err
    assert sorted(tmp_path.rglob("*")) == before
