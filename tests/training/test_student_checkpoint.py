import keras
import numpy as np
import pytest

from keras_distill.errors import InputError
from keras_distill.training.student_checkpoint import StudentCheckpoint, save_model


@pytest.fixture
def student():
    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])


@pytest.fixture
def checkpoint(student, tmp_path):
    return StudentCheckpoint(
        student,
        last=tmp_path / "checkpoints" / "last.keras",
        best=tmp_path / "checkpoints" / "best.keras",
        monitor="val_recall@1",
    )


def stored(path):
    return float(keras.models.load_model(path).get_weights()[0].item())


def test_last_and_best(student, checkpoint, tmp_path):
    nan = float("nan")
    for epoch, value in enumerate([0.5, 0.7, 0.7, nan, 0.6, None]):
        student.set_weights([np.array([[epoch]])])
        checkpoint.on_epoch_end(epoch, {} if value is None else {"val_recall@1": value})
        assert stored(tmp_path / "checkpoints" / "last.keras") == epoch
    assert stored(tmp_path / "checkpoints" / "best.keras") == 1
    assert (checkpoint.best_epoch, checkpoint.best_value) == (1, 0.7)


def test_without_validation_there_is_no_best(checkpoint, tmp_path):
    checkpoint.on_epoch_end(0, {"loss": 1.0})
    checkpoint.on_epoch_end(1)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.keras"]
    assert checkpoint.best_epoch is None


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (OSError(28, "No space left on device"), InputError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_interrupted_save_keeps_the_former_file(error, seen, student, tmp_path, monkeypatch):
    path = tmp_path / "student.keras"
    save_model(student, path)
    before = path.read_bytes()

    def half_a_save(self, filepath):
        filepath.write_bytes(before[:100])
        raise error

    monkeypatch.setattr(keras.Model, "save", half_a_save)
    with pytest.raises(seen):
        save_model(student, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
