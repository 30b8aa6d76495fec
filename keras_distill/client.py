"""Gets embeddings or other outputs from a server, without TensorFlow.

  embed    embeds --images, or each --image, and writes the vectors with their paths to --out
  predict  as embed, for any outputs of a model, such as logits: an array of each in --out
  status   lists the versions of --model and their states; without --model, of all models in the
           metrics at --rest, as TF-Serving itself does not list its models
  wait     waits until --model is available, for --limit seconds
  smoke    sends one image through every signature; checks width, length 1, and agreement; with
           --golden also that the server answers the golden requests of an export as the exported
           model did, and with --rest that REST does, too

The server is TF-Serving, or `python -m keras_distill.serve`. What embed writes can be used as
--teacher of a training: vectors.npz, or vectors.npy with vectors.ids.txt next to it. Images that
cannot be embedded do not stop the others; they are listed in vectors.errors.jsonl. If the server
fails meanwhile, finished vectors are kept in vectors.npz.partial, and the same command resumes from
there.

  python -m keras_distill.client embed --model=photos --images=photos --out=vectors.npz
  python -m keras_distill.client predict --model=crowd --images=photos --out=answers.npz
  python -m keras_distill.client wait --address=gpu-box:8500 --model=photos --version=3 --limit=120
  python -m keras_distill.client smoke --model=photos --golden=models/photos/1 --rest=localhost:8501

Secrets belong in a flag file: a line --metadata=x-api-key=SECRET, given by --flagfile=FILE.

Exit codes: 0 done, 1 the server failed or the model is not as it should be, 2 unusable flags or
input, 4 some images have no embedding; everything else was written.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from keras_distill.errors import as_flags
from keras_distill.publishing import published_file
from keras_distill.settings.client import ClientCommandSettings
from keras_distill.settings.command import FAILURE, SOME_REFUSED, SUCCESS, Command
from keras_distill.settings.settings import names_of

VERBS = ("embed", "predict", "status", "wait", "smoke")
COMMAND = Command("keras_distill.client", __doc__, ClientCommandSettings, VERBS)


def main(settings: ClientCommandSettings) -> int:
    """Runs the verb; returns the exit code."""
    settings.check(COMMAND.verb)

    from keras_distill.serving.client.errors import ServingError
    from keras_distill.serving.client.opening import open_client

    verbs = {
        "embed": _embed,
        "predict": _predict,
        "status": _status,
        "wait": _wait,
        "smoke": _smoke,
    }
    try:
        if settings.model:
            with open_client(settings, settings.model) as client:
                code, result = verbs[COMMAND.verb](settings, client)
        else:
            code, result = _status_of_all(settings)
    except ServingError as error:
        print(f"client: {error}", file=sys.stderr)
        return FAILURE
    text = json.dumps(result, indent=2) + "\n"
    if settings.json == "-":
        print(text, end="")
    elif settings.json:
        with published_file(Path(settings.json)) as temporary:
            temporary.write_text(text)
    return code


def _embed(settings: ClientCommandSettings, client: Any) -> tuple[int, dict[str, Any]]:
    from keras_distill.serving.client.embed_files import embed_files

    at_once = settings.batch_size * settings.in_flight
    written = embed_files(client, _files(settings), Path(settings.out), at_once)
    return _written(settings, written)


def _predict(settings: ClientCommandSettings, client: Any) -> tuple[int, dict[str, Any]]:
    from keras_distill.serving.client.embed_files import predict_files

    at_once = settings.batch_size * settings.in_flight
    outputs = list(settings.output) or None
    written = predict_files(client, _files(settings), Path(settings.out), at_once, outputs)
    return _written(settings, written)


def _files(settings: ClientCommandSettings) -> list[tuple[str, Path]]:
    from keras_distill.serving.client.embed_files import find_files

    if settings.images:
        return find_files(Path(settings.images))
    return [(path, Path(path)) for path in settings.image]


def _written(
    settings: ClientCommandSettings, written: dict[str, Any]
) -> tuple[int, dict[str, Any]]:
    summary = {"out": settings.out, **written}
    if settings.json != "-":
        print(json.dumps(summary))
    return SOME_REFUSED if summary["refused"] else SUCCESS, summary


def _status(settings: ClientCommandSettings, client: Any) -> tuple[int, dict[str, Any]]:
    return _told(settings, client, client.status())


def _status_of_all(settings: ClientCommandSettings) -> tuple[int, dict[str, Any]]:
    from keras_distill.serving.client.every_model import every_status

    told = [_told(settings, *each) for each in every_status(settings)]
    code = max((code for code, _ in told), default=FAILURE)
    return code, {"models": [result for _, result in told]}


def _told(settings: ClientCommandSettings, client: Any, states: Any) -> tuple[int, dict[str, Any]]:
    if settings.json != "-":
        from rich.console import Console

        from keras_distill.serving.client.tables import status_table

        Console().print(status_table(client.reference, states))
    available = any(state.state == "AVAILABLE" for state in states)
    versions = [asdict(state) for state in states]
    return SUCCESS if available else FAILURE, {"model": client.reference.name, "versions": versions}


def _wait(settings: ClientCommandSettings, client: Any) -> tuple[int, dict[str, Any]]:
    state = client.wait(settings.limit)
    if settings.json != "-":
        print(f"{client.reference}: {state}")
    return SUCCESS, {"model": settings.model, **asdict(state)}


def _smoke(settings: ClientCommandSettings, client: Any) -> tuple[int, dict[str, Any]]:
    from keras_distill.serving.client.golden_pairs import read_golden
    from keras_distill.serving.client.opening import open_rest_client
    from keras_distill.serving.client.smoke import smoke_test

    folder = settings.golden
    golden = read_golden(Path(folder)) if folder else []
    rest = open_rest_client(settings, settings.rest) if settings.rest else None
    tested = smoke_test(client, golden, rest)
    if settings.json != "-":
        from rich.console import Console

        from keras_distill.serving.client.tables import smoke_table

        Console().print(smoke_table(client.reference, tested))
    for warning in tested.warnings:
        print(f"client: warning: {as_flags(warning, names_of(settings))}", file=sys.stderr)
    for fault in tested.faults:
        print(f"client: {fault}", file=sys.stderr)
    return FAILURE if tested.faults else SUCCESS, asdict(tested)


if __name__ == "__main__":
    COMMAND.run(main)
