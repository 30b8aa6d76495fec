"""Settings: frozen dataclasses whose fields are flags."""

import dataclasses
import inspect
from typing import Any, ClassVar, TypeVar

_S = TypeVar("_S", bound="Settings")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Base class of all settings.

    A subclass holds the flags of one group, each a field made by `setting`. The settings of a
    command inherit the groups that it takes, so that a function can ask for the one group that it
    reads, as in `build_optimizer(settings: OptimizerSettings)`.

    Class keyword arguments:
        group: Heading of the fields in the help; fields may name another one.

    Args:
        given: Names of the fields that were given, not left at their defaults.

    Example:
        >>> import dataclasses
        >>> from keras_distill.settings.settings import Settings, setting
        >>> @dataclasses.dataclass(frozen=True, kw_only=True)
        ... class PaintSettings(Settings, group="Paint"):
        ...     colour: str = setting("red", "Name of the colour.")
        ...     layers: int = setting(1, "Layers of paint.", least=1)
        >>> PaintSettings(layers=2).colour
        'red'
    """

    given: frozenset[str] = frozenset()

    _group: ClassVar[str] = ""

    def __init_subclass__(cls, group: str = "", **kwargs: Any):
        super().__init_subclass__(**kwargs)
        cls._group = group

    def replace(self: _S, **values: Any) -> _S:
        """Returns these settings with other values."""
        return dataclasses.replace(self, **values)


def setting(
    default: Any,
    text: str,
    *,
    group: str = "",
    least: int | None = None,
    most: int | None = None,
    choices: Any = (),
    free: bool = False,
    formerly: str = "",
) -> Any:
    """Makes a field of `Settings`, whose annotation is the type of the flag.

    `str`, `bool`, `int` and `float` may be followed by `| None`; `tuple[str, ...]` is a flag that
    may be given several times. A `float` is finite and at least 0.

    Args:
        default: Value if the flag is not given.
        text: The flag's help.
        group: Heading in the help, in place of the one of the class.
        least: Smallest integer.
        most: Largest integer.
        choices: The allowed words.
        free: Whether the flag may differ when a run is resumed, because nothing that is learned
            depends on it.
        formerly: Old name of the flag, which is still taken.

    Returns:
        The field.
    """
    metadata = {
        "text": text,
        "group": group,
        "least": least,
        "most": most,
        "choices": list(choices),
        "free": free,
        "formerly": formerly,
    }
    return dataclasses.field(default=default, metadata=metadata)


def fields_by_group(kind: type[Settings]) -> dict[str, list[dataclasses.Field[Any]]]:
    """Returns the fields that are flags, by heading, in the order of the help.

    Args:
        kind: A class of settings.

    Returns:
        The fields of each group: first those of the first base class.
    """
    fields = {field.name: field for field in dataclasses.fields(kind) if field.metadata}
    groups: dict[str, list[dataclasses.Field[Any]]] = {}
    for base in (*kind.__mro__[1:], kind):
        for name in inspect.get_annotations(base):
            if name in fields:
                field = fields.pop(name)
                heading = field.metadata["group"] or base.__dict__.get("_group", "")
                groups.setdefault(heading, []).append(field)
    return groups


def names_of(settings: Settings) -> list[str]:
    """Returns the names of the fields that are flags."""
    return [field.name for field in dataclasses.fields(settings) if field.metadata]


def fixed_values(settings: Settings) -> dict[str, Any]:
    """Returns what must be equal in a run that is resumed, by name."""
    return {
        field.name: getattr(settings, field.name)
        for field in dataclasses.fields(settings)
        if field.metadata and not field.metadata["free"]
    }
