"""Order of the labels of a data set: by frequency, or as a list says."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from keras_distill.data.row_problems import RowProblems
from keras_distill.errors import InputError


def by_frequency(labels: Iterable[Mapping[str, int]], declared: Iterable[str] = ()) -> list[str]:
    """Orders labels by the number of images that have them.

    Args:
        labels: For each image the target of each label that is named; 1 is counted.
        declared: Labels that exist in any case.

    Returns:
        The labels, the most frequent first, those of equal number by name.

    Example:
        >>> by_frequency([{"cat": 1}, {"dog": 1, "cow": 1}, {"dog": 1, "elk": -1}])
        ['dog', 'cat', 'cow', 'elk']
    """
    count: Counter[str] = Counter(dict.fromkeys(declared, 0))
    for each in labels:
        for name, target in each.items():
            count[name] += target == 1
    return sorted(count, key=lambda name: (-count[name], name))


def read_class_list(classes: str | Path | Sequence[str]) -> list[str]:
    """Reads a list of labels.

    Args:
        classes: The names, or a text file with one a line; empty lines are skipped.

    Returns:
        The names in their order.

    Raises:
        InputError: If the file cannot be read, a name is there twice, or there are none.
    """
    if isinstance(classes, str | Path):
        subject, file = f"`classes={str(classes)!r}`", Path(classes).expanduser()
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{subject} cannot be read ({error}); give a text file with one name a line."
            ) from error
    else:
        subject, file, lines = "`classes`", Path("classes"), list(classes)
    names: dict[str, int] = {}
    problems = RowProblems()
    for number, line in enumerate(lines, 1):
        name = line.strip()
        if name in names:
            problems.add(file, number, f"{name!r} is also in line {names[name]}")
        elif name:
            names[name] = number
    problems.check(subject)
    if not names:
        raise InputError(f"{subject} names no class; give at least one.")
    return list(names)
