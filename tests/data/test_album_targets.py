import numpy as np
import pytest
from absl import logging

from keras_distill import InputError
from keras_distill.data.album_targets import read_albums


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Empty files of photographs, in the folder that relative paths start from."""
    monkeypatch.chdir(tmp_path)
    for name in (
        *("beach/a/1.jpg", "beach/a/2.png", "beach/b/deep/1.jpg", "party/c/1.jpg"),
        *("party/c/.hidden.jpg", "party/c/note.txt"),
    ):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).touch()
    return tmp_path / "photos"


def members(albums):
    paths = albums.photographs.paths
    rows = zip(albums.names.tolist(), albums.members, strict=True)
    return {name: paths[own].tolist() for name, own in rows}


def test_a_folder_for_each_label_and_in_it_one_for_each_album(folder):
    albums = read_albums("albums:photos")
    assert albums.class_names == ("beach", "party")
    assert members(albums) == {
        "beach/a": ["beach/a/1.jpg", "beach/a/2.png"],
        "beach/b": ["beach/b/deep/1.jpg"],
        "party/c": ["party/c/1.jpg"],
    }
    assert albums.targets.tolist() == [[1, 0], [1, 0], [0, 1]]
    assert albums.splits is None
    assert albums.sizes.tolist() == [2, 1, 1]


def test_photographs_outside_of_albums_are_named(folder):
    (folder / "beach" / "9.jpg").touch()
    with pytest.raises(InputError, match=r"'beach/9\.jpg' is not in a folder LABEL/ALBUM"):
        read_albums("albums:photos")


def test_a_csv_file_has_several_labels_an_album(folder):
    rows = [
        "album,labels,split,unknown",
        "beach/a,beach|sea,train,",
        "beach/b,beach,test,sea",
        "party/c,,train,",
    ]
    (folder / "albums.csv").write_text("\n".join(rows))
    albums = read_albums("albums:photos/albums.csv")
    assert albums.class_names == ("beach", "sea")
    assert albums.targets.tolist() == [[1, 1], [1, -1], [0, 0]]
    assert albums.splits.tolist() == ["train", "test", "train"]
    chosen = albums.select(albums.splits == "train").of_classes(["sea"])
    assert members(chosen) == {
        "beach/a": ["beach/a/1.jpg", "beach/a/2.png"],
        "party/c": ["party/c/1.jpg"],
    }
    assert chosen.targets.tolist() == [[1], [0]]
    assert chosen.digest != albums.digest


def test_listed_photographs_may_be_shared(folder):
    rows = ["album,labels,photographs", "x,sea,beach/a/1.jpg|party/c/1.jpg|beach/a/1.jpg"]
    rows.append("y,sun,party/c/1.jpg")
    (folder / "albums.csv").write_text("\n".join(rows))
    albums = read_albums("albums:photos/albums.csv")
    assert members(albums) == {"x": ["beach/a/1.jpg", "party/c/1.jpg"], "y": ["party/c/1.jpg"]}
    assert len(albums.photographs) == 2
    kept = albums.with_photographs(albums.photographs.paths != "party/c/1.jpg")
    assert members(kept) == {"x": ["beach/a/1.jpg"]}


def test_unusable_rows_are_named_with_their_lines(folder, monkeypatch):
    rows = ["album,labels,photographs", "beach/a,sea,", "none,sea,", "beach/a,sun,"]
    rows += ["beach/b,sun,1.jpg", "party/c,moon,"]
    (folder / "albums.csv").write_text("\n".join(rows))
    with pytest.raises(InputError) as error:
        read_albums("albums:photos/albums.csv", classes=["sea", "sun"])
    told = str(error.value)
    for line in (
        "albums.csv:3: there is no folder 'none'",
        "albums.csv:4: 'beach/a' is also in photos/albums.csv:2",
        "albums.csv:5: '1.jpg' does not exist below 'photos'",
        "albums.csv:6: 'moon': not among the 2 classes",
    ):
        assert line in told
    said = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: said.append(text % values))
    (folder / "albums.csv").write_text("\n".join([*rows[:3], *rows[4:]]))
    options = {"missing": "skip", "other_labels": "ignore"}
    albums = read_albums("albums:photos/albums.csv", classes=["sea", "sun"], **options)
    assert albums.names.tolist() == ["beach/a", "party/c"]
    assert "Skipping 2 of 4 albums or photographs" in said[0]
    assert "Ignoring 1 labels" in said[1]


@pytest.mark.parametrize(
    ("spec", "options", "said"),
    [
        ("albums:none", {}, "there is no folder or file 'none'"),
        ("albums:photos", {"images": "photos"}, "has no effect"),
        ("albums:train=photos", {}, "a split is a file"),
        ("labels:photos", {}, "there is no file"),
        ("albums:photos/beach", {}, "is not in a folder LABEL/ALBUM"),
    ],
)
def test_data_that_are_no_albums(folder, spec, options, said):
    with pytest.raises(InputError, match=said):
        read_albums(spec, **options)


def test_an_empty_folder_has_no_albums(tmp_path):
    with pytest.raises(InputError, match="has no albums"):
        read_albums(f"albums:{tmp_path}")


def test_ids_depend_on_the_name_alone(folder):
    albums = read_albums("albums:photos")
    assert albums.ids[2:].tolist() == albums.select(np.array([2])).ids.tolist()
    assert albums.positives.tolist() == [2, 1]
