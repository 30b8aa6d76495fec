import json

import keras
import numpy as np
import pytest
from PIL import Image, ImageFilter

from keras_distill import build_embedder
from keras_distill.data.group_split import group_split
from keras_distill.models.score_scale import find_score_scale

TINY = (
    "--recipe=ranked_regression",
    "--backbone=mobilenet",
    "--backbone_layer=conv_pw_1_relu",
    "--backbone_weights=none",
    "--alpha=0.25",
    "--image_size=32",
    "--epochs=2",
    "--steps_per_epoch=4",
    "--batch_size=8",
    "--sets_per_batch=4",
    "--learning_rate=1e-2",
    "--validation_crops=1",
    "--nogradient_norm",
    "--notensorboard",
)


BACKBONE = ("--backbone", "--backbone_layer", "--backbone_weights", "--alpha", "--image_size")


@pytest.fixture(scope="session")
def blurred(once):
    """Noise of 8 references at 4 blurs, the milder the higher the score; and what is preferred."""

    def draw(folder):
        random = np.random.default_rng(0)
        rows, pairs = ["file,score,reference,method"], ["file,file,label"]
        for reference in range(8):
            pixels = random.integers(0, 256, (40, 48, 3), np.uint8)
            for level, sigma in enumerate((0, 0.6, 1.2, 3)):
                name = f"{reference}_{level}.png"
                image = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(sigma))
                image.save(folder / name)
                score = "" if not sigma else f"{5 - level}"
                rows.append(f"{name},{score},r{reference},{'blur' if sigma else ''}")
            pairs.append(f"{reference}_3.png,{reference}_1.png,0")
        (folder / "scores.csv").write_text("\n".join([*rows, ""]))
        (folder / "pairs.csv").write_text("\n".join([*pairs, ""]))

    return once("blurred", draw)


@pytest.fixture(scope="session")
def dotted(once):
    """Grey images with white squares, and their centres."""

    def draw(folder):
        random = np.random.default_rng(0)
        for index in range(16):
            part = folder / ("train" if index < 12 else "test")
            part.mkdir(exist_ok=True)
            pixels = np.full((48, 64, 3), 90, np.uint8)
            points = random.uniform(4, [60, 44], (random.integers(1, 9), 2))
            for x, y in points.astype(int):
                pixels[y - 2 : y + 3, x - 2 : x + 3] = 255
            Image.fromarray(pixels).save(part / f"{index}.png")
            lines = ["x,y", *(f"{x:.1f},{y:.1f}" for x, y in points), ""]
            (part / f"{index}.csv").write_text("\n".join(lines))

    return once("dotted", draw)


@pytest.fixture(scope="session")
def train_scores(ended_once, command, blurred):
    """Trains once under a name, and returns how that ended, and the run directory."""
    from dataclasses import replace

    def run(name, *flags):
        def launch(folder):
            data = (f"--dataset=folder:{blurred}", f"--scores={blurred}/scores.csv")
            more = (f"--cache_dir={folder}", f"--run_dir={folder / 'run'}")
            return command("train", *data, *TINY, *more, *flags)

        ended = ended_once(name, launch)
        return replace(ended, path=ended.path / "run")

    return run


@pytest.fixture(scope="session")
def scorer(train_scores):
    ended = train_scores(
        "ranked_scores", "--distortions=blur:0.6/1.2/3,noise:5/15/60", "--distortion_column=method"
    )
    assert ended.code == 0, ended.err + ended.out
    return ended


def summary(path):
    return json.loads((path / "summary.json").read_text())


def figures(command, path, *flags):
    file = path / "figures.json"
    ended = command("evaluate", f"--model={path}", f"--json={file}", *flags)
    assert ended.code == 0, ended.err + ended.out
    return json.loads(file.read_text()), ended.out


def test_it_ranks_and_then_learns_scores(scorer):
    told = summary(scorer.path)
    assert [*told["stages"]] == ["rank", "fine_tune"]
    assert told["images"] == {"train": 20, "labelled": 15, "ranked": 0, "validation": 3}
    assert summary(scorer.path / "rank")["images"]["ranked"] == 5  # those without a score
    assert summary(scorer.path / "rank")["images"]["labelled"] == 0
    assert "5 ranked images, sets of 4 by distortions" in scorer.out
    assert "val_SROCC" in scorer.out
    assert -1 <= told["validation"]["srocc"] <= 1
    model = keras.models.load_model(scorer.path / "model.keras", compile=False)
    scale = find_score_scale(model)
    assert (scale.mean, scale.higher_is_better) == (3.0, True)
    assert scale.deviation == pytest.approx((2 / 3) ** 0.5)


@pytest.mark.slow
def test_test_references_are_evaluated_by_the_protocol_of_the_run(command, scorer, blurred):
    told, out = figures(command, scorer.path, "--crops=3", f"--comparisons={blurred}/pairs.csv")
    assert told["protocol"] == "regression"
    assert (told["images"], told["references"], told["crops"]) == (6, 2, 3)
    assert set(told["by_distortion"]) == {"blur"}
    assert set(told["figures"]) >= {"lcc", "srocc", "krocc", "rmse", "lcc_logistic", "pairs"}
    assert told["pairs"]["decided"] == 2
    assert told["pairs"]["of_other_splits"] == 6
    low, high = told["intervals"]["rmse"]
    assert low <= told["figures"]["rmse"] <= high
    assert "LCC (logistic)" in out
    assert "there are 2 references" in out
    whole, _ = figures(command, scorer.path, "--crops=0")
    assert whole["crops"] == 0


@pytest.mark.slow
def test_it_counts_by_both_losses_at_once(command, ended_once, dotted):
    def launch(folder):
        flags = (f"--dataset=folder:{dotted}", "--points=csv", "--stages=joint", "--sigma=3")
        more = ("--crop_pixels=24:48", "--nested_crops=3", "--label_share=0.5", "--ema=0.5")
        run = f"--run_dir={folder / 'run'}"
        return command("train", *TINY, *flags, *more, f"--cache_dir={folder}", run)

    ended = ended_once("counts", launch)
    assert ended.code == 0, ended.err + ended.out
    assert "val_MAE" in ended.out
    path = ended.path / "run"
    told = summary(path)
    assert (told["output"], told["ranked_by"]) == ("density", "crops")
    assert told["images"] == {"train": 11, "labelled": 6, "ranked": 11, "validation": 1}
    assert set(told["loss"]) >= {"density", "ranked"}
    counted, out = figures(command, path, f"--picture={path / 'densities.png'}")
    with Image.open(path / "densities.png") as drawn:
        assert drawn.width > 1000
    assert counted["protocol"] == "counting"
    assert counted["images"] == 4
    assert counted["figures"]["mae"] == pytest.approx(counted["figures"]["game_0"])
    assert counted["figures"]["game_0"] <= counted["figures"]["game_3"]
    assert len(counted["per_image"]) == 4
    assert "GAME(3)" in out


@pytest.mark.slow
def test_a_ranked_model_of_comparisons_is_tuned_in_another_run(train_scores, blurred):
    ranked = train_scores(
        "compared",
        "--stages=rank",
        "--ranked_by=comparisons",
        f"--comparisons={blurred}/pairs.csv",
        "--rank_epochs=1",
        "--rank_steps_per_epoch=3",
    )
    assert ranked.code == 0, ranked.err + ranked.out
    assert "ranked pairs, sets of 2 by comparisons" in ranked.out
    (metrics,) = (ranked.path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(metrics)["step"] == 3
    parts = group_split(np.array([f"r{index}" for index in range(8)]), {"test": 0.2})
    train, held_out = (np.flatnonzero(parts == split)[0] for split in ("train", "test"))
    listed = blurred / "chosen.txt"
    listed.write_text(f"{train}_1.png\n\n{held_out}_1.png\n")
    flags = ("--stages=fine_tune", f"--initial_model={ranked.path}", f"--labelled={listed}")
    tuned = train_scores("tuned_by_others", *flags)
    assert tuned.code == 2
    assert f"line 3, '{held_out}_1.png', is no training image with a label" in tuned.err


@pytest.mark.slow
def test_an_embedder_gets_a_score(command, blurred, tmp_path):
    embedder = build_embedder(
        "mobilenet",
        alpha=0.25,
        image_size=32,
        embedding_dim=4,
        backbone_weights="none",
        backbone_layer="conv_pw_1_relu",
    )
    embedder.save(tmp_path / "embedder.keras")
    data = (f"--dataset=folder:{blurred}", f"--scores={blurred}/scores.csv", "--image_size=32")
    flags = [flag for flag in TINY if "=" not in flag or flag.partition("=")[0] not in BACKBONE]
    more = ("--stages=fine_tune", f"--embedder={tmp_path}/embedder.keras", "--label_share=0.4")
    run = f"--run_dir={tmp_path / 'run'}"
    ended = command("train", *data[:2], *flags, *more, f"--cache_dir={tmp_path}", run)
    assert ended.code == 0, ended.err + ended.out
    model = keras.models.load_model(tmp_path / "run" / "model.keras", compile=False)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(model(pixels)["embedding"], embedder(pixels))
    assert summary(tmp_path / "run")["images"]["labelled"] == 6
    refused = command("train", *data, *flags, *more, run)
    assert refused.code == 2
    assert "--image_size=32 has no effect with --embedder" in refused.err


@pytest.mark.slow
def test_a_run_killed_in_its_second_stage_ends_as_if_it_had_not(command, blurred, tmp_path):
    import subprocess
    import sys

    flags = [
        f"--dataset=folder:{blurred}",
        f"--scores={blurred}/scores.csv",
        *TINY,
        "--distortions=blur:1/3",
        "--deterministic",
        f"--cache_dir={tmp_path}",
    ]
    whole = command("train", *flags, f"--run_dir={tmp_path / 'whole'}")
    assert whole.code == 0, whole.err + whole.out
    (tmp_path / "killer.py").write_text(
        "import os, sys, runpy, keras\n"
        "class Killed(keras.callbacks.Callback):\n"
        "    def on_epoch_end(self, epoch, logs=None):\n"
        "        if 'score' in logs: os._exit(9)\n"
        "from keras_distill.training import loop\n"
        "loop.SkippedSteps = Killed\n"
        "sys.argv = sys.argv[1:]\n"
        "sys.argv.insert(0, 'train')\n"
        "runpy.run_module('keras_distill.train', run_name='__main__', alter_sys=True)\n"
    )
    cut = [*flags, "--checkpoint_steps=3", f"--run_dir={tmp_path / 'cut'}"]
    killed = subprocess.run([sys.executable, tmp_path / "killer.py", *cut], capture_output=True)
    assert killed.returncode == 9, killed.stderr
    resumed = command("train", *cut)
    assert resumed.code == 0, resumed.err + resumed.out
    assert "stage rank is finished" in resumed.out
    assert "resuming after step 3" in resumed.out
    left, right = (
        keras.models.load_model(tmp_path / name / "model.keras", compile=False).get_weights()
        for name in ("whole", "cut")
    )
    assert all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--dataset="], "--dataset is required"),
        (["--dataset=folder:none"], "there is no folder 'none'"),
        (["--scores="], "needs labels: give --scores or --points, or --stages=rank"),
        (["--scores=none.csv"], "there is no such file"),
        (["--points=csv"], "--scores and --points are for different outputs"),
        (["--scores=", "--points=xml"], "give csv, mat, or a file of COCO JSON"),
        (["--head=density"], "does not fit the data, which have a score"),
        (["--distortions=haze:1"], "'haze' is unknown"),
        (["--distortions=jpeg:9/8,blur:1"], "give each as many"),
        (["--ranked_by=comparisons"], "belong together"),
        (["--stages=fine_tune", "--unlabelled=folder:."], "has no effect on --stages=fine_tune"),
        (["--stages=rank", "--label_share=0.5"], "have no effect on --stages=rank"),
        (["--unlabelled=glyphs"], "give folder:PATH"),
        (["--label_share=0"], "must be above 0"),
        (["--crop_pixels=9:5"], "must be LEAST:MOST"),
        (["--freeze_epochs=1"], "is not offered by this recipe"),
        (["--initial_model=none"], "does not exist"),
        (["--original_sizes=none.csv"], "there is no such file"),
        (["--label_loss=bce"], "belongs to the recipe multilabel"),
    ],
)
def test_unusable_flags_are_refused_early(early, blurred, tmp_path, flags, said):
    data = (f"--dataset=folder:{blurred}", f"--scores={blurred}/scores.csv")
    ended = early("train", "--recipe=ranked_regression", *data, *flags, cwd=tmp_path)
    assert ended.code == 2, ended.out + ended.err
    assert said in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--protocol=counting"], "--protocol=counting needs --points"),
        (["--protocol=retrieval"], "reads no scores and points"),
        (["--picture=a.png"], "--picture is not offered by --protocol=regression"),
        (["--mirror"], "--mirror is not offered by --protocol=regression"),
    ],
)
def test_unusable_flags_of_evaluate(early, scorer, flags, said):
    ended = early("evaluate", f"--model={scorer.path}", *flags)
    assert ended.code == 2, ended.out + ended.err
    assert said in ended.err
