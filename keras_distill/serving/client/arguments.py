"""The arguments of the client, refused early and by name where they cannot be used."""

import re
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any

_LONGEST_SECONDS = 1e8  # three years; gRPC fails at once with more than it can count
# What gRPC resolves by itself; https://grpc.github.io/grpc/core/md_doc_naming.html
_SCHEMES = ("unix:", "unix-abstract:", "vsock:", "ipv4:", "ipv6:", "xds:")
_HOST_AND_PORT = re.compile(r"(?P<host>\[[0-9a-fA-F:.%\w]+\]|[^\[\]:/\s]+):(?P<port>\d{1,5})")
_HEADER_KEY = re.compile(r"[0-9a-z_.-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")


def check_integer(name: str, value: Any, *, optional: bool = False) -> None:
    """Refuses what is not a positive integer.

    Args:
        name: Name of the argument.
        value: Its value.
        optional: Whether it may be `None`.

    Raises:
        TypeError: If it has another type.
        ValueError: If it is not positive.

    Example:
        >>> check_integer("version", "3", optional=True)
        Traceback (most recent call last):
        TypeError: version='3' is of type str; give an int, or None.
    """
    if optional and value is None:
        return
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise _wrong_type(name, value, "an int", optional=optional)
    if value < 1:
        raise ValueError(f"{name}={value} is not positive.")


def check_seconds(name: str, value: Any) -> None:
    """Refuses what is not a positive number of seconds that gRPC can count.

    Args:
        name: Name of the argument.
        value: Its value.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise _wrong_type(name, value, "a number of seconds")
    if not float(value) > 0:
        raise ValueError(f"{name}={value} is not positive.")
    if float(value) > _LONGEST_SECONDS:
        raise ValueError(f"{name}={value} is too long; give at most {_LONGEST_SECONDS:.0f}.")


def check_text(name: str, value: Any, what: str, *, optional: bool = False) -> None:
    """Refuses what is not a text, or an empty one.

    Args:
        name: Name of the argument.
        value: Its value.
        what: What the text has to be.
        optional: Whether it may be `None`.

    Raises:
        TypeError: If it has another type.
        ValueError: If it is empty.
    """
    if optional and value is None:
        return
    if not isinstance(value, str):
        raise _wrong_type(name, value, f"a str, {what}", optional=optional)
    if not value:
        raise ValueError(f"{name}='' is empty; give {what}{', or None' if optional else ''}.")


def check_address(address: Any) -> None:
    """Refuses what is not the address of a gRPC port.

    Args:
        address: `host:port`; or another name that gRPC resolves, such as `unix:/run/serving.sock`.

    Raises:
        TypeError: If it is not a text.
        ValueError: If the port is missing, or it is a URL.
    """
    check_text("address", address, "host:port, such as localhost:8500")
    if address.startswith(("http://", "https://")):
        tls = " and tls=Tls() for encryption" if address.startswith("https") else ""
        raise ValueError(
            f"address={address!r} is a URL; give host:port of the gRPC port, such as "
            f"localhost:8500{tls}."
        )
    if address.startswith(_SCHEMES):
        return
    place = re.sub(r"^dns:(//[^/]*/)?", "", address) if address.startswith("dns:") else address
    found = _HOST_AND_PORT.fullmatch(place)
    if found and 0 < int(found["port"]) < 2**16:
        return
    if not found and place.count(":") > 1 and "[" not in place:
        raise ValueError(
            f"address={address!r}: write an IPv6 address in brackets, such as [::1]:8500."
        )
    if found and int(found["port"]):
        fault = "has a port beyond 65535"
    else:
        fault = "has no host" if place.startswith(":") else "has no port"
    raise ValueError(f"address={address!r} {fault}; give host:port, such as localhost:8500.")


def checked_metadata(metadata: Any) -> tuple[tuple[str, str], ...]:
    """Returns headers as gRPC wants them; never shows their values, which may be secrets.

    Args:
        metadata: A mapping from names to values, or pairs of them.

    Returns:
        Pairs with names in lower case.

    Raises:
        TypeError: If it is something else.
        ValueError: If a name or a value cannot be sent.
    """
    pairs = metadata.items() if isinstance(metadata, Mapping) else metadata
    if isinstance(pairs, str | bytes) or not isinstance(pairs, Iterable):
        raise TypeError(
            f"metadata is of type {type(metadata).__name__}; give a dict of headers, such as "
            "{'x-api-key': SECRET}, or pairs."
        )
    return tuple(_header(pair) for pair in pairs)


def _header(pair: Any) -> tuple[str, str]:
    if isinstance(pair, str | bytes) or not isinstance(pair, Iterable):
        raise TypeError(
            f"metadata: a {type(pair).__name__} is no pair of a header's name and text."
        )
    pair = tuple(pair)
    if len(pair) != 2 or not all(isinstance(part, str) for part in pair):
        kinds = ", ".join(type(part).__name__ for part in pair)
        raise TypeError(f"metadata: ({kinds}) is no pair of a header's name and text, both str.")
    key, value = pair[0].lower(), pair[1]
    if key.endswith("-bin"):
        raise ValueError(f"metadata: {key!r} is a binary header; texts alone can be sent.")
    if not _HEADER_KEY.fullmatch(key):
        raise ValueError(
            f"metadata: {key!r} is no name of a header: letters, digits, '-', '_', '.'."
        )
    if not _HEADER_VALUE.fullmatch(value):
        raise ValueError(
            f"metadata: the value of {key!r} holds a line break or another character that is not "
            "printable ASCII; strip it."
        )
    return key, value


def _wrong_type(name: str, value: Any, wanted: str, *, optional: bool = False) -> TypeError:
    kind = "" if value is None else f" is of type {type(value).__name__}"
    return TypeError(f"{name}={value!r}{kind}; give {wanted}{', or None' if optional else ''}.")
