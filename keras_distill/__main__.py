"""Program `keras-distill`: lists the commands, or runs the one that is named.

`keras-distill train` is `python -m keras_distill.train`.
"""

import os
import sys

from keras_distill import __version__
from keras_distill.settings.interruption import end_at_once_on_ctrl_c
from keras_distill.settings.unread_output import ended_when_unread

#: In the order in which they are needed.
COMMANDS = (
    "demo",
    "doctor",
    "cache",
    "train",
    "evaluate",
    "ablate",
    "export",
    "report",
    "embed",
    "embed_beam",
    "index",
    "select",
    "serve",
    "client",
)
_BAD_INPUT = 2


@ended_when_unread()
def main() -> None:
    """Runs the command that the first argument names with the other arguments, and exits."""
    end_at_once_on_ctrl_c()
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("--help", "-h", "help"):
        print(_overview())
    elif name == "--version":
        print(f"keras_distill {__version__}")
    elif (command := name.replace("-", "_")) in COMMANDS:
        import runpy

        sys.argv[1:] = arguments
        runpy.run_module(f"keras_distill.{command}", run_name="__main__", alter_sys=True)
    else:
        print(f"keras_distill: {_unknown(name)}", file=sys.stderr)
        sys.exit(_BAD_INPUT)


def _overview() -> str:
    import ast
    import shutil
    import textwrap
    from pathlib import Path

    width = shutil.get_terminal_size().columns
    lines = []
    for command in COMMANDS:
        # Read, not imported: all of them together would take a while.
        file = f"{command}/__main__.py" if command == "demo" else f"{command}.py"
        source = (Path(__file__).parent / file).read_text(encoding="utf-8")
        summary = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
        lines.append(
            textwrap.fill(
                summary,
                width,
                initial_indent=f"  {command:12}",
                subsequent_indent=" " * 14,
                break_on_hyphens=False,
            )
        )
    program = _program()
    return "\n".join(
        [
            f"{program} COMMAND [--flag=value ...]",
            "",
            *lines,
            "",
            f"{program} COMMAND --help describes a command, {program} --version shows the version.",
        ]
    )


def _unknown(name: str) -> str:
    import difflib

    if name.startswith("-"):
        return f"{name!r} is not a command; the command comes first: {_program()} COMMAND {name}"
    near = difflib.get_close_matches(name.replace("-", "_"), COMMANDS, n=1)
    advice = f"Did you mean {near[0]}?" if near else f"There are {', '.join(COMMANDS)}."
    return f"{name!r} is not a command. {advice}\nSee `{_program()} --help`."


def _program() -> str:
    called = os.path.basename(sys.argv[0])
    return "python -m keras_distill" if called == "__main__.py" else called


if __name__ == "__main__":
    main()
