import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
import tensorflow as tf


@pytest.fixture(scope="session")
def save_logging_teacher():
    """Saves a SavedModel that notes down how many images it is asked about."""

    def save(folder):
        class Logging(tf.Module):
            @tf.function(input_signature=[tf.TensorSpec([None, 32, 32, 3], tf.float32, "image")])
            def embed(self, image):
                rows = tf.shape(image)[0]
                tf.print(rows, output_stream=f"file://{folder / 'log'}")
                pixels = tf.reshape(tf.image.resize(image, [2, 2]), [rows, 12]) / 255
                return {"embedding": tf.linalg.l2_normalize(pixels - 0.5, 1)}

        model = Logging()
        path = folder / "teacher"
        tf.saved_model.save(model, str(path), signatures={"serve_float": model.embed})
        return path

    return save


def asked(folder):
    """How many images that teacher has been asked about."""
    log = folder / "log"
    return sum(map(int, log.read_text().split())) if log.exists() else 0


def shards(folder):
    """The last file of each shard of teachers' embeddings and of pixels."""
    return sorted(
        path for path in folder.rglob("*.npy") if path.name.startswith(("exponents-", "image-"))
    )


def last_losses(run):
    record = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    return {name: record[name] for name in ("loss", "triplet", "relative")}


@pytest.fixture(scope="session")
def cached(ended_once, command, save_logging_teacher, photos, tiny):
    """Three views of the teacher's answers, computed ahead."""

    def launch(folder):
        teacher = save_logging_teacher(folder)
        return command(
            "cache",
            f"--dataset=folder:{photos}",
            *tiny,
            f"--teacher={teacher}",
            f"--cache_dir={folder / 'cache'}",
            "--teacher_cache=views:3",
        )

    return ended_once("cached", launch)


@pytest.fixture
def flags(cached, photos, tiny, tmp_path):
    """Flags of a training with a copy of that cache."""
    shutil.copytree(cached.path / "cache", tmp_path / "cache")
    given = [f"--dataset=folder:{photos}", *tiny, f"--teacher={cached.path / 'teacher'}"]
    return [*given, "--epochs=2", f"--cache_dir={tmp_path / 'cache'}", "--teacher_cache=views:3"]


def test_cache_is_computed_ahead(cached):
    assert (cached.code, cached.err) == (0, "")
    (folder,) = (cached.path / "cache").iterdir()
    size = "(0.00312 MB)"
    assert cached.out.splitlines() == [
        f"teacher: 120 views to compute for the cache {folder} {size}",
        str(folder),
    ]
    assert len(shards(folder)) == 3


@pytest.mark.slow
def test_training_asks_no_teacher_whose_cache_is_complete(cached, here, flags, tmp_path):
    assert asked(cached.path) == 120
    runs = {name: tmp_path / name for name in ("cached", "live", "pixels")}
    ended = here("train", *flags, f"--run_dir={runs['cached']}")
    assert (ended.code, ended.err) == (0, "")
    assert f"teacher: cache {tmp_path / 'cache'}" in ended.out
    assert "(0.00208 MB) is complete" in ended.out  # of the two views that two epochs need
    assert asked(cached.path) == 120

    ended = here("train", *flags, f"--run_dir={runs['live']}", "--teacher_cache=off")
    assert ended.code == 0
    assert "cache" not in ended.out.replace(str(tmp_path), "")
    assert asked(cached.path) == 120 + 2 * 2 * 4  # epochs x steps x rows

    ended = here("train", *flags, f"--run_dir={runs['pixels']}", "--image_cache=views:3")
    assert ended.code == 0
    assert f"images: 80 views to compute for the cache {tmp_path / 'cache'}" in ended.out
    assert "(0.246 MB)" in ended.out
    assert asked(cached.path) == 120 + 16

    losses = {name: last_losses(run) for name, run in runs.items()}
    assert losses["cached"] == pytest.approx(losses["live"], rel=2e-3)
    assert losses["pixels"] == pytest.approx(losses["cached"], rel=1e-5)


@pytest.mark.slow
def test_mixed_rows_have_a_cache_of_their_own(
    here, flags, photos, save_logging_teacher, tmp_path, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "200")
    flags = [*flags, f"--teacher={save_logging_teacher(tmp_path)}", "--augment=jitter,grey:0.5"]
    flags += ["--mixed=0.5", "--mixup_alpha=0.4", "--backbone_layer=conv1_relu"]
    runs = {name: tmp_path / name for name in ("filled", "live", "all")}
    ended = here("train", *flags, f"--run_dir={runs['filled']}")
    assert (ended.code, ended.err) == (0, "")
    assert "\nteacher: 80 views to compute" in ended.out
    assert "\nmixes, teacher: 40 views to compute" in ended.out  # 2 epochs x 2 steps x 4 rows
    assert asked(tmp_path) == 80 + 40
    described = json.loads((runs["filled"] / "summary.json").read_text())
    assert (described["batch_size"], described["mixed_per_batch"]) == (8, 4)

    ended = here("cache", *flags)
    assert (ended.code, ended.err) == (0, "")
    assert asked(tmp_path) == 2 * 120
    listed = here("cache", "--list", f"--cache_dir={tmp_path / 'cache'}").out
    assert " seed 0, crops of 0.08, grey 0.5, jitter 0.8 " in listed
    assert " seed 0, crops of 0.08, grey 0.5, jitter 0.8, mixed, alpha 0.4 " in listed

    assert here("train", *flags, f"--run_dir={runs['live']}", "--teacher_cache=off").code == 0
    losses = last_losses(runs["live"])
    assert last_losses(runs["filled"]) == pytest.approx(losses, rel=2e-3)

    more = [f"--run_dir={runs['all']}", "--image_cache=views:3", "--mixed=1", "--task_loss=none"]
    assert here("train", *flags, *more).code == 0
    described = json.loads((runs["all"] / "summary.json").read_text())
    assert (described["batch_size"], described["mixed_per_batch"]) == (4, 4)


@pytest.mark.slow
def test_a_longer_run_has_the_anchors_of_a_whole_one(here, flags, tmp_path):
    flags = [*flags, "--teacher_losses=anchor_kl", "--embedding_dim=12"]
    flags += ["--schedule=constant", "--deterministic"]
    short, whole = tmp_path / "short", tmp_path / "whole"
    for run, epochs in ((short, 1), (short, 2), (whole, 2)):
        ended = here("train", *flags, f"--run_dir={run}", f"--epochs={epochs}")
        assert (ended.code, ended.err) == (0, "")
        assert "(0.00312 MB) is complete" in ended.out  # all three views
    records = [(run / "metrics.jsonl").read_text().splitlines() for run in (short, whole)]
    losses = [[json.loads(line)["anchor_kl"] for line in lines] for lines in records]
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_a_teacher_that_is_projected_embeds_each_image_once(
    here, flags, save_logging_teacher, tmp_path
):
    given = [*flags, f"--teacher={save_logging_teacher(tmp_path)}", "--teacher_cache=off"]
    given += ["--teacher_projection=pca", "--embedding_dim=4", "--teacher_losses=anchor_kl"]
    given += ["--task_loss=proxy_anchor", "--proxies=teacher", f"--run_dir={tmp_path / 'run'}"]
    ended = here("train", *given)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.count("teacher: 40 images to embed") == 1
    assert asked(tmp_path) == 40 + 2 * 2 * 4  # epochs x steps x rows


@pytest.mark.slow
def test_caches_of_all_changes_are_listed(here, flags, save_logging_teacher, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    flags = [*flags, "--augment=randaugment:2:7,cutout:0.3,grey", "--epochs=1"]
    flags += [f"--teacher={save_logging_teacher(tmp_path)}", f"--cache_dir={tmp_path / 'new'}"]
    runs = {name: tmp_path / name for name in ("filled", "live")}
    assert here("train", *flags, f"--run_dir={runs['filled']}").code == 0
    listed = here("cache", "--list", f"--cache_dir={tmp_path / 'new'}").out
    said = " seed 0, crops of 0.08, grey 0.2, randaugment 2 of magnitude 7, cutout 0.3 "
    assert said in listed
    assert here("train", *flags, f"--run_dir={runs['live']}", "--teacher_cache=off").code == 0
    losses = last_losses(runs["live"])
    assert last_losses(runs["filled"]) == pytest.approx(losses, rel=2e-3)


@pytest.mark.slow
def test_clean_cache_says_what_it_is(here, flags, photos, save_logging_teacher, tmp_path):
    flags = [*flags, f"--teacher={save_logging_teacher(tmp_path)}", "--teacher_cache=clean"]
    ended = here("cache", *flags)
    assert ended.code == 0
    said = "teacher: --teacher_cache=clean is an approximation: the teacher sees the centre of"
    assert said in ended.out
    assert "teacher: 40 views to compute for the cache" in ended.out
    assert asked(tmp_path) == 40
    ended = here("train", *flags, f"--run_dir={tmp_path / 'run'}")
    assert (ended.code, ended.err) == (0, "")
    assert said in ended.out
    assert "is complete" in ended.out
    assert asked(tmp_path) == 40


@pytest.mark.slow
def test_another_seed_or_crop_is_another_cache(here, flags, save_logging_teacher, tmp_path):
    flags = [*flags, f"--teacher={save_logging_teacher(tmp_path)}", "--teacher_cache=views:1"]
    for changed in ([], ["--seed=1"], ["--crop_area=0.5"], ["--train_classes=:3"], []):
        ended = here("cache", *flags, *changed)
        assert ended.code == 0
    assert "is complete" in ended.out
    assert asked(tmp_path) == 40 + 40 + 40 + 30


@pytest.mark.slow
def test_too_large_a_cache_is_refused_before_anything_is_computed(
    here, photos, tiny, save_logging_teacher, tmp_path
):
    given = [f"--dataset=folder:{photos}", *tiny, f"--cache_dir={tmp_path / 'cache'}"]
    given += [f"--teacher={save_logging_teacher(tmp_path)}", "--teacher_cache=views:4"]
    ended = here("cache", *given, "--cache_max_gb=4.1e-6")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(
        "cache: the teacher cache needs 4.16e-06 GB (40 images x 4 views x 26 bytes), more than "
        "--cache_max_gb=4.1e-06; raise --cache_max_gb, "
    )
    ended = here("cache", *given, "--image_cache=views:4", "--cache_max_gb=4e-4")
    assert ended.code == 2
    assert "the image cache needs 0.000492 GB (40 images x 4 views x 3072 bytes)" in ended.err
    assert asked(tmp_path) == 0
    assert shards(tmp_path) == []
    assert here("cache", *given, "--image_cache=views:4", "--cache_max_gb=5e-4").code == 0
    assert asked(tmp_path) == 160
    assert len(shards(tmp_path / "cache")) == 8


@pytest.mark.slow
def test_killed_it_goes_on_where_it_was(
    here, nursery, photos, tiny, save_logging_teacher, tmp_path
):
    cache = tmp_path / "cache"
    given = [f"--dataset=folder:{photos}", *tiny, f"--cache_dir={cache}"]
    given.append(f"--teacher={save_logging_teacher(tmp_path)}")
    process = nursery.popen(
        [sys.executable, "-m", "keras_distill.cache", *given, "--teacher_cache=views:10000"],
        stdout=subprocess.DEVNULL,
    )
    while process.poll() is None and len(shards(cache)) < 3:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    whole, before = len(shards(cache)), asked(tmp_path)
    assert 3 <= whole <= before / 40 <= whole + 1
    ended = here("cache", *given, f"--teacher_cache=views:{whole + 2}")
    assert (ended.code, ended.err) == (0, "")
    assert "teacher: 80 views to compute for the cache" in ended.out
    assert asked(tmp_path) == before + 80
    assert len(shards(cache)) == whole + 2
    assert len(list(cache.iterdir())) == 1


def test_disk_that_fills_up_is_an_error(here, photos, tiny, small_disk, tmp_path):
    given = [f"--dataset=folder:{photos}", *tiny, f"--cache_dir={tmp_path}"]
    with small_disk():
        ended = here("cache", *given, "--image_cache=views:1", "--teacher_cache=off")
    assert ended.code == 2
    assert "image-00000000.npy' could not be written" in ended.err
    assert "Free some space or choose another place." in ended.err
    assert shards(tmp_path) == []


def test_list(cached, here, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    (folder,) = (cached.path / "cache").iterdir()
    ended = here("cache", "--list", f"--cache_dir={cached.path / 'cache'}")
    assert ended.code == 0
    (line,) = (line for line in ended.out.splitlines() if folder.name in line)
    for told in (" 40 ", " 32 ", "seed 0, crops of 0.08", "embedding [12]", " 0.0 "):
        assert told in line


# Unusable flags, before TensorFlow


def test_usable_flags_load_tensorflow(early, photos, tiny, tmp_path):
    given = [f"--dataset=folder:{photos}", *tiny, "--image_cache=views:1"]
    assert early("cache", *given, cwd=tmp_path, fresh=True).code == 99


def test_list_needs_no_tensorflow(early, tmp_path):
    ended = early("cache", "--list", "--cache_dir=nowhere", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert "nowhere" in ended.out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("", "there is nothing to cache: give --teacher with --teacher_cache=views:K or clean, o"),
        ("--teacher=. --teacher_cache=off", "there is nothing to cache: give --teacher"),
        ("--teacher=nowhere", "--teacher=nowhere does not exist"),
        ("--teacher=. --teacher_cache=views", "--teacher_cache=views is none of views:K"),
        ("--teacher=. --teacher_projection=lda", "--teacher_projection=lda is unknown"),
        ("--teacher=. --crop_area=2", "--crop_area=2.0 must be above 0 and at most 1"),
        ("--dataset=birds", "--dataset=birds is unknown"),
    ],
)
def test_unusable_flag_is_refused_before_tensorflow_is_loaded(early, tmp_path, flags, said):
    (tmp_path / "photos").mkdir()
    ended = early("cache", "--dataset=folder:photos", *flags.split(), cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert ended.err.startswith("cache: ")
    assert ended.err.endswith("See `python -m keras_distill.cache --help`.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
