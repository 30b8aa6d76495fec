import dataclasses
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from rich.console import Console

from keras_distill.data.image_batches import image_batches
from keras_distill.errors import InputError
from keras_distill.losses.registry import HEAD_SHARING
from keras_distill.models.class_head import ClassHead, split_head
from keras_distill.models.classifier import build_classifier
from keras_distill.models.loading import load_model
from keras_distill.recipes.cached_teacher import fill_teacher_cache
from keras_distill.recipes.head_method import build_head_method
from keras_distill.recipes.head_student import build_head_student, build_tailored_teacher
from keras_distill.recipes.head_teacher import open_head_teacher, with_means
from keras_distill.settings.command import Command
from keras_distill.settings.head_sharing import HeadSharingSettings
from keras_distill.settings.split_data import load_split_images

COMMAND = Command("test", "doc", HeadSharingSettings)
QUIET = Console(quiet=True)


def network(width, seed, *, size=16, outputs=0):
    keras.utils.set_random_seed(seed)
    image = keras.Input((size, size, 3), name="image")
    x = keras.layers.Rescaling(1 / 64, -2)(image)
    x = keras.layers.Conv2D(width, 3, 2, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(outputs)(x) if outputs else x)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Files: a student's backbone, and teachers that are classifiers or embedders."""
    folder = tmp_path_factory.mktemp("models")
    names = [f"class_{label}" for label in range(6)]
    network(8, 0).save(folder / "student.keras")
    network(5, 1).save(folder / "embedder.keras")
    network(5, 2, outputs=6).save(folder / "nameless.keras")
    named = build_classifier(names[::-1], network(8, 3), activation="softmax")
    named.save(folder / "named.keras")
    return folder


@pytest.fixture
def parsed(models, photos, tmp_path):
    def parse(*flags, teacher="named", **given):
        settings = COMMAND.parse(
            [
                f"--dataset=folder:{photos}",
                f"--student={models / 'student.keras'}",
                f"--cache_dir={tmp_path}",
                "--batch_size=16",
                *([f"--teacher={models / teacher}.keras"] if teacher else []),
                *flags,
            ]
        )
        settings.check()
        return settings

    return parse


def images_of(settings):
    (images,), _ = load_split_images(settings, "train")
    return images


@pytest.mark.slow
@pytest.mark.parametrize("teacher", ["named", "nameless"])
def test_logits_of_the_cached_embedding_are_those_of_the_live_teacher(parsed, models, teacher):
    settings = parsed("--combination=th_kd", "--teacher_cache=views:2", teacher=teacher)
    images = images_of(settings)
    cached = open_head_teacher(settings, settings.teacher, images, 16)
    fill_teacher_cache(settings, cached, QUIET)
    batches = image_batches(
        images,
        image_size=16,
        batch_size=16,
        views=cached.views,
        teacher_embedding=cached.lookup,
        teacher_logits=cached.logits,
    )
    live = cached.outputs()
    whole = load_model(models / f"{teacher}.keras")
    for x, _ in batches.take(4):
        own = live(x["image"], ["logits", "embedding"])
        for name, exact in own.items():
            np.testing.assert_allclose(x[f"teacher_{name}"], exact, rtol=5e-3, atol=5e-3)
        logits = whole(x["image"])
        if teacher == "named":  # its classes are in another order
            logits = logits["logits"].numpy()[:, ::-1]
        np.testing.assert_allclose(own["logits"], logits, rtol=1e-4, atol=1e-5)
    assert ("alphabetical" in cached.note) == (teacher == "nameless")


def test_an_embedder_needs_a_head(parsed, models, tmp_path):
    settings = parsed("--combination=th_kd", teacher="embedder")
    images = images_of(settings)
    with pytest.raises(InputError, match=r"has no head of these classes.*`teacher_head=means`"):
        open_head_teacher(settings, settings.teacher, images, 16)
    settings = parsed("--combination=th_kd", "--teacher_head=means", teacher="embedder")
    teacher = open_head_teacher(settings, settings.teacher, images, 16)
    teacher = with_means(teacher, images, 16, QUIET)
    assert teacher.head.kernel.shape == (5, 6)
    ambiguous = parsed("--combination=th_kd", "--teacher_head=means", teacher="nameless")
    note = open_head_teacher(ambiguous, ambiguous.teacher, images, 16).note
    assert note == "the teacher's 6 outputs have no names, and are taken for its embedding"
    np.testing.assert_allclose(np.linalg.norm(teacher.head.kernel, axis=0), 1, rtol=1e-5)
    head = ClassHead(np.ones((5, 6), np.float32), scale=9.0, names=images.class_names)
    head.save(tmp_path / "own.npz")
    flag = f"--teacher_head={tmp_path / 'own.npz'}"
    settings = parsed("--combination=th_kd", flag, teacher="embedder")
    assert open_head_teacher(settings, settings.teacher, images, 16).head.scale == 9.0
    settings = parsed("--combination=th_kd", flag, teacher="named")
    with pytest.raises(InputError, match=r"embeddings of width 5, but .* makes 8"):
        open_head_teacher(settings, settings.teacher, images, 16)
    settings = parsed("--combination=kde", "--logits_weight=0", teacher="embedder")
    assert open_head_teacher(settings, settings.teacher, images, 16).head is None


def test_a_teacher_of_other_classes(parsed, models):
    settings = parsed("--combination=th_kd")
    images = dataclasses.replace(images_of(settings), class_names=("x", *"abcde"))
    with pytest.raises(InputError, match="lacks 6 of 6 classes, such as 'x'"):
        open_head_teacher(settings, settings.teacher, images, 16)


@pytest.mark.parametrize("combination", [*HEAD_SHARING])
def test_the_parts_of_a_combination(parsed, combination):
    teacher_name = "" if combination == "plain" else "named"
    settings = parsed(f"--combination={combination}", teacher=teacher_name)
    images = images_of(settings)
    student = build_head_student(settings, images.class_names)
    teacher = None
    if teacher_name:
        teacher = open_head_teacher(settings, settings.teacher, images, 16)
    model, product = build_head_method(settings, student, teacher, images)
    assert product is student
    names = {
        "label": "logits",
        "logits": "logits_kd",
        "head": "embedding_teacher_head",
        "kde": "embedding_kde",
        "crd": "embedding_crd",
    }
    expected = {names[part]: weight for part, weight in HEAD_SHARING[combination].items()}
    assert model.loss_weights_by_name == expected


def test_published_weights():
    assert HEAD_SHARING["th_kd"] == {"label": 1.0, "logits": 1.5, "head": 0.02}
    assert HEAD_SHARING["crd_th"] == {"label": 0.9, "logits": 1.0, "crd": 0.8, "head": 0.02}
    assert HEAD_SHARING["sh_kd"] == {"label": 1.0, "logits": 1.0, "crd": 0.8}


def test_weights_are_replaced_and_widths_are_mapped(parsed):
    settings = parsed(
        "--combination=kd", "--head_weight=2", "--logits_weight=0", teacher="nameless"
    )
    assert settings.weights == {"label": 1.0, "head": 2.0}
    images = images_of(settings)
    student = build_head_student(settings, images.class_names)
    teacher = open_head_teacher(settings, settings.teacher, images, 16)
    model, _ = build_head_method(settings, student, teacher, images)
    assert model.product.output["embedding"].shape == (None, 5)
    assert "projection" not in [layer.name for layer in student.layers]


def test_students(parsed, models):
    names = tuple(f"class_{label}" for label in range(6))
    classifier = parsed(f"--student={models / 'named.keras'}", teacher="")
    student = build_head_student(classifier, names)
    trunk = student.get_layer("trunk")
    assert trunk.output_shape == (None, 8)
    assert split_head(student)[1].names == names
    own = split_head(load_model(models / "named.keras"))[0]
    for weight, other in zip(trunk.get_weights(), own.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)
    drawn = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        new = parsed("--student_weights=new", teacher="")
        drawn.append(build_head_student(new, names).get_layer("trunk").get_weights()[0])
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()
    cosine = parsed("--head=arc_face", "--embedding_dim=3", "--head_scale=30", teacher="")
    _, head = split_head(build_head_student(cosine, names))
    assert (head.scale, head.width) == (30.0, 3)
    assert (cosine.angle, parsed("--head=normalized_softmax", teacher="").scale) == (0.5, 20.0)


@pytest.mark.parametrize(("teacher", "projected"), [("named", False), ("nameless", True)])
def test_a_teacher_under_the_head_of_a_student(parsed, teacher, projected, tmp_path):
    settings = parsed("--combination=sh_kd", teacher=teacher)
    names = tuple(f"class_{label}" for label in range(6))
    student = build_head_student(settings, names)
    student.save(tmp_path / "model.keras")
    tailored = build_tailored_teacher(settings, tmp_path / "model.keras", names)
    head, own = split_head(tailored)[1], split_head(student)[1]
    np.testing.assert_array_equal(head.kernel, own.kernel)
    frozen = sum(np.prod(weight.shape) for weight in tailored.non_trainable_weights)
    assert frozen == 8 * 6 + 6
    trained = [weight.shape for weight in tailored.trainable_weights]
    assert ((5, 8) in trained) == projected


@pytest.fixture(scope="module")
def run(ended_once, command, models, photos):
    """Trains once under a name, and returns how that ended, and the run directory."""

    def train(name, *flags):
        def launch(folder):
            return command(
                "train",
                "--recipe=head_sharing",
                f"--dataset=folder:{photos}",
                f"--student={models / 'student.keras'}",
                f"--teacher={models / 'named.keras'}",
                "--crd_negatives=20",
                "--crd_dim=4",
                "--batch_size=16",
                "--learning_rate=1e-2",
                "--crop_area=0.5",
                "--nogradient_norm",
                "--notensorboard",
                f"--cache_dir={folder}",
                *flags,
                f"--run_dir={folder / 'run'}",
            )

        ended = ended_once(name, launch)
        assert ended.code == 0, ended.err + ended.out
        return dataclasses.replace(ended, path=ended.path / "run")

    return train


def summary(path):
    return json.loads((path / "summary.json").read_text())


def test_one_stage(run):
    ended = run(
        "head_one_stage",
        "--combination=crd_th",
        "--teacher_cache=views:4",  # more than epochs
        "--head_mix=0.25",
        "--epochs=2",
        "--ema=0.9",
    )
    assert "crd_th: label 0.9, logits 1, crd 0.8, head 0.02" in ended.out
    assert "views to compute" in ended.out
    told = summary(ended.path)
    assert told["labels"] == [f"class_{label}" for label in range(6)]
    assert told["images"] == {"train": 44, "validation": 4}
    assert 0 <= told["validation"]["accuracy"] <= 1
    assert told["loss"].keys() == {
        *("loss", "logits", "logits_kd", "embedding_teacher_head", "embedding_crd")
    }
    model = load_model(ended.path / "model.keras")
    assert model.output["logits"].shape == (None, 6)
    assert "teacher_head" in [layer.name for layer in model.layers]


@pytest.mark.slow
def test_three_stages(run, models):
    ended = run("head_three_stages", "--combination=sh_kd", "--copy_head", "--epochs=2")
    assert [*summary(ended.path)["stages"]] == ["student", "teacher", "distill"]
    assert summary(ended.path / "student")["teacher"] is None
    assert summary(ended.path / "distill")["teacher"].endswith("teacher/model.keras")
    heads = {
        stage: split_head(load_model(ended.path / stage / "model.keras"))[1].kernel
        for stage in ("student", "teacher", "distill")
    }
    np.testing.assert_array_equal(heads["teacher"], heads["student"])
    np.testing.assert_array_equal(heads["distill"], heads["student"])
    trained = split_head(load_model(ended.path / "teacher" / "model.keras"))[0].get_weights()
    before = split_head(load_model(models / "named.keras"))[0].get_weights()
    assert any((a != b).any() for a, b in zip(trained, before, strict=True))
    for stage in ("student", "teacher", "distill"):
        assert (ended.path / stage / "flags.txt").is_file()
        assert load_model(ended.path / stage / "embedder.keras").output_shape == (None, 8)


KILLER = """
import os, runpy, sys, keras
from keras_distill.training import loop

class Killed(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if "embedding_crd" in logs:
            os._exit(9)

loop.SkippedSteps = Killed
sys.argv = ["train", *sys.argv[1:]]
runpy.run_module("keras_distill.train", run_name="__main__", alter_sys=True)
"""


@pytest.mark.slow
def test_a_run_killed_in_its_last_stage_ends_as_if_it_had_not(models, photos, tmp_path, command):
    flags = [
        "--recipe=head_sharing",
        f"--dataset=folder:{photos}",
        f"--student={models / 'student.keras'}",
        f"--teacher={models / 'named.keras'}",
        *("--combination=sh_kd", "--crd_negatives=20", "--crd_dim=4", "--batch_size=16"),
        *("--epochs=2", "--nogradient_norm", "--notensorboard", "--deterministic"),
        f"--cache_dir={tmp_path}",
    ]
    whole = command("train", *flags, f"--run_dir={tmp_path / 'whole'}")
    assert whole.code == 0, whole.err + whole.out
    (tmp_path / "killer.py").write_text(KILLER)
    cut = [*flags, "--checkpoint_steps=2", f"--run_dir={tmp_path / 'cut'}"]
    killer = [sys.executable, str(tmp_path / "killer.py"), *cut]
    killed = subprocess.run(killer, capture_output=True)
    assert killed.returncode == 9, killed.stderr
    resumed = command("train", *cut)
    assert resumed.code == 0, resumed.err + resumed.out
    assert "stage teacher is finished" in resumed.out
    assert "resuming after step 2" in resumed.out
    left, right = (load_model(tmp_path / name).get_weights() for name in ("whole", "cut"))
    assert all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--dataset="], "--dataset is required: cifar10"),
        (["--dataset=cub"], "--dataset=cub is unknown"),
        (["--dataset=folder:none"], "there is no folder 'none'"),
        (["--combination=th_kd"], "learns from a teacher (head, logits); give --teacher"),
        (["--teacher=."], "would teach nothing with --combination=plain"),
        (["--teacher=none.keras"], "does not exist"),
        (["--teacher_head=means"], "needs --teacher"),
        (["--teacher=.", "--combination=kd", "--teacher_head=none"], "need a head"),
        (["--teacher=.", "--combination=sh_kd", "--teacher_head=means"], "gets the head of the"),
        (["--crd_dim=4"], "has no effect without the contrastive loss"),
        (["--teacher_epochs=4"], "has no effect without --combination=sh_kd"),
        (["--head_mix=2"], "is a share"),
        (["--head_scale=2"], "needs --head=arc_face"),
        (["--margin=0.2"], "needs --head=arc_face"),
        (["--label_weight=0"], "all weights are 0"),
        (["--student=none.keras"], "does not exist"),
        (["--student_weights=new"], "needs --student"),
        (["--student=.", "--alpha=0.5"], "describes a new backbone"),
        (["--validation_share=1"], "below 1"),
        (["--validation_share=0", "--patience=2"], "needs --validation_share"),
        (["--freeze_epochs=1"], "not offered by this recipe"),
        (["--least_positives=1"], "belongs to the recipe multilabel"),
    ],
)
def test_unusable_flags_are_refused_early(early, photos, tmp_path, flags, said):
    data = f"--dataset=folder:{photos}"
    ended = early("train", "--recipe=head_sharing", data, *flags, cwd=tmp_path)
    assert ended.code == 2, ended.out + ended.err
    assert said in ended.err
    assert "Traceback" not in ended.err
