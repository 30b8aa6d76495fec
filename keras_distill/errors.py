"""Exception for input that cannot be used."""

import contextlib
import re
from collections.abc import Container, Iterator, Mapping

# An argument in a message, `max_gb` or `teacher/large=runs/a`: its name, and maybe its value.
_ARGUMENT = re.compile(r"`([\w/]+)(=[^`]*)?`")


class InputError(ValueError):
    """A mistake in what the user gave: an argument, a flag, a path, a file or an array.

    The message names the argument, its value and the remedy. Arguments of functions stand in
    backquotes, as in "`max_gb=2` is too small; raise `max_gb`." A command shows those that are its
    flags as `--max_gb=2`, without a traceback, and exits with code 2; in a notebook it is an
    ordinary `ValueError`.
    """

    def renamed(self, **names: str) -> "InputError":
        """Returns the same error about arguments of other names.

        Args:
            **names: From the name of an argument to what the caller calls it, `teacher`, maybe with
                the value that the caller was given for it, `teacher=runs/a`.

        Returns:
            The error.

        Example:
            >>> from keras_distill import InputError
            >>> print(InputError("`path=a` does not exist.").renamed(path="teacher"))
            `teacher=a` does not exist.
            >>> print(InputError("`model` takes no images.").renamed(model="teacher=runs/a"))
            `teacher=runs/a` takes no images.
        """
        return InputError(renamed(str(self), names))


def renamed(message: str, names: Mapping[str, str]) -> str:
    """Renames the arguments in a message, which stand in backquotes; see `InputError.renamed`."""

    def rename(match: re.Match[str]) -> str:
        name = names.get(match[1], match[1])
        return f"`{name}`" if "=" in name else f"`{name}{match[2] or ''}`"

    return _ARGUMENT.sub(rename, message)


@contextlib.contextmanager
def renamed_arguments(**names: str) -> Iterator[None]:
    """Within `with`, translates the arguments that an `InputError` names; see `InputError.renamed`.

    Args:
        **names: From the name of an argument of what is called to what the caller calls it.

    Raises:
        InputError: The translated error.
    """
    try:
        yield
    except InputError as error:
        raise error.renamed(**names) from error


def as_flags(message: str, flags: Container[str], switches: Container[str] = ()) -> str:
    """Shows the arguments in a message, which stand in backquotes, as the flags that they are.

    Args:
        message: The message.
        flags: Names of the flags; other arguments only lose their backquotes.
        switches: Names of those that hold no value, `--name` or `--noname`.

    Returns:
        The message.

    Example:
        >>> as_flags("`max_gb=2` is too small for `images`.", ["max_gb"])
        '--max_gb=2 is too small for images.'
    """

    def shown(match: re.Match[str]) -> str:
        name, value = match[1], match[2] or ""
        if name not in flags:
            return f"{name}{value}"
        if name in switches and value in ("=True", "=False"):
            name, value = ("no" if value == "=False" else "") + name, ""
        return f"--{name}{value}"

    return _ARGUMENT.sub(shown, message)
