import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill import mirror_averaged
from keras_distill.data.dataset import load_dataset
from keras_distill.data.pipeline import evaluation_batches
from keras_distill.embedding.batches import embed_batches
from keras_distill.evaluation import evaluated_model
from keras_distill.evaluation.asymmetric import asymmetric_metrics

DEGRADE = "blur:1,noise:60"
PAIRS = {
    "student_to_teacher": "asymmetric",
    "student_to_student": "student",
    "teacher_to_teacher": "teacher",
}


@pytest.fixture(scope="session")
def images(photos):
    return load_dataset(f"folder:{photos}", train_classes=":4", test_classes="4:").test


@pytest.fixture(scope="session")
def embedded(images, distilled, teacher):
    """Embeddings of the test images by student or teacher, of good or bad images; and labels."""
    models = {
        "student": keras.models.load_model(distilled.path / "student.keras", compile=False),
        "teacher": keras.models.load_model(teacher.path / "student.keras", compile=False),
    }

    def compute(name, degrade=""):
        size = {"student": 32, "teacher": 40}[name]
        return embed_batches(
            models[name], evaluation_batches(images, image_size=size, degrade=degrade)
        )[0]

    return compute


@pytest.fixture
def flags(distilled, teacher, photos, tmp_path):
    """Flags of the student's evaluation in the teacher's gallery."""
    return [
        f"--model={distilled.path}",
        f"--gallery_model={teacher.path}",
        f"--dataset=folder:{photos}",
        "--test_classes=4:",
        f"--json={tmp_path / 'recall.json'}",
    ]


@pytest.fixture
def figures(tmp_path):
    return lambda: json.loads((tmp_path / "recall.json").read_text())


def approx(values):
    return {name: pytest.approx(value, abs=1e-6) for name, value in values.items()}


def check(figures, metrics):
    """Compares what a JSON file says with metrics computed here."""
    asymmetric = figures["asymmetric"]
    for name, attribute in PAIRS.items():
        expected = getattr(metrics, attribute)
        assert asymmetric[name]["recall"] == {str(k): v for k, v in expected.recall.items()}
        assert asymmetric[name]["map_at_r"] == pytest.approx(expected.map_at_r)
        assert asymmetric[name]["r_precision"] == pytest.approx(expected.r_precision)
        low, high = expected.intervals["R@1"]
        assert asymmetric[name]["intervals"]["recall"]["1"] == pytest.approx([low, high])
    assert asymmetric["cosine"] == approx(metrics.cosine_summary())
    share, *bounds = metrics.kept(1)
    _, *over_classes = metrics.kept(1, over="classes")
    assert asymmetric["kept"]["1"] == {
        "share": pytest.approx(share),
        "interval": pytest.approx(bounds),
        "intervals_over": {
            "queries": pytest.approx(bounds),
            "classes": pytest.approx(over_classes),
        },
    }
    assert figures["recall"] == asymmetric["student_to_teacher"]["recall"]
    assert figures["intervals"] == asymmetric["student_to_teacher"]["intervals"]


@pytest.mark.slow
def test_three_figures_stand_next_to_each_other(command, flags, figures, embedded, images, teacher):
    ended = command("evaluate", *flags, "--ks=1,3", "--map_ks=5")
    assert (ended.code, ended.err) == (0, "")
    student, teachers = embedded("student"), embedded("teacher")
    metrics = asymmetric_metrics(
        (student, student), (teachers, teachers), images.labels, ks=[1, 3], map_ks=[5]
    )
    check(figures(), metrics)
    assert figures()["asymmetric"]["gallery_model"] == str(teacher.path)
    others = {"gallery_model", "gallery_mirror", "cosine", "kept"}
    assert figures()["asymmetric"].keys() == {*PAIRS, *others}
    assert figures()["index"]["dim"] == 8
    assert (figures()["queries"], figures()["gallery"]) == (20, 20)

    assert re.search("student → teacher +student → student +teacher → teacher", ended.out)
    columns = [getattr(metrics, attribute) for attribute in PAIRS.values()]
    for name in ("R@1", "R@3", "mAP@5", "MAP@R", "R-precision"):
        (row,) = re.findall(rf"^{name} .*$", ended.out, re.M)
        assert re.findall(r"\d\.\d{4}", row) == [f"{each.means[name]:.4f}" for each in columns]
    said = " ".join(ended.out.split())
    share, low, high = (f"{100 * value:.1f}" for value in metrics.kept(1, over="classes"))
    assert f"the student keeps {share} % [{low}, {high}] of its own R@1." in said
    cosine = metrics.cosine_summary()
    assert f"same image: mean {cosine['mean']:.3f}; percentiles 1 %: {cosine['1']:.3f}," in said


@pytest.mark.slow
@pytest.mark.parametrize("side", ["queries", "gallery", "both"])
def test_each_side_is_degraded_for_both_models_and_embedded_once(
    here, flags, figures, embedded, images, monkeypatch, side
):
    asked = []

    def counting(model, batches, **options):
        asked.append(model)
        return embed_batches(model, batches, **options)

    monkeypatch.setattr(evaluated_model, "embed_batches", counting)
    ended = here("evaluate", *flags, f"--degrade={DEGRADE}", f"--degrade_side={side}", "--ks=1")
    assert (ended.code, ended.err) == (0, "")
    assert len(asked) == (2 if side == "both" else 4)
    assert (figures()["degrade"], figures()["degrade_side"]) == (DEGRADE, side)
    queries = "" if side == "gallery" else DEGRADE
    gallery = "" if side == "queries" else DEGRADE
    student, teacher = (
        (embedded(name, queries), embedded(name, gallery)) for name in ("student", "teacher")
    )
    check(figures(), asymmetric_metrics(student, teacher, images.labels, ks=[1]))


@pytest.fixture(scope="session")
def table(images, embedded, tmp_path_factory):
    """The teacher's vectors of the test images."""
    path = tmp_path_factory.mktemp("table") / "vectors.npz"
    np.savez(path, ids=images.paths, vectors=embedded("teacher"))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["table", "exported"])
def test_other_kinds_of_gallery_models(here, flags, figures, embedded, images, request, kind):
    made = request.getfixturevalue(kind)
    path = made if kind == "table" else made.path
    assert here("evaluate", *flags, f"--gallery_model={path}").code == 0
    student, teacher = embedded("student"), embedded("teacher")
    expected = asymmetric_metrics((student, student), (teacher, teacher), images.labels)
    found = figures()["asymmetric"]
    assert found["cosine"] == {
        name: pytest.approx(value, abs=1e-5) for name, value in expected.cosine_summary().items()
    }
    assert found["student_to_teacher"]["map_at_r"] == pytest.approx(
        expected.asymmetric.map_at_r, abs=0.02
    )


@pytest.mark.slow
def test_projected_teacher_is_the_gallery_of_a_narrow_student(
    here, flags, figures, narrow, teacher
):
    given = [*flags, f"--model={narrow.path}"]
    ended = here("evaluate", *given)
    assert ended.code == 2
    assert "--model have width 4, the embeddings of --gallery_model width 8" in ended.err
    for remedy in ("--teacher_projection=pca", "projected_teacher.keras", "--embedding_dim=8"):
        assert remedy in ended.err
    projected = narrow.path / "projected_teacher.keras"
    assert here("evaluate", *given, f"--gallery_model={projected}").code == 0
    assert figures()["index"]["dim"] == 4
    assert figures()["asymmetric"]["teacher_to_teacher"]["recall"]["1"] > 0


@pytest.mark.slow
def test_widths_that_show_only_in_the_answers_are_compared_too(here, flags, tmp_path):
    module = tf.Module()
    module.embed = tf.function(
        lambda image: {"embedding": tf.image.resize(image, [1, 1])[:, 0, 0, : tf.shape(image)[3]]},
        input_signature=[tf.TensorSpec([None, 32, 32, 3], tf.float32, "image")],
    )
    tf.saved_model.save(module, str(tmp_path / "open"), signatures={"serve_float": module.embed})
    ended = here("evaluate", *flags, f"--gallery_model={tmp_path / 'open'}")
    assert ended.code == 2
    assert "--model have width 8, the embeddings of --gallery_model width 3" in ended.err


@pytest.mark.slow
def test_options_of_the_gallery_model(here, flags, figures, images, embedded, tmp_path):
    image = keras.Input((None, None, 3))
    keras.utils.set_random_seed(0)
    x = keras.layers.Conv2D(8, 3, name="inner")(image)
    model = keras.Model(image, keras.layers.Conv2D(1, 3)(x))
    scaled = keras.Model(image, keras.layers.GlobalAveragePooling2D()(model.layers[1].output))
    model.save(tmp_path / "any.keras")
    given = [*flags, f"--gallery_model={tmp_path / 'any.keras'}", "--gallery_output=inner"]
    ended = here("evaluate", *given)
    assert ended.code == 2
    assert "any.keras takes images of any size; give --gallery_image_size." in ended.err
    options = ["--gallery_image_size=24", "--gallery_preprocessing=0_1"]
    assert here("evaluate", *given, *options).code == 0
    gallery = np.concatenate(
        [scaled(x["image"] / 255) for x, _ in evaluation_batches(images, image_size=24)]
    )
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    student = embedded("student")
    metrics = asymmetric_metrics((student, student), (gallery, gallery), images.labels)
    assert figures()["asymmetric"]["cosine"] == {
        name: pytest.approx(value, abs=1e-4) for name, value in metrics.cosine_summary().items()
    }


@pytest.mark.slow
def test_gallery_models_of_no_use_are_refused(here, flags, teacher, table, photos, tmp_path):
    def refused(*more):
        ended = here("evaluate", *flags, *more)
        assert ended.code == 2
        assert not (tmp_path / "recall.json").exists()
        return " ".join(ended.err.split())

    said = refused("--gallery_image_size=32")
    assert "gallery_model" in said
    assert "40 x 40 pixels" in said
    said = refused(f"--gallery_model={table}", "--degrade=grey", "--degrade_side=queries")
    assert f"{table} is a table of vectors, which reads no pixels; give a model." in said
    assert "lacks 40 of 40 images" in refused(f"--gallery_model={table}", "--split=train")
    assert "gallery_model=" in refused(f"--gallery_model={photos}")

    broken = keras.models.load_model(teacher.path / "student.keras", compile=False)
    broken.set_weights([weight * np.nan for weight in broken.get_weights()])
    broken.save(tmp_path / "nan.keras")
    said = refused(f"--gallery_model={tmp_path / 'nan.keras'}")
    assert f"--gallery_model={tmp_path / 'nan.keras'} returned embeddings that are not" in said


def test_classes_are_listed_for_each_pair(here, flags, figures):
    assert here("evaluate", *flags, "--per_class").code == 0
    for name in PAIRS:
        listed = figures()["asymmetric"][name]["per_class"]
        assert [each["class"] for each in listed] == ["class_4", "class_5"]
        mean = np.mean([each["recall"]["1"] for each in listed])
        assert mean == pytest.approx(figures()["asymmetric"][name]["recall"]["1"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["model", "averaged", "table"])
def test_mirror_averages_what_it_can(
    here, flags, figures, images, embedded, tmp_path, request, kind
):
    averaged = {
        name: mirror_averaged(keras.models.load_model(f"{folder}/student.keras", compile=False))
        for name, folder in zip(("student", "teacher"), _folders(flags), strict=True)
    }
    gallery = embed_batches(averaged["teacher"], evaluation_batches(images, image_size=40))[0]
    if kind == "averaged":
        averaged["teacher"].save(tmp_path / "teacher.keras")
        flags = [*flags, f"--gallery_model={tmp_path / 'teacher.keras'}"]
    elif kind == "table":
        flags = [*flags, f"--gallery_model={request.getfixturevalue('table')}"]
        gallery = embedded("teacher")
    ended = here("evaluate", *flags, "--mirror")
    assert ended.code == 0
    queries = embed_batches(averaged["student"], evaluation_batches(images, image_size=32))[0]
    metrics = asymmetric_metrics((queries, queries), (gallery, gallery), images.labels)
    found = figures()
    assert found["mirror"] is True
    assert found["asymmetric"]["gallery_mirror"] is (kind != "table")
    assert found["map_at_r"] == pytest.approx(metrics.asymmetric.map_at_r)


def _folders(flags):
    return [flag.partition("=")[2] for flag in flags[:2]]
