"""Files in, a table of their vectors or outputs out, resumed where it was ended."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from keras_distill.errors import InputError
from keras_distill.publishing import published_file
from keras_distill.serving.client.client import EmbeddingClient
from keras_distill.serving.client.embed_result import EmbedResult, ImageError
from keras_distill.serving.client.errors import ServingError
from keras_distill.serving.client.image_items import image_files
from keras_distill.serving.client.output_contract import EMBEDDING
from keras_distill.serving.client.output_rows import OutputRows
from keras_distill.serving.client.partial_vectors import PartialVectors, stamp

# What is embedded in about this time is written at once: as much as a killed process loses.
_PART_SECONDS = 20.0


def find_files(folder: Path) -> list[tuple[str, Path]]:
    """Finds the JPEG and PNG images of a folder, at any depth.

    Args:
        folder: The folder.

    Returns:
        The id of each, which is its path relative to the folder, and its file.

    Raises:
        InputError: If there are none.
    """
    paths = image_files(folder)
    if not paths:
        raise InputError(f"`images={folder}` has no JPEG or PNG images.")
    return [(path.relative_to(folder).as_posix(), path) for path in paths]


def embed_files(
    client: EmbeddingClient, files: Sequence[tuple[str, Path]], out: Path, at_once: int = 128
) -> dict[str, Any]:
    """Embeds files and writes the vectors, and the errors next to them.

    Args:
        client: Client of the model.
        files: The id of each image, and its file.
        out: The .npz or .npy file for the vectors.
        at_once: Images that the client can have under way at once.

    Returns:
        The summary: model, version, width, counts, seconds.

    Raises:
        InputError: If what an earlier call has left is of others.
        ServingError: If the server fails; what was received is kept, and the next call resumes.
    """
    ids = [name for name, _ in files]

    def write(rows: OutputRows, result: EmbedResult) -> dict[str, Any]:
        kept = _kept(len(ids), result)
        _write_vectors(out, [ids[index] for index in kept], result.vectors[kept])
        return {"dim": rows.width}

    return _answer_files(client, [EMBEDDING], files, out, at_once, write)


def predict_files(
    client: EmbeddingClient,
    files: Sequence[tuple[str, Path]],
    out: Path,
    at_once: int = 128,
    outputs: Sequence[str] | None = None,
) -> dict[str, Any]:
    """As `embed_files`, for any outputs.

    Args:
        client: Client of the model.
        files: The id of each image, and its file.
        out: The .npz file for the ids and for an array of each output.
        at_once: Images that the client can have under way at once.
        outputs: Names of the outputs; `None` for all.

    Returns:
        The summary: model, version, shapes of the outputs, counts, seconds.

    Raises:
        InputError: As `embed_files`.
        ServingError: As `embed_files`, or if there is no such output.
    """
    ids = [name for name, _ in files]

    def write(rows: OutputRows, result: EmbedResult) -> dict[str, Any]:
        kept = _kept(len(ids), result)
        names = np.array([ids[index] for index in kept], np.str_)
        with published_file(out) as temporary:
            arrays: dict[str, Any] = rows.split(result.vectors[kept])
            np.savez(temporary, **{**arrays, "ids": names})
        return {"outputs": {name: list(shape) for name, shape in rows.shapes.items()}}

    return _answer_files(client, outputs, files, out, at_once, write)


def _answer_files(
    client: EmbeddingClient,
    outputs: Sequence[str] | None,
    files: Sequence[tuple[str, Path]],
    out: Path,
    at_once: int,
    write: Callable[[OutputRows, EmbedResult], dict[str, Any]],
) -> dict[str, Any]:
    begun = time.perf_counter()
    ids, paths = [name for name, _ in files], [path for _, path in files]
    model, noun = client.reference.name, "embedding" if outputs == [EMBEDDING] else "answer"
    with PartialVectors(out.with_name(f"{out.name}.partial"), model, f"{noun}s") as partial:
        rows = OutputRows(client, outputs)
        work = _Files(rows, partial, paths, ids)
        work.reuse()
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task(noun, total=len(paths))
            result = work.embed(at_once, lambda done: bar.update(task, completed=done))
        written = write(rows, result)
        _write_errors(out, ids, result)
        partial.clear()
    if result.errors:
        print(
            f"client: {len(result.errors)} of {len(ids)} images have no {noun}; "
            f"{_errors_file(out)} lists them. The first: {result.errors[0]}",
            file=sys.stderr,
        )
    return {
        "model": model,
        "version": result.version,
        **written,
        "images": len(ids),
        "reused": work.reused,
        "refused": len(result.errors),
        "seconds": round(time.perf_counter() - begun, 2),
    }


class _Files:
    """Files on their way to a table of vectors."""

    def __init__(
        self, rows: OutputRows, partial: PartialVectors, paths: list[Path], ids: list[str]
    ):
        self._rows = rows
        self._partial = partial
        self._paths = paths
        self._stamps = [stamp(path, name) for path, name in zip(paths, ids, strict=True)]
        self._model = rows.model
        self._version: int | None = None
        self._vectors = np.full((len(paths), rows.width), np.nan, np.float32)
        self._errors: list[ImageError] = []
        self._left = list(range(len(paths)))
        self.reused = 0

    def reuse(self) -> None:
        """Takes what an earlier call has left over, if it is of this model and these images."""
        if not len(self._partial):
            return
        self._partial.check_version(self._model.version, self._rows.width)
        known = [index for index, image in enumerate(self._stamps) if image in self._partial]
        if not known:
            raise InputError(
                f"{self._partial.folder} has {len(self._partial)} {self._partial.noun}, none of "
                "them of these images. Give another `out`, or delete it."
            )
        again = self._rows.request([self._paths[known[0]]])
        self._partial.check_vector(self._stamps[known[0]], again.vectors[0])
        self._vectors[known] = [self._partial[self._stamps[index]] for index in known]
        self._version = self._model.version
        self._left = sorted(set(self._left) - set(known))
        self.reused = len(known)
        others = len(self._partial) - len(known)
        dropped = f" {others} are of files that changed or are not given." if others else ""
        print(
            f"client: {self.reused} of {len(self._paths)} {self._partial.noun} are reused from "
            f"{self._partial.folder}.{dropped}",
            file=sys.stderr,
        )

    def embed(self, count: int, progress: Callable[[int], object]) -> EmbedResult:
        """Embeds the rest, part by part.

        Args:
            count: Images in the first part; the others are as long as `_PART_SECONDS` allow.
            progress: Called with the number of images that are done.
        """
        least = count
        try:
            while self._left:
                begun = time.perf_counter()
                done = len(self._paths) - len(self._left)
                part = self._left[:count]
                self._embed_part(part, lambda more, _, done=done: progress(done + more))
                speed = len(part) / (time.perf_counter() - begun)
                count = max(least, int(_PART_SECONDS * speed))
        except ServingError as error:
            raise ServingError(f"{error.args[0]}{self._kept()}", error.code) from error
        except KeyboardInterrupt:
            if kept := self._kept():
                print(f"client:{kept}", file=sys.stderr)
            raise
        version = self._model.version if self._version is None else self._version
        return EmbedResult(self._vectors, tuple(self._errors), version)

    def _embed_part(self, part: list[int], progress: Callable[..., object]) -> None:
        paths = [self._paths[index] for index in part]
        try:
            result = self._rows.request(paths, progress)
        except ServingError as error:
            if isinstance(error.result, EmbedResult):
                self._keep(part, error.result)
            raise
        self._keep(part, result)

    def _keep(self, part: list[int], result: EmbedResult) -> None:
        """Takes a result over, and writes it unless it is the last."""
        without = {*result.missing, *(error.index for error in result.errors)}
        places = [place for place in range(len(part)) if place not in without]
        if places and self._version not in (None, result.version):
            raise ServingError(
                f"{self._rows.reference} changed from version {self._version} to "
                f"{result.version} on the way; their {self._partial.noun} do not compare."
            )
        indices = [part[place] for place in places]
        self._vectors[indices] = result.vectors[places]
        self._errors += [replace(error, index=part[error.index]) for error in result.errors]
        self._left = [part[place] for place in result.missing] + self._left[len(part) :]
        if places:
            self._version = result.version
        if self._left and places:
            stamps = [self._stamps[index] for index in indices]
            self._partial.add(stamps, result.vectors[places], result.version)

    def _kept(self) -> str:
        if not len(self._partial):
            return ""
        return (
            f" {len(self._partial)} of {len(self._paths)} {self._partial.noun} are kept in "
            f"{self._partial.folder}; the same command resumes from there."
        )


def _kept(count: int, result: EmbedResult) -> list[int]:
    """The places of the images that were not refused."""
    refused = {error.index for error in result.errors}
    return [index for index in range(count) if index not in refused]


def _write_vectors(out: Path, names: list[str], vectors: np.ndarray) -> None:
    """Writes the vectors as a table for `teachers/vector_file.py`."""
    with published_file(out) as temporary:
        if out.suffix == ".npz":
            np.savez(temporary, ids=np.array(names, np.str_), vectors=vectors)
        else:
            with published_file(out.with_suffix(".ids.txt")) as text:
                text.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
            np.save(temporary, vectors)


def _write_errors(out: Path, ids: list[str], result: EmbedResult) -> None:
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
