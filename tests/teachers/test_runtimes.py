import pytest

from keras_distill.errors import InputError
from keras_distill.teachers import runtimes
from keras_distill.teachers.runtimes import ENOUGH_PIXELS, check_runtime, choose_runtimes

LARGE, SMALL = int(ENOUGH_PIXELS), int(ENOUGH_PIXELS) - 1


@pytest.fixture
def installed(monkeypatch):
    """Sets which packages are missing."""

    def set_missing(*names):
        monkeypatch.setattr(runtimes, "missing_packages", lambda: list(names))

    set_missing()
    return set_missing


@pytest.mark.parametrize(
    ("runtime", "is_keras", "pixels", "chosen"),
    [
        ("auto", True, LARGE, ["onnx", "keras"]),
        ("auto", True, SMALL, ["keras", "onnx"]),
        ("auto", False, LARGE, ["keras"]),
        ("onnx", True, SMALL, ["onnx"]),
        ("keras", True, LARGE, ["keras"]),
    ],
)
def test_choice(installed, runtime, is_keras, pixels, chosen):
    assert choose_runtimes(runtime, is_keras=is_keras, pixels=pixels) == chosen


def test_missing_packages(installed):
    installed("tf2onnx")
    assert choose_runtimes("auto", is_keras=True, pixels=LARGE) == ["keras"]
    with pytest.raises(InputError, match=r"^`runtime=onnx` needs tf2onnx; install by pip install"):
        check_runtime("onnx")
    check_runtime("keras")


def test_packages_are_looked_for(monkeypatch):
    found = {"onnx": None, "onnxruntime": object(), "tf2onnx": None}
    monkeypatch.setattr(runtimes.importlib.util, "find_spec", found.get)
    assert runtimes.missing_packages() == ["onnx", "tf2onnx"]


def test_unusable(installed):
    with pytest.raises(InputError, match=r"^`runtime=torch` is unknown; give one of auto, keras"):
        check_runtime("torch")
    for runtime in ("keras", "onnx"):
        with pytest.raises(InputError, match=rf"^`runtime={runtime}`: `teacher` is no Keras model"):
            choose_runtimes(runtime, is_keras=False, pixels=LARGE)
