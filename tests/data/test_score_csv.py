import numpy as np
import pytest
from PIL import Image

from keras_distill import InputError
from keras_distill.data.comparison_pairs import read_comparisons
from keras_distill.data.group_split import group_split
from keras_distill.data.score_csv import read_scores


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for name in "abcd":
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / f"{name}.png")
    return tmp_path


def test_scores_references_and_distortions(folder):
    (folder / "scores.csv").write_text(
        "file,score,reference,method,other\nimages/a.png,3.5,one,jpeg,x\nb.png,,one,,x\n"
        "images/c.png,-1e0,,blur,x\n"
    )
    found = read_scores(folder / "scores.csv", distortion_column="method")
    assert found.paths.tolist() == ["images/a.png", "images/b.png", "images/c.png"]
    np.testing.assert_array_equal(found.scores, np.float32([3.5, np.nan, -1]))
    assert found.references.tolist() == ["one", "one", "images/c.png"]
    assert found.distortions.tolist() == ["jpeg", "", "blur"]
    assert found.splits is None
    assert len(found.scored) == 2
    assert found.digest != found.scored.digest


def test_splits_of_the_file(folder):
    (folder / "scores.csv").write_text("file,score,split\na.png,1,train\nb.png,2,test\n")
    assert read_scores(folder / "scores.csv").splits.tolist() == ["train", "test"]


def test_bad_rows_are_named_with_their_lines(folder):
    (folder / "scores.csv").write_text(
        "file,score,split\na.png,1,\nz.png,1,\nb.png,good,\na.png,2,\nc.png,nan,\nd.png,1,some\n1,2\n"
    )
    with pytest.raises(InputError) as raised:
        read_scores(folder / "scores.csv")
    lines = str(raised.value).splitlines()
    assert lines[0].endswith("has 6 unusable rows:")
    for place, said in (
        (3, "'z.png' does not exist"),
        (4, "the score 'good' is not a finite number"),
        (5, "'images/a.png' is there twice"),
        (6, "the score 'nan' is not"),
        (7, "the split 'some' is none of train"),
        (8, "it has 2 fields instead of 3"),
    ):
        assert any(f"scores.csv:{place}: {said}" in line for line in lines), said


def test_files_without_scores(folder):
    (folder / "scores.csv").write_text("file,score\na.png,\n")
    with pytest.raises(InputError, match="has no score in any row"):
        read_scores(folder / "scores.csv")
    (folder / "scores.csv").write_text("file,mos\na.png,1\n")
    with pytest.raises(InputError, match="has no column 'score'"):
        read_scores(folder / "scores.csv")


def test_comparisons(folder):
    (folder / "pairs.csv").write_text(
        "file,file,label\na.png,b.png,1\nb.png,c.png,0\nc.png,d.png,0.5\n"
    )
    found = read_comparisons(folder / "pairs.csv")
    assert found.labels.tolist() == [1, 0, 0.5]
    assert found.ordered.tolist() == [
        ["images/a.png", "images/b.png"],
        ["images/c.png", "images/b.png"],
    ]
    assert len(found.images) == 4
    assert len(set(found.ids)) == 2


def test_bad_comparisons_are_named(folder):
    (folder / "pairs.csv").write_text("a.png,b.png,2\na.png,a.png,1\na.png,b.png\nz.png,b.png,1\n")
    with pytest.raises(InputError) as raised:
        read_comparisons(folder / "pairs.csv")
    for said in (
        "pairs.csv:1: the label '2' is none of 1, 0 and 0.5",
        "pairs.csv:2: 'images/a.png' is compared with itself",
        "pairs.csv:3: it has 2 fields instead of 3",
        "pairs.csv:4: 'z.png' does not exist",
    ):
        assert said in str(raised.value)


def test_groups_are_never_divided():
    groups = np.repeat([f"r{index}" for index in range(24)], 19)
    parts = group_split(groups, {"test": 0.2, "validation": 0.1})
    by_group = {name: set(parts[groups == name]) for name in set(groups)}
    assert all(len(found) == 1 for found in by_group.values())
    assert [(parts == name).sum() // 19 for name in ("train", "validation", "test")] == [17, 2, 5]
    shuffled = np.random.default_rng(0).permutation(len(groups))
    again = group_split(groups[shuffled], {"test": 0.2, "validation": 0.1})
    np.testing.assert_array_equal(again, parts[shuffled])
    assert (group_split(groups, {"test": 0.2}, seed=1) != group_split(groups, {"test": 0.2})).any()
    with pytest.raises(InputError, match="`groups` are 1, too few"):
        group_split(np.array(["a"]), {"test": 0.2})
