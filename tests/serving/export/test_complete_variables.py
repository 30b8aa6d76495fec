"""TF-Serving with a version that is still being copied."""

import ctypes
import shutil
from pathlib import Path

import pytest
import tensorflow as tf

from keras_distill.serving.export import bundle
from keras_distill.serving.export.bundle import export_embedder
from keras_distill.serving.export.warmup import WARMUP_FILE

DATA, INDEX = "variables/variables.data-00000-of-00001", "variables/variables.index"


@pytest.fixture(scope="module")
def folder(small_embedder, tmp_path_factory):
    return export_embedder(small_embedder(4), tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def load():
    """Loads a SavedModel by the C++ loader, which TF-Serving has too; returns the error.

    Those of Python ask for `variables/` themselves.
    """
    (file,) = Path(tf.__file__).parent.glob("libtensorflow_cc.*")
    library = ctypes.CDLL(str(file))
    for name in ("TF_NewStatus", "TF_NewGraph", "TF_NewSessionOptions"):
        getattr(library, name).restype = ctypes.c_void_p
    library.TF_LoadSessionFromSavedModel.restype = ctypes.c_void_p
    library.TF_Message.restype = ctypes.c_char_p

    def load(folder):
        status = ctypes.c_void_p(library.TF_NewStatus())
        graph = ctypes.c_void_p(library.TF_NewGraph())
        options = ctypes.c_void_p(library.TF_NewSessionOptions())
        tags = (ctypes.c_char_p * 1)(b"serve")
        session = library.TF_LoadSessionFromSavedModel(
            options, None, str(folder).encode(), tags, 1, graph, None, status
        )
        said = library.TF_Message(status).decode()
        if session is not None:
            library.TF_DeleteSession(ctypes.c_void_p(session), status)
        return said

    return load


def test_a_whole_version_loads(folder, load):
    assert load(folder) == ""


@pytest.mark.parametrize("copied", [[], [DATA], [INDEX], [str(WARMUP_FILE), "fingerprint.pb"]])
def test_a_version_without_its_variables_does_not_load(folder, load, tmp_path, copied):
    for file in ("saved_model.pb", *copied):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copy(folder / file, tmp_path / file)
    said = load(tmp_path)
    if copied == [INDEX]:
        assert "variables.data-00000-of-00001; No such file" in said
    else:
        assert "The version is incomplete: variables/ is missing." in said
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    assert load(tmp_path) == ""


def test_warm_up_is_written_before_what_a_server_looks_for(small_embedder, monkeypatch, tmp_path):
    write = bundle.write_saved_model

    def checked(model, folder, *arguments, **options):
        assert (folder / WARMUP_FILE).stat().st_size > 0
        assert not (folder / "saved_model.pb").exists()
        write(model, folder, *arguments, **options)
        assert (folder / "saved_model.pb").exists()

    monkeypatch.setattr(bundle, "write_saved_model", checked)
    assert (export_embedder(small_embedder(4), tmp_path) / WARMUP_FILE).is_file()
