"""Commands: flags in groups, help, and exit codes."""

import copy
import dataclasses
import errno
import itertools
import math
import os
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from absl import flags

from keras_distill.errors import InputError, as_flags
from keras_distill.settings.dashed_flags import DashedFlagValues
from keras_distill.settings.interruption import INTERRUPTED as INTERRUPTED
from keras_distill.settings.interruption import interruptible
from keras_distill.settings.settings import Settings, fields_by_group
from keras_distill.settings.unread_output import ended_when_unread

S = TypeVar("S", bound=Settings)

SUCCESS, FAILURE, BAD_INPUT, DIVERGED, WORKER_LOST = range(5)
SOME_REFUSED = 4  # some images have no embedding; everything else was written
TERMINATED = 143


class Command(Generic[S]):
    """One command: its flags in named groups, its help, and its exit codes.

    Flags come from the command line and from `--flagfile=FILE` (one flag a line, `#` comments;
    later ones win), with dashes or underscores in their names. Each command has flags of its own,
    so that several can be imported together.

    Args:
        module: Module that `python -m` runs.
        description: Text of the help; its first line also names the command in error messages.
        settings: The class whose fields are the flags.
        verbs: Words, one of which the command line must begin with; `parse` puts it into `verb`.
        passes_on: Whether arguments after `--` belong to another program; `parse` puts them into
            `passed_on`.
        others: Settings of other commands, whose flag files this one reads too: their flags are
            ignored in flag files, but not on the command line.
        foreign: Messages about flags that are unknown here, by name.
        operands: From a verb to the flag, which may be given several times, that takes the
            arguments which are no flags.
    """

    def __init__(
        self,
        module: str,
        description: str,
        settings: type[S],
        verbs: Sequence[str] = (),
        *,
        passes_on: bool = False,
        others: Iterable[type[Settings]] = (),
        foreign: Mapping[str, str] = MappingProxyType({}),
        operands: Mapping[str, str] = MappingProxyType({}),
    ):
        self.module = module
        self.verbs = tuple(verbs)
        self.verb = ""
        self.passed_on: list[str] = []
        self.flags = DashedFlagValues()
        self._passes_on = passes_on
        self.settings = settings
        self._others = tuple(others)
        self._foreign = foreign
        self._operands = operands
        self.flags.set_gnu_getopt(bool(operands))  # flags may follow them
        self._description = description
        self._groups = fields_by_group(settings)
        flags.DEFINE_string(
            "flagfile", None, "File with one flag a line; see configs/.", flag_values=self.flags
        )
        kinds = typing.get_type_hints(settings)
        for field in (field for fields in self._groups.values() for field in fields):
            _define(self.flags, field, kinds[field.name])

    def parse(self, argv: Sequence[str], *, known_only: bool = False) -> S:
        """Reads the arguments into settings; all others have their defaults.

        Args:
            argv: Arguments without the program's name.
            known_only: Whether arguments that are not flags are ignored.

        Returns:
            The settings, not checked yet.

        Raises:
            InputError: If an argument is not a flag, or has an invalid value.
        """
        self.flags.unparse_flags()
        if self._passes_on:
            end = list(argv).index("--") if "--" in argv else len(argv)
            argv, self.passed_on = argv[:end], list(argv[end + 1 :])
        if self.verbs:
            self.verb, argv = (argv[0], argv[1:]) if argv else ("", argv)
            if self.verb not in self.verbs:
                raise InputError(f"{self.verb!r} must be one of {', '.join(self.verbs)}.")
        try:
            unparsed = self.flags(
                [self.module, *self._with_flag_files(argv)], known_only=known_only
            )[1:]
        except flags.UnrecognizedFlagError as error:
            why = self._foreign.get(error.flagname)
            raise InputError(f"--{error.flagname} {why}." if why else str(error)) from error
        except (flags.Error, ValueError) as error:  # the latter for --nofast=1
            raise InputError(str(error)) from error
        operand = self._operands.get(self.verb)
        if unparsed and not known_only and not operand:
            raise InputError(f"{unparsed[0]!r} is not a flag; flags look like --name=value.")
        values = {name: self.flags[name].value for name in self._names()}
        values |= {
            name: tuple(value or ())
            for name, value in values.items()
            if isinstance(self.flags[name], flags.MultiFlag)
        }
        given = frozenset(
            name for name, value in values.items() if self.flags[name].present and value is not None
        )
        if operand and unparsed:
            values[operand] = (*(values[operand] or ()), *unparsed)
            given |= {operand}
        return self.settings(given=given, **values)

    @ended_when_unread()
    def run(self, main: Callable[[S], int | None], argv: Sequence[str] | None = None) -> None:
        """Parses the flags, calls `main` with the settings, and exits.

        The exit code is what `main` returns, 0 for `None`; 2 for unusable flags or input, with one
        message and no traceback.

        Args:
            main: The command.
            argv: Arguments without the program's name; `sys.argv[1:]` by default.
        """
        argv = list(sys.argv[1:] if argv is None else argv)
        if {"--help", "-h", "--helpfull", "-help"} & set(argv):
            self._print_help()
            sys.exit(SUCCESS)
        # TensorFlow reports each missing GPU driver, which would hide the command's own output.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        # gRPC logs each handshake of TLS that fails; the last failure is part of the error.
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
        try:
            with interruptible():
                code = main(self.parse(argv))
        except InputError as error:
            self._fail(
                f"{self._as_flags(str(error))}\nSee `python -m {self.module} --help`.", BAD_INPUT
            )
        except KeyboardInterrupt:
            self._fail("interrupted", INTERRUPTED)
        except Exception as error:  # Python, TensorFlow and HDF5 each have a class of their own
            if os.strerror(errno.ENOSPC) not in str(error):
                raise
            self._fail(f"the disk is full; free some space. {error}", BAD_INPUT)
        sys.exit(code)

    def text(self, settings: S | None = None, *, without: str = "") -> str:
        """Returns settings, except for `without`, as the content of a flag file."""
        lines = []
        for name in self._names():
            flag = self.flags[name]
            if settings is not None:
                value = getattr(settings, name)
                flag = copy.deepcopy(flag)
                flag.value = list(value) if isinstance(value, tuple) else value
            if name != without and flag.value is not None:
                lines.append(f"{flag.serialize()}\n")
        return "".join(lines)

    def _names(self) -> list[str]:
        return [field.name for fields in self._groups.values() for field in fields]

    def _as_flags(self, message: str) -> str:
        """Shows the arguments of functions, which stand in backquotes, as the flags they are."""
        switches = [name for name in self.flags if self.flags[name].boolean]
        return as_flags(message, list(self.flags), switches)

    def _with_flag_files(self, argv: Sequence[str]) -> list[str]:
        """Replaces flag files by their content, without the flags of the other commands."""
        if not self._others:
            return list(argv)
        foreign = set()
        for settings in self._others:
            other = Command(self.module, "", settings)
            names = [name for name in other.flags if name not in self.flags]
            booleans = [name for name in names if other.flags[name].boolean]
            foreign |= {*names, *(f"{no}{name}" for name in booleans for no in ("no", "no_"))}
        expanded, rest = [], list(argv)
        while rest:
            count = 2 if rest[0] in ("--flagfile", "-flagfile") else 1
            taken, rest = rest[:count], rest[count:]
            held = self.flags.read_flags_from_files(taken, force_gnu=False)
            if held != taken:
                held = [flag for flag in held if _flag_name(flag) not in foreign]
            expanded += held
        return expanded

    def _fail(self, message: str, code: int) -> None:
        print(f"{self.module.rpartition('.')[2]}: {message}", file=sys.stderr)
        sys.exit(code)

    def _print_help(self) -> None:
        from rich.console import Console
        from rich.padding import Padding
        from rich.text import Text

        console = Console(highlight=False)
        print(self._description.strip())  # as written: rich would wrap the examples
        groups = {group: [f.name for f in fields] for group, fields in self._groups.items()}
        for group, names in {**groups, "Flag files": ["flagfile"]}.items():
            console.print(f"\n[bold]{group}[/bold]")
            for name in names:
                flag = self.flags[name]
                default_text = "" if flag.default in (None, "") else f" (default {flag.default})"
                console.print(Text(f"  --{name}{_value_hint(flag)}", style="cyan"))
                # absl puts the choices in front, and how to give several behind.
                text = flag.help.rpartition(">: ")[2].partition(";\n")[0]
                console.print(Padding(Text(text + default_text), (0, 0, 0, 6)))


def _define(values: DashedFlagValues, field: dataclasses.Field[Any], kind: Any) -> None:
    """Defines the flag of a field, whose type is `kind`."""
    optional = isinstance(kind, types.UnionType)  # such as `int | None`
    if optional:
        kind = next(each for each in typing.get_args(kind) if each is not type(None))
    name, more = field.name, field.metadata
    default: Any = field.default
    given = (name, default, more["text"])
    if typing.get_origin(kind) is tuple:
        flags.DEFINE_multi_string(name, None, more["text"], flag_values=values)
    elif more["choices"]:
        flags.DEFINE_enum(name, default, more["choices"], more["text"], flag_values=values)
    elif kind is bool:
        flags.DEFINE_boolean(*given, flag_values=values)
    elif kind is int:
        flags.DEFINE_integer(*given, more["least"], more["most"], flag_values=values)
    elif kind is float:
        flags.DEFINE_float(*given, lower_bound=0.0, flag_values=values)
        flags.register_validator(
            name, lambda v: v is None or math.isfinite(v), "not finite.", flag_values=values
        )
    else:
        flags.DEFINE_string(*given, flag_values=values)
    if optional and not more["choices"]:
        values[name].parser = _OptionalParser(values[name].parser)
    if more["formerly"]:
        flags.DEFINE_alias(more["formerly"], name, flag_values=values)


class _OptionalParser(flags.ArgumentParser):
    """Takes an empty value as none, which takes back what a flag file has set."""

    def __init__(self, parser: flags.ArgumentParser):
        self._parser = parser
        self.syntactic_help = parser.syntactic_help

    def parse(self, argument: Any) -> Any:
        return None if argument == "" else self._parser.parse(argument)

    def flag_type(self) -> str:
        return self._parser.flag_type()


def _flag_name(argument: str) -> str:
    return argument.lstrip("-").partition("=")[0].replace("-", "_")


def _value_hint(flag: flags.Flag) -> str:
    if isinstance(flag, flags.EnumFlag) and len(flag.parser.enum_values) <= 4:
        return "=" + "|".join(flag.parser.enum_values)
    return {"bool": "", "int": "=N", "float": "=X"}.get(flag.flag_type(), "=TEXT")


def flag_files(argv: Sequence[str] | None = None) -> list[Path]:
    """Returns the flag files that a command line names."""
    argv = list(sys.argv[1:] if argv is None else argv)
    files = []
    for argument, following in itertools.pairwise([*argv, ""]):
        name, equals, value = argument.lstrip("-").partition("=")
        if argument.startswith("-") and name == "flagfile":
            files.append(Path(value if equals else following))
    return files
