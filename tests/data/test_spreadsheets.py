import pytest
from fake_spreadsheet import write_sheet

from keras_distill import InputError
from keras_distill.data.spreadsheets import read_sheet


def test_cells_keep_their_columns(tmp_path):
    write_sheet(tmp_path / "a.xlsx", "some", [["a", "", "b & c"], [], ["", 1.5, 2]])
    assert read_sheet(tmp_path / "a.xlsx", "some") == [
        (1, ["a", "", "b & c"]),
        (2, []),
        (3, ["", "1.5", "2"]),
    ]


def test_unusable_files(tmp_path):
    write_sheet(tmp_path / "a.xlsx", "some", [["a"]])
    with pytest.raises(InputError, match="has no sheet 'none'; it has 'other', 'some'"):
        read_sheet(tmp_path / "a.xlsx", "none")
    with pytest.raises(InputError, match="cannot be read as a spreadsheet"):
        read_sheet(tmp_path / "a.xlsx", "other")  # whose file is missing
    (tmp_path / "b.xlsx").write_text("nothing")
    for file in ("b.xlsx", "c.xlsx"):
        with pytest.raises(InputError, match="cannot be read as a spreadsheet"):
            read_sheet(tmp_path / file, "some")
