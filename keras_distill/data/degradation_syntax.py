"""Syntax of degradations: their names and the numbers they take."""

from dataclasses import dataclass

from keras_distill.errors import InputError


@dataclass(frozen=True)
class Kind:
    """One kind of degradation.

    Attributes:
        number: Meaning of its number; empty if it takes none.
        default: The number if it is left out.
        least: Least number that is allowed.
        most: Greatest number that is allowed.
        whole: Whether it must be an integer.
    """

    number: str = ""
    default: float = 0.0
    least: float = 0.0
    most: float = 0.0
    whole: bool = False


KINDS = {
    "low_resolution": Kind("PIXELS", 32, 1, 4096, whole=True),
    "jpeg": Kind("QUALITY", 20, 1, 100, whole=True),
    "blur": Kind("SIGMA", 2.0, 0.1, 100.0),
    "noise": Kind("SIGMA", 25.0, 0.1, 255.0),
    "grey": Kind(),
    "edges": Kind(),
    "jpeg2000": Kind("RATIO", 150, 1, 5000),
    "colour_noise": Kind("SIGMA", 10.0, 0.1, 255.0),
    "high_frequency_noise": Kind("SIGMA", 25.0, 0.1, 255.0),
    "multiplicative_noise": Kind("SIGMA", 0.2, 0.001, 10.0),
    "impulse_noise": Kind("SHARE", 0.01, 0.0001, 1.0),
    "denoised": Kind("SIGMA", 25.0, 0.1, 255.0),
    "quantisation": Kind("STEP", 39, 1, 255, whole=True),
    "dither": Kind("COLOURS", 32, 2, 256, whole=True),
    "displaced_blocks": Kind("COUNT", 70, 1, 4096, whole=True),
    "coloured_blocks": Kind("COUNT", 4, 1, 1024, whole=True),
    "brighter": Kind("AMOUNT", 30, 1, 255),
    "darker": Kind("AMOUNT", 30, 1, 255),
    "more_contrast": Kind("FACTOR", 1.4, 1.0, 10.0),
    "less_contrast": Kind("FACTOR", 0.7, 0.01, 1.0),
    "less_saturation": Kind("LOSS", 0.6, 0.01, 2.0),
    "aberration": Kind("PIXELS", 2, 1, 64, whole=True),
}

#: How each is written, for help texts.
SYNTAX = ", ".join(f"{name}:{kind.number}".rstrip(":") for name, kind in KINDS.items())


@dataclass(frozen=True)
class Degradation:
    """One degradation.

    Attributes:
        name: One of `KINDS`.
        number: Its number; 0 if it takes none.
    """

    name: str
    number: float


def parse_degradations(degrade: str, *, image_size: int | None = None) -> tuple[Degradation, ...]:
    """Reads degradations.

    Args:
        degrade: Such as `"low_resolution:32,jpeg:20,grey"`; a number may be left out.
        image_size: Height and width of the images, in pixels, where known.

    Returns:
        The degradations, in the order given.

    Raises:
        InputError: If a name is unknown, or a number out of range.

    Example:
        >>> parse_degradations("blur:1.5,grey")
        (Degradation(name='blur', number=1.5), Degradation(name='grey', number=0.0))
    """
    found = []
    for part in degrade.split(",") if degrade else []:
        name, colon, number = part.partition(":")
        if name not in KINDS:
            raise InputError(
                f"`degrade={degrade}`: {name!r} is unknown; give one or several of {SYNTAX}."
            )
        kind = KINDS[name]
        if colon and not kind.number:
            raise InputError(f"`degrade={degrade}`: {part!r} has a number, but {name} takes none.")
        value = _number(number) if colon else kind.default
        fits = kind.least <= value <= kind.most and not (kind.whole and value % 1)
        if kind.number and not fits:
            raise InputError(
                f"`degrade={degrade}`: {part!r} is out of range; {name}:{kind.number} takes "
                f"{'an integer' if kind.whole else 'a number'} from {kind.least:g} to "
                f"{kind.most:g}, by default {kind.default:g}."
            )
        if name == "low_resolution" and image_size is not None and value >= image_size:
            raise InputError(
                f"`degrade={degrade}`: {name}:{value:g} changes nothing, since the images have "
                f"{image_size} pixels a side; give fewer."
            )
        found.append(Degradation(name, value))
    return tuple(found)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
