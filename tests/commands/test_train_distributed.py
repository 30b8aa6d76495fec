import json
import os
import signal
import socket
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

FLAGS = (
    "--dataset=glyphs",
    "--train_classes=:12",
    "--validation_classes=8:12",
    "--backbone=mobilenet",
    "--backbone_layer=conv_pw_1_relu",
    "--backbone_weights=none",
    "--alpha=0.25",
    "--image_size=32",
    "--embedding_dim=8",
    "--classes_per_batch=3",
    "--images_per_class=4",
    "--steps_per_epoch=10",
)
MIRRORED = """
import sys
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from keras_distill.train import COMMAND, main

COMMAND.run(main, sys.argv[1:])
"""


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def pair():
    """Starts two workers of a training on this machine; kills what is left of them."""
    started = []

    def start(*flags, second=(), folders=(None, None)):
        sockets = [socket.socket() for _ in range(2)]
        for each in sockets:
            each.bind(("localhost", 0))
        workers = [f"localhost:{each.getsockname()[1]}" for each in sockets]
        for each in sockets:
            each.close()
        for index in range(2):
            task = {"type": "worker", "index": index}
            config = json.dumps({"cluster": {"worker": workers}, "task": task})
            command = [sys.executable, "-m", "keras_distill.train", "--distribution=multiworker"]
            more = second if index else ()
            started.append(
                subprocess.Popen(
                    [*command, *FLAGS, *flags, *more],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    cwd=folders[index],
                    env=os.environ | {"TF_CONFIG": config},
                )
            )
        return started[-2:]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_needs_tf_config(early):
    ended = early("train", "--distribution=multiworker", *FLAGS)
    assert ended.code == 2
    assert "TF_CONFIG is not set" in ended.err


def test_mirrored_on_one_device_says_so(here, photos, tiny, tmp_path):
    given = (f"--dataset=folder:{photos}", *tiny, "--epochs=0", "--overwrite")
    flags = (*given, f"--run_dir={tmp_path}")
    ended = here("train", *flags, "--distribution=mirrored")
    assert ended.code == 0
    assert ended.out.splitlines()[0].endswith(" dimensions; 1 replica on CPU:0")
    (warning,) = [line for line in ended.err.splitlines() if "--distribution" in line]
    assert warning == (
        "train: --distribution=mirrored has 1 replica on CPU:0 only; leave it out, or let "
        "python -m keras_distill.doctor find out why there is no other device."
    )
    ended = here("train", *flags)
    assert ended.out.splitlines()[0].endswith(" dimensions; 1 replica on CPU:0")
    assert "--distribution" not in ended.err


@pytest.mark.slow
def test_two_devices(tmp_path):
    def train(*flags):
        command = [sys.executable, "-c", MIRRORED, "--distribution=mirrored", *FLAGS, *flags]
        return subprocess.run(command, capture_output=True, text=True)

    folder = tmp_path / "run"
    flags = ("--epochs=2", "--sync_batch_norm", "--schedule=constant", f"--run_dir={folder}")
    course = ("--ema=0.9", "--backbone_lr_multiplier=0.5", "--clip_norm=0.5", "--gradient_norm")
    ended = train(*flags, *course, "--mixed_precision=mixed_float16")
    assert ended.returncode == 0, ended.stderr
    assert " dimensions; 2 replicas on CPU:0, CPU:1\n" in ended.stdout
    assert "no other device" not in ended.stderr
    assert json.loads((folder / "summary.json").read_text())["replicas"] == 2
    assert [record["skipped_steps"] for record in metrics(folder)] == [0, 0]
    refused = train(*flags, "--overwrite", "--images_per_class=3")
    assert refused.returncode == 2
    assert "a batch of 9 images cannot be dealt to 2 replicas" in refused.stderr


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_two_processes_one_of_which_is_killed(killed, pair, command, tmp_path):
    teacher, whole, halved = tmp_path / "teacher", tmp_path / "whole", tmp_path / "halved"
    assert command("train", *FLAGS, "--epochs=0", f"--run_dir={teacher}").code == 0
    flags = (
        "--epochs=4",
        f"--teacher={teacher}",
        "--teacher_cache=views:2",
        "--image_cache=views:2",
        f"--cache_dir={tmp_path / 'cache'}",
        "--memory=32",
        "--ema=0.9",
        "--backbone_lr_multiplier=0.5",
    )
    workers = pair(*flags, f"--run_dir={whole}")
    ended = [worker.communicate() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], ended
    assert "epoch 4/4" in ended[0][0]
    assert " dimensions; 2 replicas on CPU:0 here\n" in ended[0][0]
    assert "epoch" not in ended[1][0]  # worker 0 alone reports

    workers = pair(*flags, f"--run_dir={halved}")
    while not list(halved.glob("checkpoints/step-*")):
        assert workers[0].poll() is None, workers[0].communicate()
        time.sleep(0.05)
    workers[killed].send_signal(signal.SIGKILL)
    left = workers[1 - killed]
    _, err = left.communicate(timeout=120)
    assert left.returncode == 4
    assert f"worker {killed} (localhost:" in err
    assert "was lost. Start the same commands again" in err
    assert "Traceback" not in err
    assert not (halved / "summary.json").exists()

    workers = pair(*flags, f"--run_dir={halved}")
    ended = [worker.communicate() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], ended
    assert "resuming after step" in ended[0][0]
    for record, expected in zip(metrics(halved), metrics(whole), strict=True):
        for name in ("step", "loss", "val_recall@1", "effective_rank"):
            assert record[name] == expected[name]
    left, right = (
        keras.models.load_model(folder / "student.keras", compile=False).get_weights()
        for folder in (halved, whole)
    )
    assert all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.slow
def test_processes_that_disagree_or_are_stopped(pair, command, tmp_path):
    folder = tmp_path / "run"
    workers = pair("--epochs=1", f"--run_dir={folder}", second=("--seed=1",))
    for worker in workers:
        _, err = worker.communicate()
        assert worker.returncode == 2
        assert "--seed is " in err
    assert not folder.joinpath("summary.json").exists()

    hosts = [tmp_path / "a", tmp_path / "b"]
    for seed, host in enumerate(hosts):
        other = ("--epochs=0", f"--seed={seed}", f"--run_dir={host / 'teacher'}")
        assert command("train", *FLAGS, *other).code == 0
    flags = ("--epochs=1", "--teacher=teacher", f"--run_dir={folder}")
    for worker in pair(*flags, folders=hosts):
        _, err = worker.communicate()
        assert worker.returncode == 2
        assert "--teacher=teacher is " in err
        assert "and something else on worker" in err
    assert not folder.exists()

    workers = pair("--epochs=500", f"--run_dir={folder}")
    while not list(folder.glob("checkpoints/step-*")):
        assert workers[0].poll() is None, workers[0].communicate()
        time.sleep(0.05)
    workers[1].terminate()  # the other one stops with it, after the same step
    ended = [worker.communicate(timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [143, 143], ended
    assert "stopped by SIGTERM after step" in ended[0][0]
