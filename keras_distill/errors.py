"""The one exception that means: the input is at fault, not the program."""


class InputError(ValueError):
    """A mistake in what the user gave: a flag, a path, a file or an array.

    The message names the argument, the value and the remedy. The commands print it without a
    traceback and exit with code 2; in a notebook it is an ordinary `ValueError`.
    """
