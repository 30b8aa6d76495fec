"""Asks a server for embeddings, without TensorFlow.

  embed    embeds --images, or each --image, and writes the vectors with their paths to --out
  status   tells the versions of --model and their states
  wait     waits until --model is available, for --limit seconds
  smoke    sends one image through every signature; checks width, length 1, and agreement; with
           --golden also that the server answers the golden requests of an export as it did

The server is TF-Serving, or `python -m keras_distill.serve`. What embed writes can be used as
--teacher of a training: vectors.npz, or vectors.npy beside vectors.ids.txt. Images that cannot be
embedded do not keep the others from it; they are listed beside, in vectors.errors.jsonl.

  python -m keras_distill.client embed --model=photos --images=photos --out=vectors.npz
  python -m keras_distill.client wait --address=gpu-box:8500 --model=photos --version=3 --limit=120

Secrets belong into a flag file: a line --metadata=x-api-key=SECRET, given by --flagfile=FILE.

Exit codes: 0 done, 1 the server failed or the model is not as it should be, 2 unusable flags or
input, 4 some images have no embedding.
"""

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

from keras_distill.command_line import FAILURE, SUCCESS, Command
from keras_distill.errors import InputError
from keras_distill.publishing import published_file

SOME_REFUSED = 4

COMMAND = Command("keras_distill.client", __doc__, verbs=["embed", "status", "wait", "smoke"])
_SERVER = "Server"
COMMAND.string(_SERVER, "address", "localhost:8500", "host:port of the server's gRPC port.")
COMMAND.string(_SERVER, "model", "", "Name of the model. Required.")
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
    "embed": {"images", "image", "batch_size", "in_flight", "out"},
    "wait": {"limit"},
    "smoke": {"golden"},
}


def main(flags: Any) -> int:
    """Does what the verb says; returns the exit code."""
    _check_flags(flags)

    from keras_distill.serving.client import EmbeddingClient
    from keras_distill.serving.client_errors import ServingError

    verbs = {"embed": _embed, "status": _status, "wait": _wait, "smoke": _smoke}
    try:
        client = EmbeddingClient(flags.address, **_arguments(flags))
    except ValueError as error:
        raise InputError(str(error)) from error
    try:
        with client:
            code, result = verbs[COMMAND.verb](flags, client)
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
    for verb, names in _ONLY_OF.items():
        for name in sorted(names):
            if verb != COMMAND.verb and flags[name].present:
                raise InputError(f"--{name} has no effect on {COMMAND.verb}; leave it out.")
    if not flags.model:
        raise InputError("--model is required: the name under which the server knows it.")
    if flags.json and Path(flags.json).is_dir():
        raise InputError(f"--json={flags.json} is a folder; give a file, or -.")
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


def _arguments(flags: Any) -> dict[str, Any]:
    """The arguments of the client that the flags stand for."""
    from keras_distill.serving.channel import Tls

    pairs = [pair.partition("=") for pair in flags.metadata or ()]
    for key, equals, _ in pairs:
        if not (key and equals):
            raise InputError("--metadata must be KEY=VALUE; one of them is not.")
    files = (flags.root_certificates, flags.certificate, flags.key)
    encrypted = flags.tls or any(files)
    return {
        "model": flags.model,
        "version": flags.version,
        "label": flags.label or None,
        "timeout": flags.timeout,
        "batch_size": flags.batch_size,
        "in_flight": flags.in_flight,
        "tls": Tls(*(file or None for file in files)) if encrypted else None,
        "metadata": [(key, value) for key, _, value in pairs],
    }


def _embed(flags: Any, client: Any) -> tuple[int, dict[str, Any]]:
    from rich.console import Console
    from rich.progress import Progress

    from keras_distill.serving.image_items import image_files

    if flags.images:
        root = Path(flags.images)
        try:
            paths = image_files(root)
        except OSError as error:
            raise InputError(f"--images={flags.images} cannot be read: {error}.") from error
        ids = [path.relative_to(root).as_posix() for path in paths]
    else:
        paths, ids = [Path(path) for path in flags.image], list(flags.image)
    if not paths:
        raise InputError(f"--images={flags.images} has no JPEG or PNG images.")
    begun = time.perf_counter()
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("embedding", total=len(paths))
        result = client.embed(
            paths,
            on_error="return",
            progress=lambda done, _: progress.update(task, completed=done),
        )
    _write(Path(flags.out), ids, result)
    summary = {
        "out": flags.out,
        "model": flags.model,
        "version": result.version,
        "dim": result.vectors.shape[1],
        "images": len(ids),
        "refused": len(result.errors),
        "seconds": round(time.perf_counter() - begun, 2),
    }
    if flags.json != "-":
        print(json.dumps(summary))
    if not result.errors:
        return SUCCESS, summary
    print(
        f"client: {len(result.errors)} of {len(ids)} images have no embedding; "
        f"{_errors_file(Path(flags.out))} lists them. The first: {result.errors[0]}",
        file=sys.stderr,
    )
    return SOME_REFUSED, summary


def _write(out: Path, ids: list[str], result: Any) -> None:
    """Writes the vectors as a table for `teachers/vector_file.py`, and the errors."""
    import numpy as np

    refused = {error.index for error in result.errors}
    kept = [index for index in range(len(ids)) if index not in refused]
    names, vectors = [ids[index] for index in kept], result.vectors[kept]
    with published_file(out) as temporary:
        if out.suffix == ".npz":
            np.savez(temporary, ids=np.array(names, np.str_), vectors=vectors)
        else:
            with published_file(out.with_suffix(".ids.txt")) as text:
                text.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
            np.save(temporary, vectors)
    if not result.errors:
        _errors_file(out).unlink(missing_ok=True)
        return
    lines = [
        json.dumps({"index": error.index, "id": ids[error.index], "error": error.message}) + "\n"
        for error in result.errors
    ]
    with published_file(_errors_file(out)) as temporary:
        temporary.write_text("".join(lines))


def _errors_file(out: Path) -> Path:
    return out.with_suffix(".errors.jsonl")


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
    result = {"model": flags.model, "versions": [dataclasses.asdict(state) for state in states]}
    return SUCCESS if available else FAILURE, result


def _wait(flags: Any, client: Any) -> tuple[int, dict[str, Any]]:
    state = client.wait(flags.limit)
    if flags.json != "-":
        print(f"{client.reference}: {state}")
    return SUCCESS, {"model": flags.model, **dataclasses.asdict(state)}


def _smoke(flags: Any, client: Any) -> tuple[int, dict[str, Any]]:
    from keras_distill.serving.golden_pairs import read_golden
    from keras_distill.serving.smoke import smoke_test

    golden = read_golden(Path(flags.golden), argument="--golden") if flags.golden else []
    tested = smoke_test(client, golden)
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
        Console().print(table)
    for fault in tested.faults:
        print(f"client: {fault}", file=sys.stderr)
    return FAILURE if tested.faults else SUCCESS, dataclasses.asdict(tested)


if __name__ == "__main__":
    COMMAND.run(main)
