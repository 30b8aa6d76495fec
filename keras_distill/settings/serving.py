"""Settings of the command `serve`."""

from dataclasses import dataclass
from pathlib import Path

from keras_distill.data.pixel_limit import MAX_PIXELS
from keras_distill.errors import InputError
from keras_distill.settings.settings import Settings, setting

#: Layout of the folder of models.
LAYOUT = "Models are served from MODELS/NAME/VERSION/saved_model.pb, where VERSION is a number"


@dataclass(frozen=True, kw_only=True)
class ServedModelSettings(Settings, group="Models"):
    """Served models."""

    models: str = setting(
        "", "Folder of all models, as export --out has it: NAME/VERSION/saved_model.pb. Required."
    )
    model_config: str = setting(
        "",
        "File with a ModelServerConfig: versions and labels. The last part of each base_path is "
        "looked up in --models; without --models, the whole path is used. An edit takes effect at "
        "the next poll.",
    )
    poll_seconds: float = setting(
        2.0, "Pause between two looks for new versions; 0 looks only once."
    )

    @property
    def models_folder(self) -> Path | None:
        """Absolute path of the folder of models; `None` if it is not given."""
        return Path(self.models).absolute() if self.models else None

    @property
    def config_file(self) -> Path | None:
        """Path of the configuration; `None` if it is not given."""
        return Path(self.model_config) if self.model_config else None

    def check_models(self) -> None:
        """Rejects a folder of models or a configuration that cannot be used.

        Raises:
            InputError: If one is missing, or the folder of one model or version is given.
        """
        if not (self.models or self.model_config):
            raise InputError(
                "--models is required: the folder that holds one folder for each model."
            )
        if self.models_folder is not None:
            _check_layout(self.models_folder, self.models)
        if self.config_file is not None and not self.config_file.is_file():
            raise InputError(f"--model_config={self.model_config} is not a file.")


@dataclass(frozen=True, kw_only=True)
class ServeSettings(ServedModelSettings):
    """Settings of the command `serve`."""

    host: str = setting(
        "127.0.0.1", "Address to listen at; 0.0.0.0 for all of IPv4.", group="Address"
    )
    port: int = setting(
        8500, "Port of gRPC; 0 for a free one.", group="Address", least=0, most=65535
    )
    rest_port: int | None = setting(
        None,
        "Port of REST and metrics, never encrypted; 0 for a free one, -1 for none. If not given, "
        "8501, or none with TLS.",
        group="Address",
        least=-1,
        most=65535,
    )
    intra_op_threads: int = setting(
        1,
        "Threads for one operation of a graph, as TF-Serving's "
        "--tensorflow_intra_op_parallelism. One is best for small models; a large model answers "
        "a lone request sooner with 0, which is one thread for each core.",
        group="Speed",
        least=0,
        most=1024,
    )
    max_concurrent: int = setting(
        64,
        "Maximum number of predictions at once; more are refused.",
        group="Limits",
        least=1,
        most=4096,
    )
    max_message_megabytes: int = setting(
        64, "Maximum size of a gRPC message.", group="Limits", least=1, most=2047
    )
    max_body_megabytes: int = setting(
        16, "Maximum size of a REST body.", group="Limits", least=1, most=2047
    )
    max_pixels: int = setting(
        MAX_PIXELS, "Height times width of the largest image.", group="Limits", least=1
    )
    drain_seconds: float = setting(
        30.0, "Time for running requests to finish when the server stops.", group="Limits"
    )
    tls_certificate: str = setting("", "PEM file of the server's certificate.", group="Access")
    tls_key: str = setting("", "PEM file of its private key.", group="Access")
    client_ca: str = setting(
        "", "PEM file of the authorities that sign clients' certificates.", group="Access"
    )
    secret_file: str = setting(
        "", "File with a secret that callers send as authorization: Bearer SECRET.", group="Access"
    )

    def check(self) -> None:
        """Rejects what cannot work before TensorFlow is loaded; TLS checks its own files.

        Raises:
            InputError: If a setting is missing or cannot be used.
        """
        self.check_models()
        self.read_secret()

    def read_secret(self) -> bytes | None:
        """Returns the secret that callers must send; `None` if there is none.

        Raises:
            InputError: If the file cannot be read, or does not hold one line of text.
        """
        if not self.secret_file:
            return None
        try:
            secret = Path(self.secret_file).read_bytes().strip()
        except OSError as error:
            raise InputError(
                f"--secret_file={self.secret_file} cannot be read: {error.strerror}."
            ) from error
        if not (secret.isascii() and secret.decode("ascii").isprintable() and secret):
            raise InputError(
                f"--secret_file={self.secret_file} must hold one line of printable ASCII."
            )
        return secret


def _check_layout(models: Path, given: str) -> None:
    """Rejects the folder of a single model or version."""
    if not models.is_dir():
        raise InputError(f"--models={given} is not a folder; export writes one with --out.")
    is_number = models.name.isdecimal()
    if (models / "saved_model.pb").is_file():
        raise InputError(
            f"--models={given} is a single SavedModel. {LAYOUT}; "
            + (f"give --models={models.parents[1]}." if is_number else "move it to such a place.")
        )
    if any(path.name.isdecimal() for path in models.iterdir()):
        raise InputError(
            f"--models={given} is one model, with its versions. {LAYOUT}; "
            f"give --models={models.parent}."
        )
