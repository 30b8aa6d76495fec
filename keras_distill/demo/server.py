"""The end of the demo: the student is served, asked over gRPC, and its answers searched for."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from keras_distill.publishing import published_file

_QUERIES, _NEIGHBOURS = 8, 5
_STOPPING_SECONDS = 60
_PIXELS, _FRAME = 80, 4
_GREEN, _RED, _WHITE = (40, 140, 70), (200, 60, 50), (255, 255, 255)


def query_served_student(
    run: Callable[..., str], root: Path, student: Path, name: str
) -> dict[str, Any]:
    """Asks a served student for embeddings of JPEG files and shows their neighbours.

    Indexes the unseen classes of `glyphs` with the Keras model, serves what was exported, sends
    some of the same pictures to the server by `keras_distill.client`, searches the index by the
    vectors that come back, and stops the server.

    Args:
        run: Runs a command of this package, given its name and flags, and returns what it prints.
        root: Folder of the demo, with `data/` and `models/`.
        student: Run directory of the student.
        name: Name under which it was exported.

    Returns:
        `least_cosine` of a served vector and the Keras model's; the number of `queries`, and how
        many have a picture of their own class as nearest neighbour, `right`.
    """
    import numpy as np

    from keras_distill.data.dataset import load_dataset
    from keras_distill.retrieval.vector_index import open_index

    data = load_dataset("glyphs", data_dir=root / "data")
    test, first = data.test, len(data.train.classes)
    run(
        "index",
        "build",
        f"--model={student}",
        "--dataset=glyphs",
        f"--data_dir={root / 'data'}",
        f"--classes={first}:{first + len(test.classes)}",
        f"--out={root / 'glyphs.index'}",
        "--overwrite",
    )
    index = open_index(root / "glyphs.index")
    labels = index.labels(np.arange(len(index)))
    classes = np.unique(labels)[:: max(len(test.classes) // _QUERIES, 1)][:_QUERIES]
    rows = np.array([np.flatnonzero(labels == label)[0] for label in classes])
    files = [Path(os.path.relpath(index.root / path)) for path in index.paths(rows)]
    vectors_file = root / "queries.npz"
    with _server(root / "models") as address:
        run("client", "wait", f"--address={address}", f"--model={name}")
        run(
            "client",
            "embed",
            f"--address={address}",
            f"--model={name}",
            *(f"--image={file}" for file in files),
            f"--out={vectors_file}",
        )
    with np.load(vectors_file) as answer:
        vectors = answer["vectors"]
    least = float((vectors * index.vectors(rows)).sum(1).min())
    found = index.search(vectors, k=_NEIGHBOURS + 1).indices
    # Without the query's own picture, which the index holds, too.
    nearest = np.stack(
        [line[line != row][:_NEIGHBOURS] for line, row in zip(found, rows, strict=True)]
    )
    found_labels = index.labels(nearest.ravel()).reshape(nearest.shape)
    found_classes = [[index.class_names[label] for label in line] for line in found_labels]
    right = found_labels == labels[rows][:, None]
    paths = np.array(index.paths(nearest.ravel())).reshape(nearest.shape)
    _draw(files, [[index.root / path for path in line] for line in paths], right, root)
    _print([index.class_names[label] for label in classes], found_classes, right)
    print(
        f"The server's vectors are those of the Keras model: least cosine {least:.6f}.\n"
        f"The index knows a picture of the same class as nearest to {right[:, 0].sum()} of "
        f"{len(rows)} queries. Picture: {root / 'neighbours.png'}"
    )
    return {"least_cosine": least, "queries": len(rows), "right": int(right[:, 0].sum())}


@contextmanager
def _server(models: Path) -> Iterator[str]:
    """Serves a folder of models while the context lasts; gives the address of gRPC."""
    command = ["keras_distill.serve", f"--models={models}", "--port=0", "--rest_port=-1"]
    print(f"\n$ python -m {shlex.join(command)} &", flush=True)
    process = subprocess.Popen(
        [sys.executable, "-m", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        ready = process.stdout.readline()
        if not ready:
            print(process.communicate()[1], file=sys.stderr)
            sys.exit(process.returncode)
        print(ready, end="", flush=True)
        yield json.loads(ready)["grpc"]
        print("\nStopping the server: it finishes what runs.", flush=True)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=_STOPPING_SECONDS)
    finally:
        process.kill()
        process.communicate()


def _print(queries: list[str], found: list[list[str]], right: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("query", *map(str, range(1, _NEIGHBOURS + 1)))
    table.title = "Classes of the nearest in the index; green: that of the query"
    for query, line, same in zip(queries, found, right, strict=True):
        colours = ("green" if good else "red" for good in same)
        names = (f"[{colour}]{name}" for colour, name in zip(colours, line, strict=True))
        table.add_row(query, *names)
    print()
    Console().print(table)


def _draw(queries: list[Path], neighbours: list[list[Path]], right: Any, root: Path) -> None:
    """Draws a row for each query, its neighbours framed green if they are of its class."""
    from PIL import Image, ImageOps

    def tile(file: Path, colour: tuple[int, int, int]) -> Image.Image:
        with Image.open(file) as image:
            return ImageOps.expand(image.convert("RGB").resize((_PIXELS, _PIXELS)), _FRAME, colour)

    side = _PIXELS + 2 * _FRAME
    size = ((1 + len(neighbours[0])) * side + side // 4, len(queries) * side)
    picture = Image.new("RGB", size, _WHITE)
    for row, (query, files, same) in enumerate(zip(queries, neighbours, right, strict=True)):
        picture.paste(tile(query, _WHITE), (0, row * side))
        for column, (file, good) in enumerate(zip(files, same, strict=True), 1):
            frame = tile(file, _GREEN if good else _RED)
            picture.paste(frame, (column * side + side // 4, row * side))
    with published_file(root / "neighbours.png") as temporary:
        picture.save(temporary)
