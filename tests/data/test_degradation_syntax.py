import pytest

from keras_distill import InputError
from keras_distill.data.degradation_syntax import KINDS, SYNTAX, Degradation, parse_degradations
from keras_distill.data.image_degradation import _APPLY


def test_order_and_numbers_are_kept():
    assert parse_degradations("jpeg:5,edges,low_resolution:32,jpeg:90,blur:0.5") == (
        Degradation("jpeg", 5),
        Degradation("edges", 0),
        Degradation("low_resolution", 32),
        Degradation("jpeg", 90),
        Degradation("blur", 0.5),
    )
    assert parse_degradations("") == ()


def test_numbers_may_be_left_out():
    for name, kind in KINDS.items():
        assert parse_degradations(name) == (Degradation(name, kind.default),)
        explicit = f"{name}:{kind.default:g}" if kind.number else name
        assert parse_degradations(explicit) == parse_degradations(name)


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.number])
def test_range_includes_its_ends_and_no_more(name):
    kind = KINDS[name]
    for number in (kind.least, kind.most):
        assert parse_degradations(f"{name}:{number:g}") == (Degradation(name, number),)
    for number in (kind.least * 0.99, kind.most * 1.01, -kind.most):
        with pytest.raises(InputError, match="is out of range"):
            parse_degradations(f"{name}:{number:g}")


def test_every_kind_can_be_applied_and_is_told():
    assert KINDS.keys() == _APPLY.keys()
    assert SYNTAX.startswith("low_resolution:PIXELS, jpeg:QUALITY, blur:SIGMA, noise:SIGMA, grey")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "haze",
            r"`degrade=haze`: 'haze' is unknown; give one or several of low_resolution:PIXELS,",
        ),
        ("grey,,blur", r"`degrade=grey,,blur`: '' is unknown"),
        ("Grey", r"'Grey' is unknown"),
        ("grey:3", r"'grey:3' has a number, but grey takes none"),
        ("edges:", r"'edges:' has a number, but edges takes none"),
        (
            "jpeg:0",
            r"`degrade=jpeg:0`: 'jpeg:0' is out of range; jpeg:QUALITY takes an integer from 1 to "
            r"100, by default 20\.",
        ),
        ("jpeg:20.5", r"'jpeg:20.5' is out of range"),
        ("jpeg:", r"'jpeg:' is out of range"),
        ("blur:soft", r"blur:SIGMA takes a number from 0.1 to 100, by default 2\."),
        ("noise:nan", r"'noise:nan' is out of range"),
        ("noise:inf", r"'noise:inf' is out of range"),
    ],
)
def test_unusable_degradations_are_named(text, message):
    with pytest.raises(InputError, match=message):
        parse_degradations(text)


def test_low_resolution_must_be_lower():
    assert parse_degradations("low_resolution:127", image_size=128)
    with pytest.raises(
        InputError, match=r"^`degrade=low_resolution`: .*:32 changes nothing.* 32 pixels a side"
    ):
        parse_degradations("low_resolution", image_size=32)
