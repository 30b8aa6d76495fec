"""Flags whose names may be written with dashes."""

import itertools
from collections.abc import Sequence

from absl import flags


class DashedFlagValues(flags.FlagValues):
    """Flag values that take `--run-dir` as `--run_dir` and `--no-fast` as `--nofast`.

    It holds on the command line and in flag files; values keep their dashes.

    Example:
        >>> values = DashedFlagValues()
        >>> _ = flags.DEFINE_boolean("as_json", True, "Its form.", flag_values=values)
        >>> values(["program", "--no-as-json"])
        ['program']
        >>> values.as_json
        False
    """

    def read_flags_from_files(self, argv: Sequence[str], force_gnu: bool = True) -> list[str]:
        # First the arguments: absl does not look for flag files behind `--unknown value`.
        expanded = super().read_flags_from_files(self._with_underscores(argv), force_gnu)
        return self._with_underscores(expanded)

    def _with_underscores(self, argv: Sequence[str]) -> list[str]:
        arguments: list[str] = []
        rest = iter(argv)
        for argument in rest:
            if argument == "--":
                return [*arguments, argument, *rest]
            written, equals, value = argument.partition("=")
            name = self._known(written.lstrip("-")) if written.startswith("-") else ""
            arguments.append(f"--{name}{equals}{value}" if name else argument)
            if name in self and not self[name].boolean and not equals:
                arguments += itertools.islice(rest, 1)  # its value
        return arguments

    def _known(self, name: str) -> str:
        """The name of the flag, with "no" in front if that is meant; empty if there is none."""
        name = name.replace("-", "_")
        opposite = name.removeprefix("no").removeprefix("_")
        if name in self:
            return name
        if name.startswith("no") and opposite in self and self[opposite].boolean:
            return f"no{opposite}"
        return ""
