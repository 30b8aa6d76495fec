import json

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from keras_distill import InputError
from keras_distill.data.point_files import read_points


def image(path, size=(60, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


def shanghaitech(points):
    """The nested cells of ShanghaiTech's files."""
    value = np.zeros((1, 1), [("location", object), ("number", object)])
    value["location"][0, 0], value["number"][0, 0] = np.float64(points), [[len(points)]]
    cell = np.empty((1, 1), object)
    cell[0, 0] = value
    return {"image_info": cell}


def test_csv_beside_each_image(tmp_path):
    for name in ("train/a", "train/b", "test/c"):
        image(tmp_path / f"{name}.jpg")
    (tmp_path / "train/a.csv").write_text("x,y\n1.5,2\n30,39.5\n")
    (tmp_path / "train/b.csv").write_text("x,y\n")
    (tmp_path / "test/c.csv").write_text("")
    (tmp_path / "sizes.csv").write_text(
        "file,width,height,original_width,original_height\n"
        "test/c.jpg,60,40,60,40\ntrain/a.jpg,60,40,120,80\ntrain/b.jpg,60,40,180,120\n"
    )
    found = read_points(tmp_path, "csv", original_sizes=tmp_path / "sizes.csv")
    assert found.paths.tolist() == ["test/c.jpg", "train/a.jpg", "train/b.jpg"]
    assert found.counts.tolist() == [0, 2, 0]
    np.testing.assert_array_equal(found.points[1], [[1.5, 2], [30, 39.5]])
    assert found.splits.tolist() == ["test", "train", "train"]
    np.testing.assert_allclose(found.scales, [1, 1 / 2, 1 / 3])
    assert found.select(found.splits == "train").counts.tolist() == [2, 0]


def test_matlab_files_of_crowds(tmp_path):
    image(tmp_path / "train_data/images/IMG_1.jpg")
    (tmp_path / "train_data/ground_truth").mkdir()
    savemat(
        tmp_path / "train_data/ground_truth/GT_IMG_1.mat", shanghaitech([[1, 2], [3, 4], [5, 6]])
    )
    image(tmp_path / "ucf/1.jpg")
    savemat(tmp_path / "ucf/1_ann.mat", {"annPoints": [[7.0, 8.0]]})
    found = read_points(tmp_path, "mat")
    assert found.counts.tolist() == [3, 1]
    np.testing.assert_array_equal(found.points[0], [[1, 2], [3, 4], [5, 6]])
    assert found.splits.tolist() == ["train", ""]


def test_coco_json(tmp_path):
    image(tmp_path / "a.jpg")
    image(tmp_path / "b.jpg")
    content = {
        "images": [{"id": 7, "file_name": "b.jpg"}, {"id": 8, "file_name": "a.jpg"}],
        "annotations": [{"image_id": 7, "bbox": [10, 20, 4, 6]}],
    }
    file = tmp_path / "boxes.json"
    file.write_text(json.dumps(content))
    found = read_points(tmp_path, str(file))
    assert found.paths.tolist() == ["a.jpg", "b.jpg"]
    assert found.points[1].tolist() == [[12, 23]]
    assert found.splits is None
    content["annotations"] += [{"image_id": 9, "bbox": []}, {"image_id": 7, "bbox": [1, 2]}]
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"annotations\[1\]: the image 9 is not listed\n.*\[2\]"):
        read_points(tmp_path, str(file))


def test_bad_rows_are_named(tmp_path):
    for name in "abc":
        image(tmp_path / f"{name}.jpg")
    (tmp_path / "a.csv").write_text("x,y\n1,2\n1,two\n900,3\n")
    (tmp_path / "b.csv").write_text("x,y\n5\n")
    with pytest.raises(InputError) as raised:
        read_points(tmp_path, "csv")
    for said in (
        "a.csv:3: ('1', 'two') is no point",
        "a.jpg: the point (900, 3) is outside of its 60 x 40 pixels",
        "b.csv:2: it has 1 field instead of 2",
        "c.jpg: there is no c.csv beside it",
    ):
        assert said in str(raised.value)


def test_unusable_files(tmp_path):
    image(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="`points=xml` is unknown; give one of csv, mat"):
        read_points(tmp_path, "xml")
    with pytest.raises(InputError, match="there is no MATLAB file of it"):
        read_points(tmp_path, "mat")
    (tmp_path / "a.mat").write_text("nothing")
    with pytest.raises(InputError, match="cannot be read as a MATLAB file"):
        read_points(tmp_path, "mat")
    savemat(tmp_path / "a.mat", {"heads": [[1, 2]]})
    with pytest.raises(
        InputError, match="has no variable 'image_info' or 'annPoints'; it has 'heads'"
    ):
        read_points(tmp_path, "mat")
    (tmp_path / "a.csv").write_text("x,y\n")
    (tmp_path / "sizes.csv").write_text("file,width,original_width\nb.jpg,1,2\na.jpg,1,none\n")
    with pytest.raises(
        InputError, match=r"(?s)sizes\.csv:2: 'b\.jpg' does not.*sizes\.csv:3: its widths"
    ):
        read_points(tmp_path, "csv", original_sizes=tmp_path / "sizes.csv")
