"""Former names of arguments, which are taken for one version."""

import functools
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def former_arguments(**names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Makes a function take keyword arguments by their former names too, with a warning.

    Args:
        **names: From the former name to the present one.

    Returns:
        A decorator.

    Example:
        >>> import warnings
        >>> warnings.simplefilter("ignore")
        >>> @former_arguments(trunk="backbone")
        ... def build(backbone):
        ...     return backbone
        >>> build(trunk="mobilenet")
        'mobilenet'
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            for former, name in names.items():
                if former in kwargs:
                    warnings.warn(
                        f"{function.__name__}: {former} is called {name} now.",
                        FutureWarning,
                        stacklevel=2,
                    )
                    kwargs[name] = kwargs.pop(former)
            return function(*args, **kwargs)

        return call

    return decorate
