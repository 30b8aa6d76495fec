import io
import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from rich.console import Console

from keras_distill.runs.directory import RunDirectory
from keras_distill.training.epoch_report import EpochReport, _minutes


class Validation(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        logs["val_recall@1"] = 0.5 + epoch / 10


def fit(tmp_path, monitor=None, **console):
    run = RunDirectory(tmp_path)
    console = Console(file=io.StringIO(), width=200, **console)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    schedule = keras.optimizers.schedules.PolynomialDecay(0.6, 6, 0.0)
    model.compile(keras.optimizers.SGD(schedule), loss="mse", metrics=["mae"])
    report = EpochReport(run, console, epochs=2, steps_per_epoch=3, batch_size=4, monitor=monitor)
    history = model.fit(
        np.ones((12, 2)),
        np.ones(12),
        batch_size=4,
        epochs=2,
        callbacks=[Validation(), report],
        verbose=0,
    ).history
    report.stop()
    records = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return history, records, report, console.file.getvalue()


def test_one_record_an_epoch(tmp_path):
    history, records, report, _ = fit(tmp_path)
    assert [list(record) for record in records] == 2 * [
        [
            "epoch",
            "step",
            "loss",
            "mae",
            "val_recall@1",
            "learning_rate",
            "images_per_second",
            "seconds",
        ]
    ]
    assert [record["epoch"] for record in records] == [1, 2]
    assert [record["step"] for record in records] == [3, 6]
    for name in ("loss", "mae", "val_recall@1"):
        assert [record[name] for record in records] == history[name]
    assert [record["learning_rate"] for record in records] == pytest.approx([0.3, 0.0])
    assert all(record["images_per_second"] > 0 for record in records)
    assert report.training_seconds > 0
    assert records[0]["seconds"] <= records[1]["seconds"]


def test_one_line_an_epoch(tmp_path):
    history, _, _, text = fit(tmp_path)
    lines = text.splitlines()
    assert len(lines) == 2
    for number, line in enumerate(lines):
        values = "  ".join(
            f"{name} {history[name][number]:.4f}" for name in ("loss", "mae", "val_recall@1")
        )
        assert line.startswith(f"epoch {number + 1}/2  {values}  ")
        assert "images/s" in line
    assert lines[1].endswith("0:00 left")


@pytest.mark.parametrize("note", ["", "collapsing? mae 1"])
def test_values_of_a_monitor_are_recorded_but_printed_only_as_a_note(tmp_path, note):
    monitor = SimpleNamespace(names=("mae",), note=note)
    history, records, _, text = fit(tmp_path, monitor=monitor)
    assert [record["mae"] for record in records] == history["mae"]
    for line in text.splitlines():
        assert "mae" not in line.removesuffix(note)
        assert line.endswith(f"left  {note}".rstrip())


def test_minutes_and_seconds():
    assert [_minutes(seconds) for seconds in (9.9, 61, 600)] == ["0:09", "1:01", "10:00"]


def test_progress_bar_on_a_terminal(tmp_path):
    *_, text = fit(tmp_path, force_terminal=True)
    assert "\x1b[" in text
    assert "images/s  loss" in text
