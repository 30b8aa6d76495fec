import csv
import itertools
from pathlib import Path

import pytest
from PIL import Image

DRAW = Path(__file__).parents[2] / "benchmarks" / "theme_albums.py"
RUN = f"import runpy; runpy.run_path({str(DRAW)!r}, run_name='__main__')"


@pytest.fixture
def drawn(tmp_path, run_warm_python):
    """Draws albums from 160 images, of which some show both themes; returns rows and labels."""
    shown = ("cat", "dog", "cup", "chair", "cat|dog", "dog|cup")
    labels = {f"{number:03d}.jpg": shown[number % 6] for number in range(160)}
    for name in labels:
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "split", "labels"])
        for number, (name, of_image) in enumerate(labels.items()):
            rows.writerow([name, "train" if number % 5 else "test", of_image])

    def draw(*more):
        arguments = ["--themes=cat,dog", "--photographs=6", "--theme_photographs=2"]
        counts = ["--train=8", "--validation=4", "--test=6"]
        files = [f"--labels={tmp_path}/labels.csv", f"--out={tmp_path}/albums.csv"]
        run_warm_python(RUN, *files, *arguments, *counts, *more)
        with (tmp_path / "albums.csv").open() as file:
            return list(csv.DictReader(file)), labels

    return draw


@pytest.mark.slow
def test_a_theme_among_others(drawn):
    albums, labels = drawn()
    assert [album["split"] for album in albums] == ["train"] * 8 + ["validation"] * 4 + ["test"] * 6
    used = {"train": set(), "validation": set(), "test": set()}
    for album in albums:
        names = album["photographs"].split("|")
        assert len(set(names)) == 6
        of_themes = [{"cat", "dog"} & set(labels[name].split("|")) for name in names]
        assert sorted(map(len, of_themes)) == [0, 0, 0, 0, 1, 1]
        assert set.union(*of_themes) == {album["labels"]}
        used[album["split"]] |= set(names)
    for first, second in itertools.combinations(used.values(), 2):
        assert not first & second
    assert all(int(name[:3]) % 5 == 0 for name in used["test"])
    assert drawn()[0] == albums
    assert drawn("--seed=1")[0] != albums


@pytest.mark.slow
def test_an_unknown_theme(drawn, tmp_path):
    with pytest.raises(AssertionError, match=r"--themes=cow: the labels are .*dog"):
        drawn("--themes=cat,cow")
    assert not (tmp_path / "albums.csv").exists()
