import json

import numpy as np
import pyarrow.parquet
import pytest

from keras_distill import InputError, VectorTable
from keras_distill.data import vector_shards
from keras_distill.data.vector_format import VectorRows
from keras_distill.data.vector_shards import holds_shards, open_shards, start_shards
from keras_distill.teachers.loading import load_teacher

MADE_OF = {
    "model": "m",
    "embedder": "e",
    "image_size": 8,
    "root": "/photos",
    "pictures": "p",
    "rows": 5,
    "dim": 3,
    "shard_size": 2,
    "file_format": "npy",
    "class_names": ["cat", "dog"],
}


def rows_of(shards, shard, *, bad=()):
    places = [place for place in shards.rows(shard) if place not in bad]
    return VectorRows(
        np.array([[place + 1, 0, 1] for place in places], np.float32).reshape(-1, 3),
        [f"dög/{place}.jpg" for place in places],
        np.array([place % 3 - 1 for place in places], np.int64),
        ("cat", "dog"),
        [(f"dög/{place}.jpg", "rotten") for place in bad],
    )


def fill(folder, **changes):
    shards = start_shards(folder, MADE_OF | changes)
    shards.write(0, rows_of(shards, 0))
    shards.write(1, rows_of(shards, 1, bad=(2, 3)))
    shards.write(2, rows_of(shards, 2))
    return shards.finish()


@pytest.mark.parametrize("file_format", ["npy", "parquet"])
def test_what_is_written_is_read(tmp_path, file_format):
    shards = fill(tmp_path / "v", file_format=file_format)
    assert shards.is_complete
    assert (shards.manifest["embedded"], shards.manifest["errors"]) == (3, 2)
    rows = open_shards(tmp_path / "v").read()
    assert rows.paths == ["dög/0.jpg", "dög/1.jpg", "dög/4.jpg"]
    assert rows.vectors.tolist() == [[1, 0, 1], [2, 0, 1], [5, 0, 1]]
    assert (rows.vectors.dtype, rows.labels.tolist()) == (np.float32, [-1, 0, 0])
    lines = (tmp_path / "v" / "errors.jsonl").read_text().splitlines()
    assert json.loads(lines[1]) == {"path": "dög/3.jpg", "reason": "rotten"}
    table = load_teacher(tmp_path / "v")
    assert isinstance(table, VectorTable)
    assert len(table) == 3


def test_parquet_names_classes_and_keeps_widths(tmp_path):
    fill(tmp_path / "v", file_format="parquet")
    table = pyarrow.parquet.read_table(tmp_path / "v" / "vectors")
    assert table["class"].to_pylist() == [None, "cat", "cat"]
    assert table.schema.field("vector").type.list_size == 3


def test_a_shard_counts_when_its_last_file_is_there(tmp_path, monkeypatch):
    shards = start_shards(tmp_path / "v", MADE_OF)
    real, written = vector_shards._write, []

    def dying(path, data):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path.name)
        real(path, data)

    monkeypatch.setattr(vector_shards, "_write", dying)
    with pytest.raises(KeyboardInterrupt):
        shards.write(1, rows_of(shards, 1, bad=(3,)))
    assert written == ["000001.jsonl", "000001.ids.txt", "000001.labels.npy"]
    assert shards.missing() == [0, 1, 2]
    monkeypatch.setattr(vector_shards, "_write", real)
    (tmp_path / "v" / "vectors" / ".tmp-1-x").touch()
    # What could not be read then can be read now: the old error must not stay.
    for shard in shards.missing():
        shards.write(shard, rows_of(shards, shard))
    assert shards.finish().manifest["errors"] == 0
    assert not (tmp_path / "v" / "vectors" / ".tmp-1-x").exists()


def test_incomplete_ones_are_not_read(tmp_path):
    shards = start_shards(tmp_path / "v", MADE_OF)
    shards.write(0, rows_of(shards, 0))
    with pytest.raises(InputError, match="lacks 2 of 3 shards; finish it by running the same"):
        open_shards(tmp_path / "v").read()
    with pytest.raises(InputError, match="lacks 2 of 3 shards"):
        load_teacher(tmp_path / "v")


@pytest.mark.parametrize("name", ["000001.npy", "000001.ids.txt", "000001.labels.npy"])
def test_damage_is_named(tmp_path, name):
    fill(tmp_path / "v")
    path = tmp_path / "v" / "vectors" / name
    path.write_bytes(path.read_bytes()[:-1] + b"\n\n\n")
    if name.endswith(".npy"):
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(InputError, match="000001' are damaged or incomplete"):
        open_shards(tmp_path / "v").read()


def test_other_settings_are_refused_and_overwritten(tmp_path):
    fill(tmp_path / "v")
    assert start_shards(tmp_path / "v", MADE_OF | {"root": "/elsewhere"}).is_complete
    with pytest.raises(InputError, match=r"provenance: the model, the width .* \(3 there, 4 now\)"):
        start_shards(tmp_path / "v", MADE_OF | {"embedder": "f", "dim": 4})
    shards = start_shards(tmp_path / "v", MADE_OF | {"embedder": "f"}, overwrite=True)
    assert shards.missing() == [0, 1, 2]
    assert not (tmp_path / "v" / "errors.jsonl").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "holds no vectors"),
        ("[]", "holds no vectors"),
        ('{"format": 1, "keras_distill": "0.1"}', "has no 'class_names'"),
        ('{"format": 9, "keras_distill": "9.9"}', "made by keras_distill 9.9, whose format"),
    ],
)
def test_a_foreign_manifest_is_refused(tmp_path, text, said):
    (tmp_path / "manifest.json").write_text(text)
    (tmp_path / "vectors").mkdir()
    assert holds_shards(tmp_path)
    with pytest.raises(InputError, match=said):
        open_shards(tmp_path)


def test_no_shards(tmp_path):
    assert not holds_shards(tmp_path)
    with pytest.raises(InputError, match="holds no vectors"):
        open_shards(tmp_path)
