"""Changes of views: operations, colours, squares that are cut out, and mixes of two images."""

import math
from dataclasses import dataclass
from typing import Any

import PIL

from keras_distill.errors import InputError


@dataclass(frozen=True)
class Number:
    """A number of a change.

    Attributes:
        letter: What stands for it in help texts.
        meaning: Its meaning and range, in words.
        published: The number if it is left out.
        least: Least number that is allowed.
        most: Greatest number that is allowed.
        whole: Whether it must be an integer.
    """

    letter: str
    meaning: str
    published: float
    least: float
    most: float
    whole: bool = False


_ABOVE_0, _BELOW_1 = math.nextafter(0.0, 1.0), math.nextafter(1.0, 0.0)
_PROBABILITY = "probability above 0 and up to 1"

#: Changes of a crop, with their numbers.
AUGMENTATIONS = {
    "jitter": (Number("P", _PROBABILITY, 0.8, _ABOVE_0, 1.0),),
    "grey": (Number("P", _PROBABILITY, 0.2, _ABOVE_0, 1.0),),
    "randaugment": (
        Number("N", "number of operations from 1 to 10", 2, 1, 10, whole=True),
        Number("M", "magnitude from 0 to 10", 9.0, 0.0, 10.0),
    ),
    "cutout": (Number("SHARE", "share of the side above 0 and below 1", 0.5, _ABOVE_0, _BELOW_1),),
}

#: How they are written, for help texts.
SYNTAX = ", ".join(
    ":".join([name, *(number.letter for number in numbers)])
    for name, numbers in AUGMENTATIONS.items()
)

# To be raised when the pixels of changed or of mixed views change, those of `randaugment` and
# `cutout` also when their order does; plain views have `VIEWS_VERSION`.
_COLOURS_VERSION = 1
_RANDAUGMENT_VERSION = 1
_CUTOUT_VERSION = 1
_MIXES_VERSION = 1

# A gamma variate for a smaller shape may be 0 in float64, for both images of a mix.
_LEAST_ALPHA = 0.05


@dataclass(frozen=True)
class Augmentation:
    """Changes of a crop that student and teacher both see; 0 for one that is not made.

    Attributes:
        operations: Operations of RandAugment on each image.
        magnitude: Their magnitude, from 0 to 10.
        jitter: Probability that the colours jitter.
        grey: Probability that the image turns grey.
        cutout: Side of the square that is cut out, as a share of the image's side.
    """

    operations: int = 0
    magnitude: float = 0.0
    jitter: float = 0.0
    grey: float = 0.0
    cutout: float = 0.0

    @property
    def colours(self) -> dict[str, float]:
        """The probability of each change of colours by name, without those that are not made."""
        each = {"grey": self.grey, "jitter": self.jitter}
        return {name: probability for name, probability in each.items() if probability}


@dataclass(frozen=True)
class ViewChanges:
    """Changes of views that student and teacher both see.

    Attributes:
        augment: Changes of crops, such as `"jitter:0.8,grey:0.2"`; see `parse_augmentations`.
        mixup_alpha: `None` for views of one image; otherwise views are mixes of two images, a share
            of Beta(`mixup_alpha`, `mixup_alpha`) of the first one.

    Raises:
        InputError: If one of them cannot be used.
    """

    augment: str = ""
    mixup_alpha: float | None = None

    def __post_init__(self) -> None:
        parse_augmentations(self.augment)
        if self.mixup_alpha is not None:
            check_mixup_alpha(self.mixup_alpha)

    @property
    def provenance(self) -> dict[str, Any]:
        """Everything that decides the changes, by name; empty if there are none."""
        found: dict[str, Any] = {}
        changes = parse_augmentations(self.augment)
        if changes.colours:
            found["augment"] = changes.colours
            found["colours_version"] = _COLOURS_VERSION
        if changes.operations:
            found["randaugment"] = [changes.operations, changes.magnitude]
            found["randaugment_version"] = _RANDAUGMENT_VERSION
            found["pillow"] = PIL.__version__  # which applies the operations
        if changes.cutout:
            found["cutout"] = changes.cutout
            found["cutout_version"] = _CUTOUT_VERSION
        if self.mixup_alpha is not None:
            found["mixup_alpha"] = float(self.mixup_alpha)
            found["mixes_version"] = _MIXES_VERSION
        return found


def parse_augmentations(augment: str) -> Augmentation:
    """Reads changes of crops.

    Args:
        augment: Such as `"randaugment:2:9,jitter:0.8,grey,cutout:0.5"`, in any order; numbers may
            be left out.

    Returns:
        The changes.

    Raises:
        InputError: If a name is unknown or there twice, or a number out of range.

    Example:
        >>> parse_augmentations("jitter:0.5,grey").colours
        {'grey': 0.2, 'jitter': 0.5}
    """
    found: dict[str, list[float]] = {}
    for part in augment.split(",") if augment else []:
        name, *texts = part.split(":")
        if name not in AUGMENTATIONS or name in found:
            raise InputError(
                f"`augment={augment}`: {name!r} is "
                f"{'there twice' if name in found else 'unknown'}; give one or several of "
                f"{SYNTAX}, each once."
            )
        numbers = AUGMENTATIONS[name]
        published = ":".join([name, *(f"{number.published:g}" for number in numbers)])
        if len(texts) > len(numbers):
            raise InputError(
                f"`augment={augment}`: {part!r} has too many numbers; the published change is "
                f"{published}."
            )
        values = [_value(text) for text in texts]
        values += [number.published for number in numbers[len(texts) :]]
        for number, value in zip(numbers, values, strict=True):
            if not number.least <= value <= number.most or (number.whole and value % 1):
                raise InputError(
                    f"`augment={augment}`: {part!r} has no {number.meaning}; the published one is "
                    f"{published}."
                )
        found[name] = values
    operations, magnitude = found.get("randaugment", (0, 0.0))
    each = {name: values[0] for name, values in found.items() if name != "randaugment"}
    return Augmentation(int(operations), magnitude, **each)


def _value(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def check_mixup_alpha(mixup_alpha: float) -> None:
    """Rejects parameters of Beta(a, a) that cannot be drawn from.

    Raises:
        InputError: If it is too small, or not finite.
    """
    if not _LEAST_ALPHA <= mixup_alpha < float("inf"):
        raise InputError(
            f"`mixup_alpha={mixup_alpha:g}` must be a number from {_LEAST_ALPHA:g}: 1 draws shares "
            "uniformly, less draws more of them near 0 and 1."
        )
