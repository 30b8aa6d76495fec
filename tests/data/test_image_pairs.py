import pytest

from keras_distill import InputError
from keras_distill.data.image_pairs import read_pairs, read_templates


@pytest.mark.parametrize(
    "text",
    [
        "file,file,same\na/1.jpg,a/2.jpg,1\na/1.jpg,b/1.jpg,0\n",
        "a/1.jpg,a/2.jpg,1\n\na/1.jpg, b/1.jpg ,false\n",
        "a/1.jpg a/2.jpg 1\na/1.jpg b/1.jpg 0\n",
        "\ufefffile,file,same\r\na/1.jpg,a/2.jpg,yes\r\na/1.jpg,b/1.jpg,no\r\n",
    ],
)
def test_pairs(tmp_path, text):
    (tmp_path / "pairs.csv").write_text(text, encoding="utf-8")
    pairs = read_pairs(tmp_path / "pairs.csv")
    assert pairs.names == ("a/1.jpg", "a/2.jpg", "b/1.jpg")
    assert (pairs.left.tolist(), pairs.right.tolist()) == ([0, 0], [1, 2])
    assert pairs.same.tolist() == [True, False]
    assert pairs.folds is None


def test_folds(tmp_path):
    (tmp_path / "pairs.csv").write_text("file,file,same,fold\n1,2,1,7\n1,3,0,9\n2,3,0,7\n")
    pairs = read_pairs(tmp_path / "pairs.csv")
    assert pairs.folds.tolist() == [0, 1, 0]
    assert pairs.select(pairs.same).names == ("1", "2", "3")
    assert len(pairs.select(pairs.same)) == 1


def test_unusable_pairs_are_listed_with_their_lines(tmp_path):
    file = tmp_path / "pairs.csv"
    file.write_text("file,file,same\n1,2,1\n1,2\n1,2,maybe\n,2,0\n1,2,0,x\n")
    with pytest.raises(InputError) as error:
        read_pairs(file)
    assert "has 4 unusable rows" in str(error.value)
    for line in (3, 4, 5, 6):
        assert f"pairs.csv:{line}: " in str(error.value)
    for nothing in ("file,file,same\n", "\n", ""):
        file.write_text(nothing)
        with pytest.raises(InputError, match="has no pairs"):
            read_pairs(file)
    file.write_bytes(b"file,file,same\n1,2,1\n\xff,2,1\n")
    with pytest.raises(InputError, match="cannot be read: 'utf-8' codec"):
        read_pairs(file)
    with pytest.raises(InputError, match="cannot be read"):
        read_pairs(tmp_path / "none.csv")


def test_templates(tmp_path):
    file = tmp_path / "templates.csv"
    file.write_text(
        "file,template,media,subject\n1,t1,m1,ann\n2,t1,m1,ann\n3,t1,m2,ann\n3,t2,m1,b\n"
    )
    found = read_templates(file)
    assert (found.names, found.subjects) == (("t1", "t2"), ("ann", "b"))
    assert found.template.tolist() == [0, 0, 0, 1]
    assert found.media.tolist() == [0, 0, 1, 2]  # m1 of another template is another medium
    file.write_text("1.jpg 1 69544\n2.jpg 2 69544\n")
    assert read_templates(file).subjects == ("1", "2")
    file.write_text("1,t1,m1,ann\n2,t1,m1,bob\n3,t2\n")
    with pytest.raises(InputError) as error:
        read_templates(file)
    assert "template 't1' is of 'ann' and of 'bob'" in str(error.value)
    assert "templates.csv:3: " in str(error.value)
