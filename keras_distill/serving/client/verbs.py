"""Verbs of the command `client`: each prints for people, and returns exit code and result."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from keras_distill.errors import as_flags
from keras_distill.serving.client.client import EmbeddingClient
from keras_distill.serving.client.embed_files import embed_files, find_files, predict_files
from keras_distill.serving.client.every_model import every_status
from keras_distill.serving.client.golden_pairs import read_golden
from keras_distill.serving.client.model_status import VersionStatus
from keras_distill.serving.client.opening import open_rest_client
from keras_distill.serving.client.output_labels import OutputLabels, read_labels
from keras_distill.serving.client.same_calibration import cosine_of, read_same_probability
from keras_distill.serving.client.smoke import smoke_test
from keras_distill.serving.client.tables import smoke_table, status_table
from keras_distill.settings.client import ClientCommandSettings
from keras_distill.settings.command import FAILURE, SOME_REFUSED, SUCCESS
from keras_distill.settings.settings import names_of

_Ended = tuple[int, dict[str, Any]]


def status_of_all(settings: ClientCommandSettings) -> _Ended:
    """Lists the versions of all models of a server.

    Args:
        settings: The settings of the command.

    Returns:
        The exit code, and the result for JSON.

    Raises:
        InputError: If the models are not known.
        ServingError: If the server does not answer.
    """
    told = [_told(settings, *each) for each in every_status(settings)]
    code = max((code for code, _ in told), default=FAILURE)
    return code, {"models": [result for _, result in told]}


def _embed(settings: ClientCommandSettings, client: EmbeddingClient) -> _Ended:
    at_once = settings.batch_size * settings.in_flight
    written = embed_files(client, _files(settings), Path(settings.out), at_once)
    return _written(settings, written)


def _predict(settings: ClientCommandSettings, client: EmbeddingClient) -> _Ended:
    at_once = settings.batch_size * settings.in_flight
    outputs = list(settings.output) or None
    labels = read_labels(settings.labels) if settings.labels else None
    if labels is not None:
        labels.check_row(client.connect().rows([labels.output])[labels.output])
    out = Path(settings.out)
    written = predict_files(client, _files(settings), out, at_once, outputs)
    if labels is not None:
        written["labels"] = _present(settings, labels, out)
    return _written(settings, written)


def _present(
    settings: ClientCommandSettings, labels: OutputLabels, out: Path
) -> dict[str, dict[str, float]]:
    """The labels of each image, with their probabilities."""
    with np.load(out) as answers:
        rows = labels.present(answers[labels.output], settings.threshold)
        return dict(zip(answers["ids"].tolist(), rows, strict=True))


def _files(settings: ClientCommandSettings) -> list[tuple[str, Path]]:
    if settings.images:
        return find_files(Path(settings.images))
    return [(path, Path(path)) for path in settings.image]


def _written(settings: ClientCommandSettings, written: dict[str, Any]) -> _Ended:
    summary = {"out": settings.out, **written}
    if settings.json != "-":
        for name, present in summary.get("labels", {}).items():
            listed = ", ".join(f"{label} {value:.2f}" for label, value in present.items())
            print(f"{name}: {listed or 'no label'}")
        print(json.dumps({name: value for name, value in summary.items() if name != "labels"}))
    return SOME_REFUSED if summary["refused"] else SUCCESS, summary


def _match(settings: ClientCommandSettings, client: EmbeddingClient) -> _Ended:
    told = read_same_probability(settings.calibration) if settings.calibration else None
    answer = client.embed(list(settings.image), on_error="return")
    for error in answer.errors:
        print(f"client: {error}", file=sys.stderr)
    result: dict[str, Any] = {"images": list(settings.image), "version": answer.version}
    if answer.errors:
        return SOME_REFUSED, result | {"refused": [error.source for error in answer.errors]}
    cosine = cosine_of(*answer.vectors)
    result |= {"cosine": cosine, "distance": max(0.0, 2 - 2 * cosine) ** 0.5, "probability": None}
    line = f"cosine {cosine:.4f}, distance {result['distance']:.4f}"
    if told is None:
        line += "; the probability that they show the same is not known without `calibration`"
    else:
        if told.version not in (None, answer.version):
            warning = f"`calibration={settings.calibration}` is of version {told.version}, and "
            warning = as_flags(f"{warning}version {answer.version} answered", names_of(settings))
            print(f"client: warning: {warning}", file=sys.stderr)
        result["probability"] = told.probability(cosine, settings.share_of_same)
        result["share_of_same"] = settings.share_of_same
        line += f": the same with a probability of {result['probability']:.4f}"
        line += f", if {100 * settings.share_of_same:g} % of the pairs asked about are"
    if settings.json != "-":
        print(as_flags(line, names_of(settings)))
    return SUCCESS, result


def _status(settings: ClientCommandSettings, client: EmbeddingClient) -> _Ended:
    return _told(settings, client, client.status())


def _told(
    settings: ClientCommandSettings, client: EmbeddingClient, states: Sequence[VersionStatus]
) -> _Ended:
    if settings.json != "-":
        Console().print(status_table(client.reference, states))
    available = any(state.state == "AVAILABLE" for state in states)
    versions = [asdict(state) for state in states]
    return SUCCESS if available else FAILURE, {"model": client.reference.name, "versions": versions}


def _wait(settings: ClientCommandSettings, client: EmbeddingClient) -> _Ended:
    state = client.wait(settings.limit)
    if settings.json != "-":
        print(f"{client.reference}: {state}")
    return SUCCESS, {"model": settings.model, **asdict(state)}


def _smoke(settings: ClientCommandSettings, client: EmbeddingClient) -> _Ended:
    folder = settings.golden
    golden = read_golden(Path(folder)) if folder else []
    rest = open_rest_client(settings, settings.rest) if settings.rest else None
    tested = smoke_test(client, golden, rest)
    if settings.json != "-":
        Console().print(smoke_table(client.reference, tested))
    for warning in tested.warnings:
        print(f"client: warning: {as_flags(warning, names_of(settings))}", file=sys.stderr)
    for fault in tested.faults:
        print(f"client: {fault}", file=sys.stderr)
    return FAILURE if tested.faults else SUCCESS, asdict(tested)


#: From a verb to its function of the settings and the client of the model.
FUNCTION_OF_VERB: dict[str, Callable[[ClientCommandSettings, EmbeddingClient], _Ended]] = {
    "embed": _embed,
    "predict": _predict,
    "match": _match,
    "status": _status,
    "wait": _wait,
    "smoke": _smoke,
}
