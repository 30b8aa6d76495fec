"""The exception for input that cannot be used."""

import re


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
            **names: From the name of an argument to what the caller calls it.

        Returns:
            The error.

        Example:
            >>> from keras_distill import InputError
            >>> print(InputError("`path=a` does not exist.").renamed(path="teacher"))
            `teacher=a` does not exist.
        """

        def rename(match: re.Match[str]) -> str:
            return f"`{names.get(match[1], match[1])}"

        return InputError(re.sub(r"`(\w+)(?==[^`]*`|`)", rename, str(self)))
