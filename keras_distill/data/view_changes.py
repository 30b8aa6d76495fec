"""Changes of views: colours that jitter or turn grey, and mixes of two images."""

from dataclasses import dataclass
from typing import Any

from keras_distill.errors import InputError

#: Changes of an image's colours, with the published probability of each.
AUGMENTATIONS = {"jitter": 0.8, "grey": 0.2}

#: How they are written, for help texts.
SYNTAX = ", ".join(f"{name}:P" for name in AUGMENTATIONS)

# To be raised when the pixels of changed or of mixed views change; those of plain views have
# `VIEWS_VERSION`.
_COLOURS_VERSION = 1
_MIXES_VERSION = 1

# A gamma variate for a smaller shape may be 0 in float64, for both images of a mix.
_LEAST_ALPHA = 0.05


@dataclass(frozen=True)
class ViewChanges:
    """Changes of views that student and teacher both see.

    Attributes:
        augment: Changes of colours, such as `"jitter:0.8,grey:0.2"`; see `parse_augmentations`.
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
        if self.augment:
            found["augment"] = dict(sorted(parse_augmentations(self.augment).items()))
            found["colours_version"] = _COLOURS_VERSION
        if self.mixup_alpha is not None:
            found["mixup_alpha"] = float(self.mixup_alpha)
            found["mixes_version"] = _MIXES_VERSION
        return found


def parse_augmentations(augment: str) -> dict[str, float]:
    """Reads changes of colours.

    Args:
        augment: Such as `"jitter:0.8,grey"`; a probability may be left out.

    Returns:
        The probability of each change by name.

    Raises:
        InputError: If a name is unknown or there twice, or a probability out of range.

    Example:
        >>> parse_augmentations("jitter:0.5,grey")
        {'jitter': 0.5, 'grey': 0.2}
    """
    found: dict[str, float] = {}
    for part in augment.split(",") if augment else []:
        name, colon, text = part.partition(":")
        if name not in AUGMENTATIONS or name in found:
            raise InputError(
                f"`augment={augment}`: {name!r} is "
                f"{'there twice' if name in found else 'unknown'}; give one or several of "
                f"{SYNTAX}, each once."
            )
        try:
            probability = float(text) if colon else AUGMENTATIONS[name]
        except ValueError:
            probability = float("nan")
        if not 0.0 < probability <= 1.0:
            raise InputError(
                f"`augment={augment}`: {part!r} has no probability above 0 and up to 1; the "
                f"published one is {name}:{AUGMENTATIONS[name]:g}."
            )
        found[name] = probability
    return found


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
