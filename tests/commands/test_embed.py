import importlib.util
import json
import re
import signal
import sys

import keras
import numpy as np
import pyarrow.parquet
import pytest

from keras_distill import embed_batches, evaluation_batches, load_teacher, open_index
from keras_distill.data import vector_shards
from keras_distill.data.image_set import read_folder
from keras_distill.data.vector_shards import open_shards

# Dies by SIGKILL at the n-th file that it brings to the disk.
DYING = """
import os, signal, sys
fsync, calls = os.fsync, []

def fsync_or_die(descriptor):
    calls.append(descriptor)
    if len(calls) == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(descriptor)

os.fsync = fsync_or_die
from keras_distill.embed import COMMAND, main
COMMAND.run(main, sys.argv[2:])
"""


@pytest.fixture(scope="session")
def embedded(ended_once, command, teacher, photos):
    """All photos by the teacher, in four shards."""

    def launch(folder):
        given = [f"--model={teacher.path}", f"--images={photos}", "--shard_size=16"]
        return command("embed", *given, f"--out={folder / 'vectors'}", "--batch_size=7")

    return ended_once("embedded", launch)


def last_line(ended):
    return json.loads(ended.out.splitlines()[-1])


def errors(folder):
    return [json.loads(line) for line in (folder / "errors.jsonl").read_text().splitlines()]


def test_it_writes_vectors_paths_and_labels(embedded, photos, vectors, teacher):
    assert embedded.code == 0
    folder, images = embedded.path / "vectors", read_folder(photos)
    summary = last_line(embedded)
    assert summary.pop("seconds") > 0
    assert summary.pop("images_per_second") > 0
    assert summary == {
        "out": str(folder),
        "pictures": 60,
        "embedded": 60,
        "errors": 0,
        "dim": 8,
        "shards": 4,
        "shards_missing": 0,
        "format": "npy",
    }
    lines = embedded.err.splitlines()
    said = r"shard (\d) of 4: [\d.]+ images/s, 0:\d\d:\d\d left$"
    assert [re.match(said, line)[1] for line in lines] == ["1", "2", "3", "4"]
    assert lines[-1].endswith("0:00:00 left")
    rows = open_shards(folder).read()
    assert rows.paths == images.paths.tolist()
    assert rows.class_names == images.class_names
    np.testing.assert_array_equal(rows.labels, images.labels)
    np.testing.assert_allclose(rows.vectors, vectors, atol=1e-5)
    shard = np.load(folder / "vectors" / "000003.npy")
    assert (shard.dtype, shard.shape) == (np.float32, (12, 8))
    assert (folder / "errors.jsonl").read_bytes() == b""
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["model"], manifest["root"]) == (str(teacher.path), str(photos))
    assert (manifest["image_size"], manifest["embedded"]) == (40, 60)


def test_a_killed_run_resumes_with_the_missing_shards(
    here, nursery, embedded, teacher, photos, tmp_path, monkeypatch
):
    given = [f"--model={teacher.path}", f"--images={photos}", f"--out={tmp_path}/v"]
    given += ["--shard_size=16"]
    # One file is the manifest, three are a shard: it dies within the third shard.
    dying = nursery.run([sys.executable, "-c", DYING, "9", *given])
    assert dying.returncode == -signal.SIGKILL
    found = open_shards(tmp_path / "v")
    assert found.missing() == [2, 3]
    assert not found.is_complete
    written = []
    real = vector_shards.VectorShards.write
    monkeypatch.setattr(
        vector_shards.VectorShards,
        "write",
        lambda self, shard, rows: (written.append(shard), real(self, shard, rows)),
    )
    ended = here("embed", *given)
    assert (ended.code, last_line(ended)["embedded"]) == (0, 60)
    assert written == [2, 3]
    assert here("embed", *given).code == 0
    assert written == [2, 3]
    np.testing.assert_allclose(
        open_shards(tmp_path / "v").read().vectors,
        open_shards(embedded.path / "vectors").read().vectors,
        atol=1e-6,
    )
    assert [path.name for path in (tmp_path / "v").rglob(".tmp-*")] == []


def test_damaged_pictures_cost_a_row_each_in_a_file(
    here, teacher, damaged_photos, vectors, tmp_path, photos
):
    given = [f"--model={teacher.path}", f"--images={damaged_photos}", "--shard_size=7"]
    ended = here("embed", *given, f"--out={tmp_path}/v")
    assert ended.code == 4
    assert (last_line(ended)["embedded"], last_line(ended)["errors"]) == (58, 2)
    assert "1 pictures in errors.jsonl" in ended.err
    first, second = errors(tmp_path / "v")
    assert first["path"] == "class_0/1.jpg"
    assert re.match(r"it is neither a JPEG nor a PNG image", first["reason"])
    assert second["path"] == "class_2/0.png"
    assert "PNG" in second["reason"]
    images = read_folder(photos)
    kept = ~np.isin(images.paths, ["class_0/1.jpg", "class_2/0.png"])
    rows = open_shards(tmp_path / "v").read()
    assert rows.paths == images.paths[kept].tolist()
    np.testing.assert_allclose(rows.vectors, vectors[kept], atol=1e-5)


@pytest.mark.slow
def test_bad_pictures_show_in_the_exit_code_of_each_part(here, teacher, damaged_photos, tmp_path):
    """They are in the first of two shards."""
    given = [f"--model={teacher.path}", f"--images={damaged_photos}", f"--out={tmp_path}/v"]
    given += ["--shard_size=30"]
    assert here("embed", *given, "--shards=1/2").code == 4
    assert here("embed", *given, "--shards=1/2").code == 4
    assert here("embed", *given, "--shards=2/2").code == 0
    assert here("embed", *given).code == 4


@pytest.mark.slow
def test_vectors_of_other_settings_are_refused_unless_overwritten(
    here, embedded, teacher, photos, damaged_photos, small_embedder, tmp_path
):
    folder = tmp_path / "v"
    given = [f"--model={teacher.path}", f"--images={photos}", f"--out={folder}"]
    assert here("embed", *given).code == 0
    small_embedder(dim=8, image_size=40).save(tmp_path / "other.keras")
    for flag, said in (
        (f"--model={tmp_path}/other.keras", "the model differ."),
        (f"--images={damaged_photos}", "the pictures differ."),
        (f"--images={photos}/*/*.png", "the pictures, the number of pictures (60 there, 6 now)"),
        ("--mirror", "the model, --mirror (False there, True now) differ."),
        ("--shard_size=9", "--shard_size (4096 there, 9 now) differ."),
        ("--format=parquet", "--format (npy there, parquet now) differ."),
    ):
        ended = here("embed", *given, flag)
        assert ended.code == 2
        assert f"--out={folder} holds vectors of another provenance: {said}" in ended.err
    assert here("embed", *given, "--shard_size=30", "--overwrite").code == 0
    assert sorted(p.name for p in (folder / "vectors").glob("0*.npy")) == [
        "000000.labels.npy",
        "000000.npy",
        "000001.labels.npy",
        "000001.npy",
    ]


@pytest.mark.slow
def test_parquet_holds_the_same(here, embedded, teacher, photos, tmp_path):
    given = [f"--model={teacher.path}", f"--images={photos}", "--shard_size=25"]
    assert here("embed", *given, f"--out={tmp_path}/v", "--format=parquet").code == 0
    expected = open_shards(embedded.path / "vectors").read()
    table = pyarrow.parquet.read_table(tmp_path / "v" / "vectors")
    assert table.column_names == ["path", "class", "label", "vector"]
    assert table["path"].to_pylist() == expected.paths
    assert table["label"].to_pylist() == expected.labels.tolist()
    assert table["class"][0].as_py() == "class_0"
    np.testing.assert_allclose(np.stack(table["vector"].to_numpy()), expected.vectors, atol=1e-6)
    rows = open_shards(tmp_path / "v").read()
    np.testing.assert_array_equal(rows.vectors, np.stack(table["vector"].to_numpy()))
    assert (rows.paths, rows.class_names) == (expected.paths, expected.class_names)


def test_parquet_without_pyarrow_says_how_to_get_it(here, teacher, photos, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pyarrow" else find(name)
    )
    given = [f"--model={teacher.path}", f"--images={photos}", "--out=v", "--format=parquet"]
    ended = here("embed", *given)
    assert ended.code == 2
    assert "--format='parquet' needs pyarrow: pip install 'keras_distill[parquet]'" in ended.err


@pytest.mark.slow
def test_machines_share_by_parts(here, embedded, teacher, photos, tmp_path):
    given = [f"--model={teacher.path}", f"--images={photos}", f"--out={tmp_path}/v"]
    given += ["--shard_size=16"]
    summary = last_line(here("embed", *given, "--shards=2/3"))
    assert (summary["shards_missing"], summary["embedded"]) == (3, None)
    assert open_shards(tmp_path / "v").missing() == [0, 2, 3]
    assert last_line(here("embed", *given, "--shards=1/3"))["shards_missing"] == 1
    ended = here("index", "build", f"--vectors={tmp_path}/v", f"--out={tmp_path}/i")
    assert ended.code == 2
    assert "lacks 1 of 4 shards; finish it by running the same" in ended.err
    assert last_line(here("embed", *given, "--shards=3/3"))["embedded"] == 60
    assert open_shards(tmp_path / "v").read().paths == read_folder(photos).paths.tolist()


@pytest.mark.slow
def test_a_pattern_and_a_data_set_name_pictures(here, teacher, photos, tmp_path):
    pattern = f"--images={photos}/class_[13]/*.jpg"
    assert here("embed", f"--model={teacher.path}", pattern, f"--out={tmp_path}/p").code == 0
    rows = open_shards(tmp_path / "p").read()
    assert rows.paths == [f"class_{c}/{i}.jpg" for c in (1, 3) for i in range(1, 10)]
    assert rows.labels.tolist() == [0] * 9 + [1] * 9
    assert rows.class_names == ("class_1", "class_3")
    named = f"--images=folder:{photos}"
    ended = here("embed", f"--model={teacher.path}", named, f"--out={tmp_path}/d")
    assert last_line(ended)["embedded"] == 60


@pytest.mark.slow
def test_an_index_is_built_of_the_vectors(here, early, embedded, teacher, photos, tmp_path):
    index = tmp_path / "i"
    stored = f"--vectors={embedded.path}/vectors"
    ended = early("index", "build", stored, f"--out={index}")
    assert (ended.code, ended.err) == (0, "")
    assert last_line(ended)["pictures"] == 60
    found = open_index(index)
    assert found.class_names == tuple(f"class_{label}" for label in range(6))
    assert found.manifest["model"] == str(teacher.path)
    query = [f"--index={index}", f"--model={teacher.path}", f"--image={photos}/class_3/2.jpg"]
    ended = here("index", "search", *query, "--k=1", f"--json={tmp_path}/found.json")
    assert ended.code == 0
    (nearest,) = json.loads((tmp_path / "found.json").read_text())["neighbours"]
    assert nearest["picture"] == "class_3/2.jpg"
    assert here("index", "delete", f"--index={index}", "--id=class_1/*").code == 0
    ended = early("index", "add", stored, f"--index={index}")
    assert (last_line(ended)["added"], last_line(ended)["pictures"]) == (10, 60)
    ended = early("index", "build", stored, "--model=.", f"--out={tmp_path}/j")
    assert ended.code == 2
    assert "--model has no effect on build --vectors; leave it out." in ended.err


@pytest.mark.slow
def test_the_vectors_are_a_teacher(embedded, photos, vectors, here):
    table = load_teacher(embedded.path / "vectors")
    np.testing.assert_allclose(table(None, read_folder(photos).ids), vectors, atol=1e-5)
    ended = here(
        "evaluate", f"--model={embedded.path}/vectors", f"--dataset=folder:{photos}", "--ks=1"
    )
    assert ended.code == 0


def test_a_model_of_nan_is_an_error(here, small_embedder, photos, tmp_path):
    model = small_embedder(image_size=40)
    model.set_weights([weight * np.nan for weight in model.get_weights()])
    model.save(tmp_path / "nan.keras")
    given = [f"--model={tmp_path}/nan.keras", f"--images={photos}", f"--out={tmp_path}/v"]
    ended = here("embed", *given)
    assert ended.code == 2
    assert "returned embeddings that are not finite" in ended.err


def test_a_full_disk_leaves_no_half_file(here, teacher, photos, tmp_path, small_disk):
    wide = keras.Sequential([keras.Input((40, 40, 3)), keras.layers.Flatten()])
    keras.Model(wide.inputs, wide.outputs).save(tmp_path / "wide.keras")
    given = [f"--model={tmp_path}/wide.keras", f"--images={photos}", f"--out={tmp_path}/v"]
    with small_disk():
        ended = here("embed", *given)
    assert ended.code == 2
    assert "could not be written" in ended.err
    assert open_shards(tmp_path / "v").missing() == [0]
    assert here("embed", *given).code == 0


GIVEN = ["--model=photos", "--images=photos", "--out=v"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "--model is required."),
        ([*GIVEN, "--model=nowhere"], "--model=nowhere does not exist."),
        ([*GIVEN, "--images="], "--images is required."),
        ([*GIVEN, "--images=birds"], "--images=birds is unknown; give one of"),
        ([*GIVEN, "--images=folder:x"], "--images=folder:x: there is no folder 'x'."),
        ([*GIVEN, "--out="], "--out is required."),
        ([*GIVEN, "--shards=3/2"], "--shards=3/2 is no part such as 2/4"),
        ([*GIVEN, "--shards=0/2"], "--shards=0/2 is no part such as 2/4"),
        ([*GIVEN, "--format=csv"], "--format=csv: value should be one of <npy|parquet>"),
        ([*GIVEN, "--shard_size=0"], "--shard_size=0"),
        ([*GIVEN, "x"], "'x' is not a flag"),
    ],
)
def test_bad_flags_end_before_tensorflow(early, tmp_path, argv, said):
    (tmp_path / "photos").mkdir()
    ended = early("embed", *argv, cwd=tmp_path)
    assert ended.code == 2
    assert said.lstrip("-") in ended.err


def test_usable_flags_load_tensorflow(early, photos):
    assert early("embed", "--model=.", f"--images={photos}", "--out=v", fresh=True).code == 99


@pytest.mark.parametrize(
    ("images", "said"),
    [("{}", "has no JPEG or PNG images"), ("{}/**/*.jpg", "has no JPEG or PNG images")],
)
def test_no_pictures(here, teacher, tmp_path, images, said):
    named = images.format(tmp_path)
    ended = here("embed", f"--model={teacher.path}", f"--images={named}", "--out=v")
    assert ended.code == 2
    assert f"--images={named!r} {said}" in ended.err


def test_out_must_be_its_own(here, teacher, photos, tmp_path):
    (tmp_path / "thesis.txt").touch()
    given = [f"--model={teacher.path}", f"--images={photos}"]
    ended = here("embed", *given, f"--out={tmp_path}")
    assert ended.code == 2
    assert "holds other files, such as 'thesis.txt'" in ended.err
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "manifest.json").write_text('{"format": 1, "keras_distill": "0"}')
    ended = here("embed", *given, f"--out={tmp_path}/x")
    assert ended.code == 2
    assert "its manifest.json has no 'class_names'" in ended.err


@pytest.mark.slow
def test_mirror_averages_both_views_and_the_index_says_so(here, teacher, photos, tmp_path):
    given = [f"--model={teacher.path}", f"--images={photos}"]
    assert here("embed", *given, f"--out={tmp_path / 'v'}", "--mirror").code == 0
    shards = open_shards(tmp_path / "v")
    averaged = load_teacher(teacher.path, mirror=True)
    expected, _ = embed_batches(averaged, evaluation_batches(read_folder(photos), image_size=40))
    np.testing.assert_allclose(shards.read().vectors, expected, atol=1e-5)
    assert shards.manifest["mirror"] is True
    folder = tmp_path / "photos.index"
    assert here("index", "build", f"--vectors={tmp_path / 'v'}", f"--out={folder}").code == 0
    assert open_index(folder).manifest["mirror"] is True
    assert here("index", "add", *given, "--mirror", f"--index={folder}").code == 0
    query = f"--image={photos / 'class_2' / '4.jpg'}"
    refused = here("index", "search", given[0], query, f"--index={folder}")
    assert refused.code == 2
    assert "with --mirror, and the vectors cannot be mixed. Give it, or build" in refused.err


@pytest.mark.slow
def test_folder_of_a_former_version_is_resumed(here, teacher, photos, tmp_path):
    """Its manifest says nothing of mirror images."""
    given = [f"--model={teacher.path}", f"--images={photos}", f"--out={tmp_path / 'v'}"]
    assert here("embed", *given).code == 0
    file = tmp_path / "v" / "manifest.json"
    manifest = json.loads(file.read_text())
    assert manifest.pop("mirror") is False
    file.write_text(json.dumps(manifest))
    assert here("embed", *given).code == 0
    refused = here("embed", *given, "--mirror")
    assert "the model, --mirror (False there, True now) differ." in refused.err
    built = here("index", "build", f"--vectors={tmp_path / 'v'}", f"--out={tmp_path / 'i'}")
    assert built.code == 0
    assert open_index(tmp_path / "i").manifest["mirror"] is False
