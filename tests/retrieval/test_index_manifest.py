import json

import numpy as np
import pytest

from keras_distill import InputError, add_to_index, build_index, delete_from_index, open_index


@pytest.fixture
def folder(tmp_path, entries):
    """An index with an added part and deleted rows."""
    path = tmp_path / "photos.index"
    build_index(path, entries(200), embedder="one", backend="scann")
    add_to_index(path, entries(200, 210))
    delete_from_index(path, ["class_07/*"])
    return path


def files(folder):
    return [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and path.name not in (".lock", "manifest.json")
    ]


def change(folder, **values):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_manifest_describes_the_index(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest.pop("files") == {name: (folder / name).stat().st_size for name in files(folder)}
    assert len(manifest.pop("class_names")) == 60
    assert manifest == {
        "model": None,
        "embedder": "one",
        "format": 1,
        "keras_distill": manifest["keras_distill"],
        "dim": 16,
        "dtype": "float32",
        "metric": "euclidean",
        "root": "/photos/mine",
        "rows": 206,
        "asked_backend": "scann",
        "backend": "scann",
        "settings": {
            "num_leaves": 0,
            "leaves_to_search": 0,
            "reorder": 200,
            "reorder_factor": 5,
            "principal": 0,
        },
        "agreement": {"share": 1.0, "queries": 100, "k": 10},
        "parts": [{"name": "part-0001", "rows": 200}, {"name": "part-0002", "rows": 10}],
        "deleted": "deleted-0003.npy",
    }


def test_any_truncated_or_missing_file_is_refused_by_its_name(folder):
    names = files(folder)
    assert len(names) == 3 + 3 + 1 + 2  # two parts, deleted rows, ScaNN's own two
    for name in names:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-1])
        with pytest.raises(InputError, match=rf"damaged: .*{name}' has \d+ bytes in place of \d+"):
            open_index(folder)
        (folder / name).unlink()
        with pytest.raises(
            InputError,
            match=rf"damaged: .*{name}' is missing. Build it again with `overwrite=True`",
        ):
            open_index(folder)
        (folder / name).write_bytes(content)
    assert len(open_index(folder)) == 206


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((10, 8), np.float64), r"holds float64 \(10, 8\) in place of \(10, 16\)"),
        (np.zeros((20, 8), np.float32), r"holds float32 \(20, 8\) in place of \(10, 16\)"),
        (b"\0" * (128 + 640), "cannot be read"),
    ],
)
def test_vectors_of_another_form_are_refused(folder, array, message):
    path = folder / "part-0002" / "vectors.npy"
    size = path.stat().st_size
    if isinstance(array, bytes):
        path.write_bytes(array)
    else:
        np.save(path, array)
    assert path.stat().st_size == size
    with pytest.raises(InputError, match=message):
        open_index(folder)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rows": 207}, "holds 206 images in place of 207"),
        ({"dim": 8}, r"holds float32 \(200, 16\) in place of \(200, 8\)"),
        ({"dim": "wide"}, "has no sensible 'dim'"),
        ({"parts": None}, "has no sensible 'parts'"),
        ({"parts": [{"name": "part-0001", "rows": 199}]}, r"in place of \(199, 16\)"),
        ({"format": 2, "keras_distill": "9.0"}, "written by keras_distill 9.0 .* update keras_dis"),
        ({"format": None}, "manifest.json' cannot be read"),
    ],
)
def test_wrong_manifest_is_refused(folder, values, message):
    change(folder, **values)
    with pytest.raises(InputError, match=message):
        open_index(folder)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 1}', '{"form'])
def test_damaged_manifest_is_refused_and_nothing_is_removed(folder, entries, content):
    (folder / "manifest.json").write_text(content)
    before = files(folder)
    for change in (
        lambda: open_index(folder),
        lambda: add_to_index(folder, entries(210, 220)),
        lambda: delete_from_index(folder, ["*"]),
    ):
        with pytest.raises(InputError, match=r"damaged: .*manifest.json' cannot be read"):
            change()
    assert files(folder) == before
    assert len(build_index(folder, entries(50), overwrite=True)) == 50


def test_damaged_assets_of_scann_are_refused(folder, entries):
    (config,) = folder.rglob("scann_assets.pbtxt")
    config.write_bytes(b"#" * config.stat().st_size)
    with pytest.raises(InputError, match="scann' cannot be loaded"):
        open_index(folder).search(entries(1).vectors, k=1)


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_no_index(tmp_path, entries, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=f"{name}` holds no index; make one with `build_index`"):
        open_index(tmp_path / name)


def test_place_with_other_files_is_refused_and_left_alone(tmp_path, entries):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear")
    with pytest.raises(InputError, match=r"holds other files, such as 'diary.txt'"):
        build_index(tmp_path / "mine", entries(5), overwrite=True)
    with pytest.raises(InputError, match=r"diary.txt` is a file; give a folder"):
        build_index(tmp_path / "mine" / "diary.txt", entries(5))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["diary.txt"]
