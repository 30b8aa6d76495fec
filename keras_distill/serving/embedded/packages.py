"""Packages that the embedded server needs."""

import importlib.util

from keras_distill.errors import InputError

# The distribution of each module; the extra `serve` has all of them.
_NEEDED = {
    "grpc_health": "grpcio-health-checking",
    "prometheus_client": "prometheus-client",
    "tensorflow_serving": "tensorflow-serving-api",
    "waitress": "waitress",
    "werkzeug": "werkzeug",
}


def check_packages() -> None:
    """Checks that the packages of the extra `serve` are installed.

    Raises:
        InputError: If one is missing.
    """
    missing = [name for module, name in _NEEDED.items() if not importlib.util.find_spec(module)]
    if missing:
        raise InputError(
            f"{', '.join(missing)} is not installed; pip install 'keras_distill[serve]'."
        )
