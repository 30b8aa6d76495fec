"""Result of a protocol: figures for machines, a table and sentences for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class ProtocolResult:
    """Result of a protocol.

    Attributes:
        figures: The figures by name, which may be nested; fractions, not percent.
        intervals: Their 95 % intervals, `[lower, upper]`, by the same names.
        table: Table of the figures for the console, or several.
        notes: Lines below the table.
        warnings: Reasons why the figures mean little or nothing.
        more: Other keys of the JSON, plain values.
    """

    figures: Mapping[str, Any]
    intervals: Mapping[str, Any]
    table: "RenderableType"
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()
    more: Mapping[str, Any] = field(default_factory=dict)
