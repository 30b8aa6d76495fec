"""File formats of the vectors of a shard."""

import importlib.util
import io
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from keras_distill.errors import InputError

FILE_FORMATS = ("npy", "parquet")


@dataclass(frozen=True, eq=False)
class VectorRows:
    """Pictures and their vectors.

    Attributes:
        vectors: float32 `(n, dim)`.
        paths: Relative paths of the pictures.
        labels: Index of each picture's class in `class_names`, int64 `(n,)`; -1 for none.
        class_names: Names of the classes.
        errors: For each picture that has no vector its path and the reason.
    """

    vectors: np.ndarray
    paths: list[str]
    labels: np.ndarray
    class_names: tuple[str, ...]
    errors: list[tuple[str, str]] = field(default_factory=list)


def check_file_format(file_format: str) -> None:
    """Checks that a format is known and its library installed.

    Args:
        file_format: One of `FILE_FORMATS`.

    Raises:
        InputError: If it is not.
    """
    if file_format not in FILE_FORMATS:
        raise InputError(f"`file_format={file_format!r}` is unknown; give npy or parquet.")
    if file_format == "parquet" and importlib.util.find_spec("pyarrow") is None:
        raise InputError(
            "`file_format='parquet'` needs pyarrow: pip install 'keras_distill[parquet]'; or give "
            "npy."
        )


def encode_rows(rows: VectorRows, file_format: str) -> dict[str, bytes]:
    """Turns rows into files; once the last one is there, all are.

    Args:
        rows: The rows.
        file_format: `npy`: an array, and next to it the paths as text, a line each, and the labels.
            `parquet`: a table of `path`, `class`, `label` and `vector`.

    Returns:
        The bytes by the suffix of the file's name.
    """
    if file_format == "npy":
        return {
            ".ids.txt": "".join(f"{path}\n" for path in rows.paths).encode(),
            ".labels.npy": _npy(np.asarray(rows.labels, np.int64)),
            ".npy": _npy(np.ascontiguousarray(rows.vectors, np.float32)),
        }
    import pyarrow
    import pyarrow.parquet

    names = np.array([*rows.class_names, None], object)
    flat = pyarrow.array(np.asarray(rows.vectors, np.float32).reshape(-1))
    table = pyarrow.table(
        {
            "path": pyarrow.array(rows.paths, pyarrow.string()),
            "class": pyarrow.array(names[rows.labels], pyarrow.string()),
            "label": pyarrow.array(rows.labels, pyarrow.int64()),
            "vector": pyarrow.FixedSizeListArray.from_arrays(flat, rows.vectors.shape[1]),
        }
    )
    sink = io.BytesIO()
    pyarrow.parquet.write_table(table, sink)
    return {".parquet": sink.getvalue()}


def last_suffix(file_format: str) -> str:
    """Returns the suffix of the file of a shard that is written last."""
    return f".{file_format}"


def decode_rows(stem: Path, file_format: str, class_names: tuple[str, ...]) -> VectorRows:
    """Reads what `encode_rows` made.

    Args:
        stem: Path of the files without their suffixes.
        file_format: As of `encode_rows`.
        class_names: Names of the classes.

    Returns:
        The rows, without errors.

    Raises:
        InputError: If a file is missing or damaged.
    """
    files = {suffix: Path(f"{stem}{suffix}") for suffix in (".ids.txt", ".labels.npy", ".npy")}
    try:
        if file_format == "npy":
            vectors = np.load(files[".npy"], allow_pickle=False)
            labels = np.load(files[".labels.npy"], allow_pickle=False)
            paths = files[".ids.txt"].read_text(encoding="utf-8").split("\n")[:-1]
        else:
            import pyarrow.parquet

            # A file, not a data set: what stands in the folders' names is no column.
            table = pyarrow.parquet.ParquetFile(f"{stem}.parquet").read()
            column = table["vector"].combine_chunks()
            vectors = column.flatten().to_numpy().reshape(len(column), column.type.list_size)
            paths, labels = table["path"].to_pylist(), table["label"].to_numpy()
        if vectors.ndim != 2 or not len(vectors) == len(paths) == len(labels):
            raise ValueError(f"{vectors.shape} vectors, {len(paths)} paths, {len(labels)} labels")
    except Exception as error:  # NumPy and Arrow have many kinds
        raise InputError(
            f"the vectors {str(stem)!r} are damaged or incomplete ({error}); delete these files "
            "and embed again."
        ) from error
    return VectorRows(vectors, paths, labels, class_names)


def encode_errors(errors: list[tuple[str, str]]) -> bytes:
    """Returns errors as lines of JSON."""
    lines = (json.dumps({"path": path, "reason": reason}) + "\n" for path, reason in errors)
    return "".join(lines).encode()


def _npy(array: np.ndarray) -> bytes:
    sink = io.BytesIO()
    np.save(sink, array)
    return sink.getvalue()
