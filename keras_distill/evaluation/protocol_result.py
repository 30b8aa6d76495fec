"""Result of a protocol: figures for machines, a table and sentences for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class ProtocolResult:
    """What a protocol measured.

    Attributes:
        figures: The figures by name, which may be nested; fractions, not percent.
        intervals: Their 95 % intervals, `[least, greatest]`, by the same names.
        table: What the console shows of them.
        notes: Lines below the table.
        warnings: What makes the figures mean little or nothing.
        more: Other keys of the JSON, plain values.
    """

    figures: Mapping[str, Any]
    intervals: Mapping[str, Any]
    table: "Table"
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()
    more: Mapping[str, Any] = field(default_factory=dict)
