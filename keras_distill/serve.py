"""Serves exported models on this machine, without Docker, as TF-Serving does.

Every model of --models is served in its newest version, by gRPC (PredictionService, ModelService,
grpc.health.v1) and by REST with Prometheus metrics. New versions are loaded as they appear. Where
answers differ from TF-Serving's, keras_distill/serving/README.md says so.

  python -m keras_distill.serve --models=models
  python -m keras_distill.serve --models=models --model_config=serving/config/models.config

When it is ready, it prints one line of JSON: addresses and models. It logs to stderr. On SIGTERM it
accepts no new requests, finishes the running ones, and ends.

Exit codes: 0 stopped, 2 unusable flags or input.
"""

import logging
from typing import NoReturn

from keras_distill.errors import renamed_arguments
from keras_distill.settings.command import Command
from keras_distill.settings.serving import ServeSettings

COMMAND = Command("keras_distill.serve", __doc__, ServeSettings)
_log = logging.getLogger("keras_distill.serve")


def main(settings: ServeSettings) -> NoReturn:
    """Serves until a signal ends the process."""
    settings.check()

    from keras_distill.serving.embedded.packages import check_packages

    check_packages()

    from keras_distill.serving.embedded.credentials import tls_credentials
    from keras_distill.serving.embedded.server_log import log_to_stderr, unprotected

    files = settings.tls_certificate, settings.tls_key, settings.client_ca
    with renamed_arguments(certificate="tls_certificate", key="tls_key"):
        credentials = tls_credentials(*files)
    secret = settings.read_secret()
    log_to_stderr()
    if lacks := unprotected(settings.host, encrypted=bool(credentials), secret=bool(secret)):
        text = "--host=%s is open to other machines without %s: see --tls_certificate and "
        _log.warning(f"{text}--secret_file", settings.host, lacks)

    from keras_distill.serving.embedded.server_process import run_server

    run_server(settings, credentials, secret)


if __name__ == "__main__":
    COMMAND.run(main)
