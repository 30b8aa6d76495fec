"""Log of the embedded server."""

import ipaddress
import logging
import sys


def log_to_stderr() -> None:
    """Writes what the package logs to stderr, with times."""
    # Not by the root logger, which TensorFlow sets to its liking.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("keras_distill")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def unprotected(host: str, *, encrypted: bool, secret: bool) -> str:
    """Returns the protection that a server lacks, if other machines can reach it.

    Args:
        host: Address that it listens at.
        encrypted: Whether it uses TLS.
        secret: Whether callers must send a secret.

    Returns:
        The missing protection; empty if nothing is missing or no other machine can reach it.

    Example:
        >>> unprotected("0.0.0.0", encrypted=False, secret=False)
        'TLS and a secret'
        >>> unprotected("localhost", encrypted=False, secret=False)
        ''
    """
    try:
        is_local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = host == "localhost"
    lacks = [name for name, has in (("TLS", encrypted), ("a secret", secret)) if not has]
    return "" if is_local else " and ".join(lacks)
