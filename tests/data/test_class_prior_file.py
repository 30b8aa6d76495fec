import numpy as np
import pytest

from keras_distill import InputError, read_class_prior, write_class_prior

NAMES = ["cat", 'dog, "old"', "line\nbreak", "Ä"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "priors" / "prior.csv"


def test_what_was_written_is_read(path):
    prior = np.float32([0.1, 1.0, 1e-7, 0.0])
    write_class_prior(path, NAMES, prior)
    assert path.read_text(encoding="utf-8").startswith("class,prior\ncat,0.1\n")
    found = read_class_prior(path, NAMES)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, prior)
    np.testing.assert_array_equal(read_class_prior(str(path), NAMES[::-1]), prior[::-1])


def test_as_a_spreadsheet_writes_it(path):
    path.parent.mkdir()
    path.write_bytes(b"\xef\xbb\xbfclass,prior\r\ncat,0.25\r\n\r\ndog,1\r\n")
    assert read_class_prior(path, ["dog", "cat"]).tolist() == [1.0, 0.25]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the columns are ''; they must be 'class,prior'"),
        ("name,prior\ncat,0.5\n", "line 1: the columns are 'name,prior'"),
        ("class,prior\ncat,0.5\ndog\n", "line 3: 1 values; give a class and its prior"),
        ("class,prior\ncat,0.5,1\n", "line 2: 3 values"),
        ("class,prior\ncat,0.5\ndog,often\n", "line 3: 'often' is no prior; give a number from 0"),
        ("class,prior\ncat,nan\n", "line 2: 'nan' is no prior"),
        ("class,prior\ncat,1.5\n", "line 2: '1.5' is no prior"),
        ("class,prior\ncat,-0.5\n", "line 2: '-0.5' is no prior"),
        ("class,prior\ncat,0.5\n\ncat,0.5\n", "line 4: 'cat' was in line 2 already"),
        ("class,prior\ncat,0.5\n", "lacks 1 of 2 classes, such as 'dog'"),
        ("class,prior\ncat,0\ndog,0\nfox,0\n", "line 4: 'fox' is not a class that is trained on"),
        ('class,prior\ncat,0.5\n"dog,0.5\n', "line 3: unexpected end of data"),
    ],
)
def test_bad_files(path, text, message):
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_class_prior(path, ["cat", "dog"])
    assert str(caught.value).startswith(f"`prior={path}`")
    assert message in str(caught.value)


def test_unreadable_files(path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_class_prior(path, ["cat"])
    path.parent.mkdir()
    path.write_bytes(b"class,prior\n\xff,0.5\n")
    with pytest.raises(InputError, match="is no text in UTF-8"):
        read_class_prior(path, ["cat"])


def test_a_number_for_each_class_is_needed(path):
    with pytest.raises(InputError, match="`class_names` has 4 names, and `prior` 3 numbers"):
        write_class_prior(path, NAMES, [0.1, 0.2, 0.3])
    assert not path.exists()
