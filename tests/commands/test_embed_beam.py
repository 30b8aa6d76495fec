"""Bulk embedding on Beam; tests marked `beam` run by `make beam`, with Apache Beam."""

import importlib.util
import json
import os
import re
import shutil

import numpy as np
import pytest

from keras_distill.data.vector_shards import open_shards


@pytest.fixture(scope="session")
def bundle(once, small_embedder):
    """A small SavedModel with our signatures."""

    def fill(folder):
        from keras_distill import export_embedder

        export_embedder(small_embedder(dim=8, image_size=40), folder, name="m")

    return once("beam_bundle", fill) / "m" / "1"


@pytest.fixture(scope="session")
def poisoned(once, damaged_photos):
    """The photos, two of them damaged, and one whose name is no UTF-8."""

    def fill(folder):
        shutil.copytree(damaged_photos, folder, dirs_exist_ok=True)
        with open(os.fsencode(folder / "class_5") + b"/\xff.jpg", "wb") as file:
            file.write((folder / "class_5" / "1.jpg").read_bytes())

    return once("poisoned_photos", fill)


def last_line(ended, code=0):
    assert ended.code == code, ended.err
    return json.loads(ended.out.splitlines()[-1])


@pytest.mark.beam
@pytest.mark.parametrize("file_format", ["npy", "parquet"])
def test_it_writes_the_same_as_the_local_command(command, bundle, poisoned, tmp_path, file_format):
    given = [f"--model={bundle}", f"--images={poisoned}", f"--format={file_format}"]
    given += ["--shard_size=16", "--batch_size=8"]
    beam = last_line(command("embed_beam", *given, "--out=beam", cwd=tmp_path), code=4)
    local = last_line(command("embed", *given, "--out=local", cwd=tmp_path), code=4)
    assert (beam["pictures"], beam["embedded"], beam["errors"]) == (61, 58, 3)
    assert {**local, "out": "beam", "seconds": 0} == {
        **beam,
        "seconds": 0,
        "images_per_second": local["images_per_second"],
    }
    folders = [tmp_path / "beam", tmp_path / "local"]
    listed = [sorted(p.relative_to(f).as_posix() for p in f.rglob("*")) for f in folders]
    assert listed[0] == listed[1]
    assert json.loads((folders[0] / "manifest.json").read_text()) == json.loads(
        (folders[1] / "manifest.json").read_text()
    )
    errors = (folders[0] / "errors.jsonl").read_text()
    assert errors == (folders[1] / "errors.jsonl").read_text()
    assert [json.loads(line)["path"] for line in errors.splitlines()] == [
        "class_0/1.jpg",
        "class_2/0.png",
        "class_5/\udcff.jpg",
    ]
    ours, theirs = (open_shards(folder).read() for folder in folders)
    assert ours.paths == theirs.paths
    np.testing.assert_array_equal(ours.labels, theirs.labels)
    np.testing.assert_allclose(ours.vectors, theirs.vectors, atol=1e-6)
    assert np.ptp(ours.vectors, axis=0).max() > 0.01


@pytest.mark.beam
def test_either_command_resumes_the_work_of_the_other(command, bundle, poisoned, tmp_path):
    given = [f"--model={bundle}", f"--images={poisoned}", "--out=v", "--shard_size=16"]
    begun = last_line(command("embed", *given, "--shards=2/2", cwd=tmp_path), code=4)
    assert begun["shards_missing"] == 2
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "v" / "vectors").iterdir()}
    assert last_line(command("embed_beam", *given, cwd=tmp_path), code=4)["embedded"] == 58
    after = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "v" / "vectors").iterdir()}
    assert before.items() < after.items()
    assert not (tmp_path / "v" / "pictures").exists()


@pytest.mark.beam
def test_mirror_is_that_of_the_local_command(command, bundle, photos, tmp_path):
    given = [f"--model={bundle}", f"--images={photos}", "--mirror"]
    for name in ("embed_beam", "embed"):
        assert command(name, *given, f"--out={name}", cwd=tmp_path).code == 0
    ours, theirs = (open_shards(tmp_path / name) for name in ("embed_beam", "embed"))
    assert ours.manifest == theirs.manifest
    np.testing.assert_allclose(ours.read().vectors, theirs.read().vectors, atol=1e-5)


@pytest.mark.beam
def test_flags_of_beam_are_passed_on(command, bundle, photos, tmp_path):
    given = [f"--model={bundle}", f"--images={photos}", "--out=v"]
    ended = command("embed_beam", *given, "--", "--runner=NoSuchRunner", cwd=tmp_path)
    assert ended.code != 0
    assert "NoSuchRunner" in ended.err


@pytest.mark.beam
def test_a_model_of_nan_is_an_error(command, small_embedder, photos, tmp_path):
    import tensorflow as tf

    from keras_distill import export_embedder

    folder = export_embedder(small_embedder(dim=8, image_size=40), tmp_path / "models")
    loaded = tf.saved_model.load(str(folder))
    for variable in loaded.signatures["serving_default"].variables:
        variable.assign(variable * np.nan)
    tf.saved_model.save(loaded, str(tmp_path / "nan"), signatures=dict(loaded.signatures))
    given = [f"--model={tmp_path}/nan", f"--images={photos}", f"--out={tmp_path}/v"]
    ended = command("embed_beam", *given)
    assert ended.code != 0
    assert "returned embeddings that are not finite" in ended.err


@pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is not None, reason="Apache Beam is installed"
)
def test_without_beam_it_says_how_to_get_it(early, photos):
    ended = early("embed_beam", "--model=.", f"--images={photos}", "--out=v", "--", "--runner=X")
    assert ended.code == 2
    assert "embed_beam needs Apache Beam: pip install 'keras_distill[beam]'" in ended.err


def test_flags_of_beam_before_the_dashes_are_refused(early, photos):
    given = ["--model=.", f"--images={photos}", "--out=v"]
    ended = early("embed_beam", *given, "--flink_master=x")
    assert ended.code == 2
    assert re.search(r"Unknown command line flag 'flink_master'", ended.err)
    ended = early("embed_beam", *given, "--images=birds", "--", "--runner=X")
    assert ended.code == 2
    assert "--images=birds is unknown" in ended.err


@pytest.mark.beam
def test_a_model_that_is_no_export_is_refused(command, small_embedder, photos, tmp_path):
    small_embedder(dim=8, image_size=40).save(tmp_path / "student.keras")
    given = [f"--model={tmp_path}", f"--images={photos}", f"--out={tmp_path}/v"]
    ended = command("embed_beam", *given)
    assert ended.code == 2
    assert "is no SavedModel that takes the bytes of pictures; make one with" in ended.err
