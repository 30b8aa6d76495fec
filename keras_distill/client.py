"""Asks a server for embeddings, without TensorFlow.

  embed    embeds --images, or each --image, and writes the vectors with their paths to --out
  status   tells the versions of --model and their states; without --model, of all models that the
           metrics at --rest tell of: TF-Serving itself lists none
  wait     waits until --model is available, for --limit seconds
  smoke    sends one image through every signature; checks width, length 1, and agreement; with
           --golden also that the server answers the golden requests of an export as it did, and
           with --rest that REST answers them so, too

The server is TF-Serving, or `python -m keras_distill.serve`. What embed writes can be used as
--teacher of a training: vectors.npz, or vectors.npy beside vectors.ids.txt. Images that cannot be
embedded do not keep the others from it; they are listed beside, in vectors.errors.jsonl. If the
server fails on the way, what was embedded is kept in vectors.npz.partial, and the same command
resumes from there.

  python -m keras_distill.client embed --model=photos --images=photos --out=vectors.npz
  python -m keras_distill.client wait --address=gpu-box:8500 --model=photos --version=3 --limit=120
  python -m keras_distill.client smoke --model=photos --golden=models/photos/1 --rest=localhost:8501

Secrets belong into a flag file: a line --metadata=x-api-key=SECRET, given by --flagfile=FILE.

Exit codes: 0 done, 1 the server failed or the model is not as it should be, 2 unusable flags or
input, 4 some images have no embedding.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from keras_distill.errors import InputError
from keras_distill.publishing import published_file
from keras_distill.settings.command import FAILURE, SUCCESS, Command

SOME_REFUSED = 4

COMMAND = Command("keras_distill.client", __doc__, verbs=["embed", "status", "wait", "smoke"])
_SERVER = "Server"
COMMAND.string(_SERVER, "address", "localhost:8500", "host:port of the server's gRPC port.")
COMMAND.string(
    _SERVER,
    "rest",
    "",
    "host:port of the server's REST port. smoke: compare what it answers, too. status without "
    "--model: where the metrics are; port 8501 if --address has port 8500.",
)
COMMAND.string(_SERVER, "model", "", "Name of the model. Required, but for status.")
COMMAND.integer(_SERVER, "version", None, "Its version; the newest if not given.", 1)
COMMAND.string(_SERVER, "label", "", "In its place, a label of a version, such as stable.")
COMMAND.number(_SERVER, "timeout", 30.0, "Seconds for one request, its retries included.")
COMMAND.strings(_SERVER, "metadata", "KEY=VALUE, a header of each call, such as a shared secret.")
_TLS = "Encryption"
COMMAND.boolean(_TLS, "tls", False, "Speak TLS; the next three ask for it too.")
COMMAND.string(_TLS, "root_certificates", "", "PEM file of those who may sign the server's.")
COMMAND.string(_TLS, "certificate", "", "PEM file of the client's certificate.")
COMMAND.string(_TLS, "key", "", "PEM file of its private key.")
_IMAGES = "Images"
COMMAND.string(_IMAGES, "images", "", "embed: folder of JPEG and PNG images, at any depth.")
COMMAND.strings(_IMAGES, "image", "embed: in its place, a file; may be given several times.")
COMMAND.integer(_IMAGES, "batch_size", 32, "embed: most images in a request.", 1)
COMMAND.integer(_IMAGES, "in_flight", 4, "embed: most requests at once.", 1)
_OUTPUT = "Output"
COMMAND.string(_OUTPUT, "out", "", "embed: .npz or .npy file for the vectors. Required.")
COMMAND.string(_OUTPUT, "json", "", "File for the result as JSON; - prints it instead.")
COMMAND.string(
    "Smoke", "golden", "", "smoke: folder of the exported version, which has the answers."
)
COMMAND.number(_OUTPUT, "limit", 60.0, "wait: seconds until it gives up.")

_ONLY_OF = {
    **dict.fromkeys(("images", "image", "batch_size", "in_flight", "out"), ("embed",)),
    "limit": ("wait",),
    "golden": ("smoke",),
    "rest": ("smoke", "status"),
}


def main(flags: Any) -> int:
    """Does what the verb says; returns the exit code."""
    _check_flags(flags)

    from keras_distill.serving.client.errors import ServingError

    verbs = {"embed": _embed, "status": _status, "wait": _wait, "smoke": _smoke}
    try:
        if flags.model:
            with _client(flags, flags.model) as client:
                code, result = verbs[COMMAND.verb](flags, client)
        else:
            code, result = _status_of_all(flags)
    except ServingError as error:
        print(f"client: {error}", file=sys.stderr)
        return FAILURE
    text = json.dumps(result, indent=2) + "\n"
    if flags.json == "-":
        print(text, end="")
    elif flags.json:
        with published_file(Path(flags.json)) as temporary:
            temporary.write_text(text)
    return code


def _check_flags(flags: Any) -> None:
    """Rejects what cannot work before anything is sent."""
    for name, verbs in sorted(_ONLY_OF.items()):
        if COMMAND.verb not in verbs and flags[name].present:
            raise InputError(f"--{name} has no effect on {COMMAND.verb}; leave it out.")
    if COMMAND.verb == "status":
        _check_status_flags(flags)
    elif not flags.model:
        raise InputError("--model is required: the name under which the server knows it.")
    if flags.json and Path(flags.json).is_dir():
        raise InputError(f"--json={flags.json} is a folder; give a file, or -.")
    if COMMAND.verb == "wait" and not flags.limit > 0:
        raise InputError(f"--limit={flags.limit} is not positive; give seconds.")
    if COMMAND.verb != "embed":
        return
    if bool(flags.images) == bool(flags.image):
        raise InputError("give the images: either --images=FOLDER or --image=FILE.")
    if flags.images and not Path(flags.images).is_dir():
        raise InputError(f"--images={flags.images} is not a folder; give single files by --image.")
    if Path(flags.out).suffix not in (".npz", ".npy"):
        raise InputError(f"--out={flags.out} must end in .npz or .npy.")
    if Path(flags.out).is_dir():
        raise InputError(f"--out={flags.out} is a folder; give a file.")


def _check_status_flags(flags: Any) -> None:
    if flags.model and flags.rest:
        raise InputError("--rest finds the models; with --model, leave it out.")
    if not flags.model:
        for name in ("version", "label"):
            if flags[name].present:
                raise InputError(f"--{name} has no effect without --model; leave it out.")


def _client(flags: Any, model: str) -> Any:
    """The client that the flags stand for."""
    from keras_distill.serving.client.channel import Tls
    from keras_distill.serving.client.client import EmbeddingClient

    files = (flags.root_certificates, flags.certificate, flags.key)
    encrypted = flags.tls or any(files)
    try:
        return EmbeddingClient(
            flags.address,
            model=model,
            version=flags.version,
            label=flags.label or None,
            timeout=flags.timeout,
            batch_size=flags.batch_size,
            in_flight=flags.in_flight,
            tls=Tls(*(file or None for file in files)) if encrypted else None,
            metadata=_metadata(flags),
        )
    except ValueError as error:
        raise InputError(str(error)) from error


def _rest_client(flags: Any, address: str) -> Any:
    """The client of REST that the flags stand for."""
    from keras_distill.serving.client.rest_client import RestClient

    try:
        return RestClient(
            address,
            timeout=flags.timeout,
            metadata=_metadata(flags),
            root_certificates=flags.root_certificates or None,
        )
    except ValueError as error:
        raise InputError(f"--{error}") from error


def _metadata(flags: Any) -> list[tuple[str, str]]:
    pairs = [pair.partition("=") for pair in flags.metadata or ()]
    for key, equals, _ in pairs:
        if not (key and equals):
            raise InputError("--metadata must be KEY=VALUE; one of them is not.")
    return [(key, value) for key, _, value in pairs]


def _embed(flags: Any, client: Any) -> tuple[int, dict[str, Any]]:
    from keras_distill.serving.client.embed_files import embed_files

    summary = embed_files(flags, client)
    if flags.json != "-":
        print(json.dumps(summary))
    return SOME_REFUSED if summary["refused"] else SUCCESS, summary


def _status(flags: Any, client: Any) -> tuple[int, dict[str, Any]]:
    states = client.status()
    if flags.json != "-":
        from rich.console import Console
        from rich.table import Table

        table = Table("version", "state", "error", title=str(client.reference))
        for state in states:
            table.add_row(str(state.version), state.state, state.error)
        Console().print(table)
    available = any(state.state == "AVAILABLE" for state in states)
    versions = [dataclasses.asdict(state) for state in states]
    return SUCCESS if available else FAILURE, {"model": client.reference.name, "versions": versions}


def _status_of_all(flags: Any) -> tuple[int, dict[str, Any]]:
    """The status of every model that the metrics tell of and that gRPC knows."""
    import grpc

    from keras_distill.serving.client.errors import ServingError

    codes, models = [], []
    metrics, names = _model_names(flags)
    for name in names:
        try:
            with _client(flags, name) as client:
                code, result = _status(flags, client)
        except ServingError as error:
            if error.code is not grpc.StatusCode.NOT_FOUND:
                raise
            text = f"{name!r} is in the metrics, but no model is served under this name now."
            print(f"client: {text}", file=sys.stderr)
        else:
            codes.append(code)
            models.append(result)
    if not models:
        text = f"the metrics at {metrics} tell of no model that {flags.address} serves."
        print(f"client: {text}", file=sys.stderr)
    return max(codes, default=FAILURE), {"models": models}


def _model_names(flags: Any) -> tuple[str, list[str]]:
    """Where the metrics are, and the names of models in them."""
    from keras_distill.serving.client.arguments import check_address
    from keras_distill.serving.client.errors import ServingError

    try:
        check_address(flags.address)
    except ValueError as error:
        raise InputError(str(error)) from error
    if not flags.rest and not flags.address.endswith(":8500"):
        raise InputError(
            "--model is required, or --rest=HOST:PORT: TF-Serving lists no models by gRPC, but the "
            "metrics at its REST port tell of them."
        )
    rest = flags.rest or f"{flags.address.rpartition('/')[2].removesuffix(':8500')}:8501"
    client = _rest_client(flags, rest)
    try:
        names: list[str] = client.model_names()
    except ServingError as error:
        why = str(error).rstrip(".")
        raise InputError(
            "--model is required here: TF-Serving lists no models by gRPC, and its metrics, which "
            f"tell of them, cannot be read: {why}. Give --rest=HOST:PORT, the REST port of a "
            "server with --monitoring_config_file; or take the name from the server's "
            "--model_config_file (name: ...) or its --model_name, and give it by --model."
        ) from error
    return client.url, names


def _wait(flags: Any, client: Any) -> tuple[int, dict[str, Any]]:
    state = client.wait(flags.limit)
    if flags.json != "-":
        print(f"{client.reference}: {state}")
    return SUCCESS, {"model": flags.model, **dataclasses.asdict(state)}


def _smoke(flags: Any, client: Any) -> tuple[int, dict[str, Any]]:
    from keras_distill.serving.client.golden_pairs import read_golden
    from keras_distill.serving.client.smoke import smoke_test

    golden = read_golden(Path(flags.golden), argument="--golden") if flags.golden else []
    tested = smoke_test(client, golden, _rest_client(flags, flags.rest) if flags.rest else None)
    if flags.json != "-":
        from rich.console import Console
        from rich.table import Table

        model = tested.model
        size = "×".join(str(side or "any") for side in model.image_shape[:2])
        table = Table(show_header=False, title=str(client.reference))
        table.add_row("version", str(model.version))
        table.add_row("image", size)
        table.add_row("width", str(model.dim))
        for name, length in tested.lengths.items():
            table.add_row(f"length of {name}", f"{length:.6f}")
        for pair, cosine in tested.cosines.items():
            table.add_row(f"cosine of {pair}", f"{cosine:.6f}")
        for name, cosine in tested.golden.items():
            table.add_row(f"cosine of golden {name}", f"{cosine:.6f}")
        for name, cosine in tested.rest.items():
            table.add_row(f"cosine by REST of {name}", f"{cosine:.6f}")
        Console().print(table)
    for warning in tested.warnings:
        print(f"client: warning: {warning}", file=sys.stderr)
    for fault in tested.faults:
        print(f"client: {fault}", file=sys.stderr)
    return FAILURE if tested.faults else SUCCESS, dataclasses.asdict(tested)


if __name__ == "__main__":
    COMMAND.run(main)
