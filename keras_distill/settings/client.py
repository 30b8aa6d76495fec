"""Settings of the command `client`."""

from dataclasses import dataclass
from pathlib import Path

from keras_distill.errors import InputError
from keras_distill.settings.settings import Settings, setting

_ONLY_OF = {
    **dict.fromkeys(("images", "batch_size", "in_flight", "out"), ("embed", "predict")),
    "image": ("embed", "predict", "match"),
    **dict.fromkeys(("calibration", "share_of_same"), ("match",)),
    **dict.fromkeys(("output", "labels", "threshold"), ("predict",)),
    "limit": ("wait",),
    "golden": ("smoke",),
    "rest": ("smoke", "status"),
}


@dataclass(frozen=True, kw_only=True)
class ConnectionSettings(Settings):
    """A server, the connection to it, a model on it, and the images to send."""

    address: str = setting("localhost:8500", "host:port of gRPC on the server.", group="Server")
    rest: str = setting(
        "",
        "host:port of REST on the server. smoke: compare its answers, too. status without --model: "
        "where the metrics are; port 8501 if --address has port 8500.",
        group="Server",
    )
    model: str = setting("", "Name of the model. Required, except by status.", group="Server")
    version: int | None = setting(
        None, "Its version; the newest if not given.", group="Server", least=1
    )
    label: str = setting(
        "", "Instead of --version, a label of a version, such as stable.", group="Server"
    )
    timeout: float = setting(30.0, "Seconds for one request, its retries included.", group="Server")
    metadata: tuple[str, ...] = setting(
        (), "KEY=VALUE, a header of each call, such as a shared secret.", group="Server"
    )
    tls: bool = setting(False, "Use TLS; the next three flags imply it.", group="Encryption")
    root_certificates: str = setting(
        "",
        "PEM file of the authorities that may sign the server's certificate.",
        group="Encryption",
    )
    certificate: str = setting("", "PEM file of the client's certificate.", group="Encryption")
    key: str = setting("", "PEM file of its private key.", group="Encryption")
    images: str = setting("", "embed, predict: folder of JPEG and PNG images.", group="Images")
    image: tuple[str, ...] = setting(
        (),
        "embed, predict: instead of --images, a file; may be given several times.",
        group="Images",
    )
    batch_size: int = setting(
        32, "embed, predict: maximum number of images in a request.", group="Images", least=1
    )
    in_flight: int = setting(
        4, "embed, predict: maximum number of requests at once.", group="Images", least=1
    )

    def headers(self) -> list[tuple[str, str]]:
        """Returns the headers of each call.

        Raises:
            InputError: If one is not KEY=VALUE.
        """
        pairs = [pair.partition("=") for pair in self.metadata]
        for key, equals, _ in pairs:
            if not (key and equals):
                raise InputError("--metadata must be KEY=VALUE; one of them is not.")
        return [(key, value) for key, _, value in pairs]


@dataclass(frozen=True, kw_only=True)
class ClientCommandSettings(ConnectionSettings):
    """Settings of the command `client`."""

    out: str = setting(
        "",
        "embed: .npz or .npy file for the vectors; predict: .npz file for the outputs. Required.",
        group="Output",
    )
    output: tuple[str, ...] = setting(
        (), "predict: an output; may be given several times; all if not given.", group="Output"
    )
    labels: str = setting(
        "",
        "predict: folder of the exported version, or a text file with a name in each line: print "
        "the labels of each image whose probability reaches their threshold.",
        group="Output",
    )
    threshold: float | None = setting(
        None,
        "predict: with --labels, one threshold for all; the export's if not given, or 0.5.",
        group="Output",
    )
    calibration: str = setting(
        "",
        "match: folder of the exported version, or a result of evaluate --protocol=verification, "
        "which tell which similarity means the same.",
        group="Match",
    )
    share_of_same: float = setting(
        0.5,
        "match: share of same pairs among those that you ask about. Where you compare a picture "
        "with a thousand others, one of which is the same, give 0.001.",
        group="Match",
    )
    json: str = setting("", "File for the result as JSON; - prints it instead.", group="Output")
    limit: float = setting(60.0, "wait: seconds before it gives up.", group="Output")
    golden: str = setting(
        "", "smoke: folder of the exported version, which holds the golden requests.", group="Smoke"
    )

    def check(self, verb: str) -> None:
        """Rejects what cannot work before anything is sent.

        Args:
            verb: `embed`, `predict`, `match`, `status`, `wait` or `smoke`.

        Raises:
            InputError: If a setting is missing, has no effect, or cannot be used.
        """
        for name, verbs in sorted(_ONLY_OF.items()):
            if verb not in verbs and name in self.given:
                raise InputError(f"--{name} has no effect on {verb}; leave it out.")
        if verb == "status":
            self._check_status()
        elif not self.model:
            raise InputError("--model is required: its name on the server.")
        if self.json and Path(self.json).is_dir():
            raise InputError(f"--json={self.json} is a folder; give a file, or -.")
        if verb == "wait" and not self.limit > 0:
            raise InputError(f"--limit={self.limit} is not positive; give seconds.")
        if verb in ("embed", "predict"):
            self._check_files(verb)
        if verb == "match":
            self._check_match()

    def _check_status(self) -> None:
        if self.model and self.rest:
            raise InputError("--rest finds the models; with --model, leave it out.")
        if not self.model:
            for name in ("version", "label"):
                if name in self.given:
                    raise InputError(f"--{name} has no effect without --model; leave it out.")

    def _check_match(self) -> None:
        if len(self.image) != 2:
            raise InputError(f"match compares two images, not {len(self.image)}: match A.jpg B.jpg")
        for image in self.image:
            if not Path(image).is_file():
                raise InputError(f"--image={image}: there is no such file.")
        if self.calibration and not Path(self.calibration).exists():
            raise InputError(f"--calibration={self.calibration} does not exist.")
        if not 0 < self.share_of_same < 1:
            raise InputError(
                f"--share_of_same={self.share_of_same:g} must be between 0 and 1, such as 0.5."
            )

    def _check_files(self, verb: str) -> None:
        if bool(self.images) == bool(self.image):
            raise InputError("give the images: either --images=FOLDER or --image=FILE.")
        if self.images and not Path(self.images).is_dir():
            raise InputError(
                f"--images={self.images} is not a folder; give single files by --image."
            )
        suffixes = [".npz", ".npy"] if verb == "embed" else [".npz"]
        if Path(self.out).suffix not in suffixes:
            raise InputError(f"--out={self.out} must end in {' or '.join(suffixes)}.")
        if Path(self.out).is_dir():
            raise InputError(f"--out={self.out} is a folder; give a file.")
        if self.labels and not Path(self.labels).exists():
            raise InputError(f"--labels={self.labels} does not exist.")
        if self.threshold is not None and not (self.labels and 0 <= self.threshold <= 1):
            raise InputError(
                f"--threshold={self.threshold:g} must be a probability, from 0 to 1, and go with "
                "--labels."
            )
