"""Distortion ladders: names of distortions, each with steps from mild to strong."""

from dataclasses import dataclass

from keras_distill.data.degradation_syntax import Degradation, parse_degradations
from keras_distill.errors import InputError, renamed_arguments


@dataclass(frozen=True)
class Ladder:
    """One distortion at several strengths.

    Attributes:
        name: Its name, as of `parse_degradations`.
        steps: The degradations, from mild to strong.
    """

    name: str
    steps: tuple[Degradation, ...]


# A quality of 0 is 1 in libjpeg. A variance v of values from 0 to 1 is a sigma of 255 sqrt(v).
_LIVE = (
    "blur:1.2/2.5/6.5/15.2/33.2,noise:8.06/19.75/37.82/75.65/255,"
    "jpeg:43/12/7/4/1,jpeg2000:52/150/343/600/1200"
)
_TID2013 = (
    "noise:8.06/18.03/25.5/57.02,colour_noise:30.2/35.9/47.2/58.4,"
    "high_frequency_noise:8.06/18.03/25.5/57.02,impulse_noise:0.005/0.01/0.05/0.1,"
    "quantisation:27/39/55/76,blur:1.2/2.5/6.5/15.2,denoised:8.06/18.03/25.5/57.02,"
    "jpeg:43/12/7/4,jpeg2000:52/150/343/600,displaced_blocks:30/70/150/300,"
    "coloured_blocks:2/4/8/16,brighter:15/30/45/60,darker:15/30/45/60,"
    "less_contrast:0.85/0.7/0.55/0.4,more_contrast:1.2/1.4/1.6/1.8,"
    "less_saturation:0.6/1/1.4/1.8,multiplicative_noise:0.22/0.3/0.36/0.45,"
    "dither:64/48/32/24,aberration:2/6/10/14"
)

#: Ladders by name: those of RankIQA's supplement for LIVE, 4 distortions at 5 levels, and for
#: TID2013, 17 of its 24 distortions at 4 levels, two of which have two sides, a ladder each.
RECIPES = {"live": _LIVE, "tid2013": _TID2013}

#: How ladders are written, for help texts.
SYNTAX = f"{', '.join(RECIPES)}, or NAME:MILD/…/STRONG,NAME:…, all of as many steps"


def parse_ladders(distortions: str) -> tuple[Ladder, ...]:
    """Reads distortion ladders.

    Args:
        distortions: A key of `RECIPES`, or such as `"jpeg:43/12/7,blur:1/2/4"`.

    Returns:
        The ladders, all with the same number of steps.

    Raises:
        InputError: If a name is unknown, a number out of range, or the numbers of steps differ.

    Example:
        >>> [ladder.name for ladder in parse_ladders("live")]
        ['blur', 'noise', 'jpeg', 'jpeg2000']
        >>> len(parse_ladders("tid2013")), len(parse_ladders("tid2013")[0].steps)
        (19, 4)
    """
    ladders: list[Ladder] = []
    for part in RECIPES.get(distortions, distortions).split(","):
        name, _, numbers = part.partition(":")
        if not name:
            raise InputError(f"`distortions={distortions}`: '' is unknown; give {SYNTAX}.")
        with renamed_arguments(degrade="distortions"):
            steps = [
                step
                for number in numbers.split("/")
                for step in parse_degradations(f"{name}:{number}" if number else name)
            ]
        if name in [ladder.name for ladder in ladders]:
            raise InputError(f"`distortions={distortions}` has {name} twice; give it once.")
        ladders.append(Ladder(name, tuple(steps)))
    lengths = {len(ladder.steps) for ladder in ladders}
    if len(lengths) > 1:
        first, other = ladders[0], next(x for x in ladders if len(x.steps) != len(ladders[0].steps))
        raise InputError(
            f"`distortions={distortions}`: {first.name} has {len(first.steps)} steps, {other.name} "
            f"{len(other.steps)}; give each as many."
        )
    return tuple(ladders)
