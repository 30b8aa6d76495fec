import json
import sys

import keras
import numpy as np
import pytest
from PIL import Image

from keras_distill.data.class_prior_file import read_class_prior
from keras_distill.models.label_names import find_labels

NAMES = ("red", "green", "blue")
TINY = (
    "--recipe=multilabel",
    "--backbone=mobilenet",
    "--backbone_layer=conv_pw_1_relu",
    "--backbone_weights=none",
    "--alpha=0.25",
    "--image_size=32",
    "--epochs=2",
    "--batch_size=8",
    "--learning_rate=1e-2",
    "--crop_area=0.5",
    "--nogradient_norm",
    "--notensorboard",
)


@pytest.fixture(scope="session")
def squares(once):
    """60 images of red, green and blue squares on grey, each colour in half of them."""

    def draw(folder):
        rng = np.random.default_rng(0)
        lines = ["file,split,labels"]
        for index in range(60):
            present = rng.random(3) < 0.5
            pixels = rng.normal(128, 10, (32, 32, 3))
            for colour in np.flatnonzero(present):
                top, left = 16 * (colour // 2), 16 * (colour % 2)
                pixels[top : top + 16, left : left + 16] = 255 * np.eye(3)[colour]
            file = f"{index}.png"
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / file)
            split = "test" if index >= 40 else "validation" if index >= 30 else "train"
            labels = "|".join(np.array(NAMES)[present])
            lines.append(f"{file},{split},{labels}")
        (folder / "labels.csv").write_text("\n".join([*lines, ""]))
        words = ["3 4", "red 1 0 0 1", "green 0 1 0 1", "blue 0 0 1 1"]
        (folder / "words.vec").write_text("\n".join([*words, ""]))

    return once("squares", draw)


@pytest.fixture(scope="session")
def train_labels(ended_once, command, squares):
    """Trains once under a name, and returns how that ended, and the run directory."""
    from dataclasses import replace

    def run(name, *flags):
        def launch(folder):
            data, output = f"--dataset=labels:{squares}/labels.csv", f"--run_dir={folder / 'run'}"
            return command("train", data, *TINY, f"--cache_dir={folder}", *flags, output)

        ended = ended_once(name, launch)
        return replace(ended, path=ended.path / "run")

    return run


@pytest.fixture(scope="session")
def classifier(train_labels):
    ended = train_labels("labels", "--epochs=12")
    assert ended.code == 0, ended.err + ended.out
    return ended


def summary(ended):
    return json.loads((ended.path / "summary.json").read_text())


def test_it_learns_and_keeps_names_and_thresholds(classifier):
    told = summary(classifier)
    assert set(told["labels"]) == set(NAMES)
    assert told["images"] == {"train": 30, "validation": 10}
    assert told["validation"]["map"] > 0.9, classifier.out
    model = keras.models.load_model(classifier.path / "model.keras", compile=False)
    labels = find_labels(model)
    assert list(labels.names) == told["labels"]
    assert all(0 <= value <= 1 for value in labels.thresholds)
    assert not (classifier.path / "student.keras").exists()


def test_the_test_images_are_evaluated_by_the_protocol_of_the_run(command, classifier, tmp_path):
    file = tmp_path / "figures.json"
    ended = command("evaluate", f"--model={classifier.path}", f"--json={file}", "--top_ks=1")
    assert ended.code == 0, ended.err
    told = json.loads(file.read_text())
    assert told["protocol"] == "multilabel"
    assert told["split"] == "test"
    assert told["images"] == 20
    assert told["thresholds"] == "validation"
    assert told["figures"]["map"] > 0.9
    low, high = told["intervals"]["map"]
    assert low <= told["figures"]["map"] <= high
    assert "mAP" in ended.out


@pytest.mark.slow
def test_an_ablation_compares_by_the_measures_of_labels(command, squares, tmp_path):
    lines = [f"--dataset=labels:{squares}/labels.csv", *TINY, f"--cache_dir={tmp_path}"]
    (tmp_path / "base.flags").write_text("\n".join([*lines, ""]))
    ended = command(
        "ablate",
        f"--base={tmp_path / 'base.flags'}",
        "--variant=bce: --label_loss=bce",
        "--variant=asymmetric: --label_loss=asymmetric",
        "--seeds=0",
        "--evaluation=one label: --top_ks=1",
        f"--out={tmp_path / 'out'}",
    )
    assert ended.code == 0, ended.err
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [result["variant"] for result in results] == ["bce", "asymmetric"]
    for result in results:
        run = tmp_path / "out" / "runs" / result["variant"] / "0"
        told = json.loads((run / "evaluations" / "one label.json").read_text())["figures"]
        assert result["figures"]["map"] == told["map"]
        assert result["figures"]["top_k 1 f1"] == told["top_k"]["1"]["f1"]
    assert "| map | micro precision | micro recall |" in ended.out
    assert (tmp_path / "out" / "figures.png").is_file()


@pytest.mark.slow
def test_some_labels_alone(command, classifier, squares, tmp_path):
    file = tmp_path / "figures.json"
    ended = command(
        "evaluate",
        f"--model={classifier.path / 'model.keras'}",
        f"--dataset=labels:{squares}/labels.csv",
        "--classes=blue,red",
        "--other_labels=ignore",
        "--top_ks=1",
        f"--json={file}",
    )
    assert ended.code == 0, ended.err
    told = json.loads(file.read_text())
    assert told["class_names"] == ["blue", "red"]
    assert told["left_out_labels"] == []


def test_labels_that_the_model_lacks_are_named(here, classifier, squares, tmp_path):
    header, *rows = (squares / "labels.csv").read_text().splitlines()
    some = [row.replace("red", "crimson") for row in rows]
    none = [f"{row.rpartition(',')[0]},puce" for row in rows]
    for name, lines in (("some", some), ("none", none)):
        (tmp_path / f"{name}.csv").write_text("\n".join([header, *lines, ""]))
    flags = (f"--model={classifier.path / 'model.keras'}", f"--images={squares}", "--top_ks=1")
    file = tmp_path / "figures.json"
    ended = here("evaluate", *flags, f"--dataset=labels:{tmp_path}/some.csv", f"--json={file}")
    assert ended.code == 0, ended.err
    told = json.loads(file.read_text())
    assert told["left_out_labels"] == ["crimson"]
    assert sorted(told["class_names"]) == ["blue", "green"]
    assert "1 of the 3 labels of the data, which are left out: crimson" in ended.out
    assert any("crimson" in warning for warning in told["warnings"])
    ended = here("evaluate", *flags, f"--dataset=labels:{tmp_path}/none.csv")
    assert ended.code == 2
    assert "no label in common: puce against" in ended.err


@pytest.mark.slow
def test_mirror_images_are_averaged_in_evaluation_and_export(here, classifier, tmp_path):
    file, model = tmp_path / "figures.json", f"--model={classifier.path}"
    ended = here("evaluate", model, "--mirror", "--top_ks=1", f"--json={file}")
    assert ended.code == 0, ended.err
    told = json.loads(file.read_text())
    assert told["mirror"] is True
    assert told["thresholds"] == "validation"
    assert "averages each image and its mirror image" in ended.out
    out = f"--out={tmp_path / 'models'}"
    ended = here("export", model, "--mirror", out, "--name=colours", "--batching=none")
    assert ended.code == 0, ended.err + ended.out
    folder = tmp_path / "models" / "colours" / "1"
    facts = json.loads((folder / "assets.extra" / "distill.json").read_text())
    assert facts["mirror"] is True
    assert facts["outputs"]["logits"]["labels"] == list(
        find_labels(keras.models.load_model(classifier.path / "model.keras", compile=False)).names
    )
    assert "Mirror averaging" in (folder / "MODEL_CARD.md").read_text()


@pytest.mark.slow
def test_a_killed_run_ends_as_if_it_had_not(command, train_labels, tmp_path, squares):
    flags = [
        f"--dataset=labels:{squares}/labels.csv",
        *TINY,
        "--deterministic",
        "--ema=0.9",
        f"--cache_dir={tmp_path}",
    ]
    whole = command("train", *flags, f"--run_dir={tmp_path / 'whole'}")
    assert whole.code == 0, whole.err + whole.out
    killer = (
        "import os, sys, runpy, keras\n"
        "from keras_distill.methods.supervised import Supervised\n"
        "make = Supervised.train_step\n"
        "class Killed(keras.callbacks.Callback):\n"
        "    def on_epoch_end(self, epoch, logs=None): os._exit(9)\n"
        "from keras_distill.training import loop\n"
        "loop.SkippedSteps = Killed\n"
        "sys.argv = sys.argv[1:]\n"
        "sys.argv.insert(0, 'train')\n"
        "runpy.run_module('keras_distill.train', run_name='__main__', alter_sys=True)\n"
    )
    (tmp_path / "killer.py").write_text(killer)
    import subprocess

    cut = [*flags, "--checkpoint_steps=3", f"--run_dir={tmp_path / 'cut'}"]
    killed = subprocess.run(
        [sys.executable, str(tmp_path / "killer.py"), *cut], capture_output=True
    )
    assert killed.returncode == 9, killed.stderr
    resumed = command("train", *cut)
    assert resumed.code == 0, resumed.err + resumed.out
    assert "resuming after step 3" in resumed.out
    left, right = (
        keras.models.load_model(tmp_path / name / "model.keras", compile=False).get_weights()
        for name in ("whole", "cut")
    )
    assert all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.slow
def test_a_stage_estimates_the_prior_for_the_selective_loss(train_labels):
    ended = train_labels(
        "selective",
        "--label_loss=partial_selective",
        "--prior=estimate",
        "--prior_epochs=1",
        "--annotations=share:0.5",
    )
    assert ended.code == 0, ended.err + ended.out
    assert [*summary(ended)["stages"]] == ["prior", "train"]
    prior = read_class_prior(ended.path / "prior" / "class_prior.csv", NAMES)
    assert ((prior > 0) & (prior < 1)).all()
    assert "unknown" in ended.out


@pytest.mark.slow
def test_a_teacher_of_logits_is_cached_and_teaches(train_labels, classifier):
    flags = ("--label_loss=none", f"--teacher={classifier.path}", "--alpha=0.5", "--epochs=12")
    live = train_labels("taught", *flags)
    assert live.code == 0, live.err + live.out
    assert summary(live)["validation"]["map"] > 0.8
    cached = train_labels("taught_cached", *flags[:3], "--teacher_cache=views:2", "--epochs=1")
    assert cached.code == 0, cached.err + cached.out
    assert "views to compute" in cached.out


@pytest.fixture(scope="session")
def word_space(train_labels, squares):
    ended = train_labels(
        "words",
        "--head=words",
        "--label_loss=semantic_diversity",
        f"--word_vectors={squares / 'words.vec'}",
        "--classes=red,green",
        "--other_labels=ignore",
        "--epochs=8",
    )
    assert ended.code == 0, ended.err + ended.out
    return ended


@pytest.mark.slow
def test_photographs_are_found_by_words(here, word_space, squares, tmp_path):
    index, file = tmp_path / "words.index", tmp_path / "found.json"
    model, images = f"--model={word_space.path}", f"--images={squares}"
    ended = here("index", "build", model, images, f"--out={index}", f"--json={file}")
    assert ended.code == 0, ended.err
    told = json.loads(file.read_text())
    assert (told["pictures"], told["vectors_per_picture"], told["backend"]) == (60, 2, "exact")
    words = (f"--index={index}", f"--word_vectors={squares / 'words.vec'}")
    ended = here("index", "search", *words, "--words=red,green", "--k=20", f"--json={file}")
    assert ended.code == 0, ended.err
    found = [each["picture"] for each in json.loads(file.read_text())["neighbours"]]
    assert len(set(found)) == 20
    rows = [line.split(",") for line in (squares / "labels.csv").read_text().splitlines()[1:]]
    both = {name for name, _, labels in rows if {"red", "green"} <= set(labels.split("|"))}
    assert len(both & set(found)) > 1.5 * 20 * len(both) / 60
    assert here("index", "add", f"--index={index}", model, images).code == 0  # all are there
    for flags, said in (
        ((f"--index={index}", model, f"--image={squares / '0.png'}"), "search it by --words"),
        ((*words, "--words=crimson"), "crimson"),
        ((*words, "--words=red", "--mirror"), "--mirror has no effect on search --words"),
        ((f"--index={index}", "--words=red"), "--word_vectors is required to search --words"),
    ):
        ended = here("index", "search", *flags)
        assert ended.code == 2
        assert said in ended.err, ended.err


@pytest.mark.slow
def test_a_word_space_ranks_labels_that_it_was_not_trained_on(
    command, word_space, squares, tmp_path
):
    ended = word_space
    file = tmp_path / "figures.json"
    ended = command(
        "evaluate",
        f"--model={ended.path}",
        f"--dataset=labels:{squares}/labels.csv",
        "--classes=red,green,blue",
        "--top_ks=1",
        f"--json={file}",
    )
    assert ended.code == 0, ended.err
    told = json.loads(file.read_text())
    assert told["unseen"] == ["blue"]
    assert told["zero_shot"]["figures"]["map"] > 0
    assert "only rank labels" in ended.out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--dataset="], "--dataset is required"),
        (["--dataset=labels:none.csv"], "there is no file 'none.csv'"),
        (["--dataset=folder:photos"], "is unknown"),
        (["--gamma_unannotated=3"], "not used by --label_loss=asymmetric"),
        (["--head=words"], "do not go together"),
        (["--head=words", "--label_loss=semantic_diversity"], "needs --word_vectors"),
        (["--label_loss=none"], "nothing to learn from"),
        (["--annotations=half"], "neither per_class:N"),
        (["--teacher_weight=2"], "needs --teacher"),
        (["--label_loss=partial_selective", "--prior=none.csv"], "there is no such file"),
        (["--dropout=1"], "must be below 1"),
        (["--task_loss=contrastive"], "belongs to the recipe distill"),
        (["--images=none"], "there is no such folder"),
        (["--validation_share=1"], "below 1"),
    ],
)
def test_unusable_flags_are_refused_early(early, squares, tmp_path, flags, said):
    data = f"--dataset=labels:{squares}/labels.csv"
    ended = early("train", "--recipe=multilabel", data, *flags, cwd=tmp_path)
    assert ended.code == 2, ended.out + ended.err
    assert said in ended.err
    assert "Traceback" not in ended.err


def test_a_flag_of_this_recipe_is_refused_by_another(early, photos):
    ended = early("train", f"--dataset=folder:{photos}", "--label_loss=bce")
    assert ended.code == 2
    assert "belongs to the recipe multilabel" in ended.err


def test_protocols_refuse_data_of_the_other_kind(early, classifier, photos, squares):
    model = f"--model={classifier.path}"
    for protocol, data in (
        ("multilabel", f"folder:{photos}"),
        ("retrieval", f"labels:{squares}/labels.csv"),
    ):
        ended = early("evaluate", model, f"--protocol={protocol}", f"--dataset={data}")
        assert ended.code == 2
        assert "does not take them" in ended.err
