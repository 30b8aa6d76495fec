import pytest

from keras_distill import InputError
from keras_distill.data.distortion_ladders import RECIPES, parse_ladders


def test_the_published_recipes():
    live, tid = parse_ladders("live"), parse_ladders("tid2013")
    assert [len(ladder.steps) for ladder in live] == [5] * 4
    assert [len(ladder.steps) for ladder in tid] == [4] * 19
    one_sided = {ladder.name for ladder in tid} - {"darker", "more_contrast"}
    assert len(one_sided) == 17
    steps = {ladder.name: [step.number for step in ladder.steps] for ladder in live}
    assert steps["blur"] == [1.2, 2.5, 6.5, 15.2, 33.2]
    variances = [(number / 255) ** 2 for number in steps["noise"]]
    assert variances == pytest.approx([0.001, 0.006, 0.022, 0.088, 1.0], rel=2e-3)
    assert set(RECIPES) == {"live", "tid2013"}


def test_ladders_of_ones_own():
    (grey, blur) = parse_ladders("grey,blur:3")
    assert (grey.name, [step.number for step in blur.steps]) == ("grey", [3.0])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("haze:1/2", r"^`distortions=haze:1`: 'haze' is unknown"),
        ("jpeg:5/0", r"'jpeg:0' is out of range"),
        ("jpeg:5/2,blur:1/2/3", r"jpeg has 2 steps, blur 3; give each as many\.$"),
        ("jpeg:5/2,jpeg:9/8", r"has jpeg twice; give it once\.$"),
        ("", r"'' is unknown"),
    ],
)
def test_unusable_ladders(text, said):
    with pytest.raises(InputError, match=said):
        parse_ladders(text)
