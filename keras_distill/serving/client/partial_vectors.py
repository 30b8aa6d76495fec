"""Embeddings of an unfinished `client embed`, or outputs of `client predict`, on disk."""

import secrets
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import filelock
import numpy as np

from keras_distill.errors import InputError
from keras_distill.publishing import published_file

LEAST_COSINE = 0.9999
_FIELDS = ("ids", "sizes", "times", "vectors", "model", "version")


@dataclass(frozen=True)
class ImageStamp:
    """What tells that a file is still the one that was embedded.

    Attributes:
        id: Its name in the result.
        size: Its length, in bytes.
        time: When it was changed last, in nanoseconds.
    """

    id: str
    size: int
    time: int


def stamp(path: Path, name: str) -> ImageStamp:
    """Looks at a file; one that is not there has a stamp that no file has."""
    try:
        status = path.stat()
    except OSError:
        return ImageStamp(name, -1, -1)
    return ImageStamp(name, status.st_size, status.st_mtime_ns)


class PartialVectors:
    """A folder of parts beside the result, each of which appears whole or not at all.

    To be used in a `with` block, during which no other process can have the folder.

    Args:
        folder: The folder; it is made if need be, and deleted if it holds nothing at the end.
        model: Name of the model.
        noun: What messages call the rows.

    Raises:
        InputError: If it cannot be made or read, another process has it, or it has embeddings by
            another model.
    """

    def __init__(self, folder: Path, model: str, noun: str = "embeddings"):
        self.folder = folder
        self.noun = noun
        self._model = model
        self._versions: set[int] = set()
        self._vectors: dict[ImageStamp, np.ndarray] = {}
        self._lock = filelock.FileLock(folder / ".lock", timeout=0)

    def __enter__(self) -> Self:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except filelock.Timeout:
            raise InputError(
                f"{self.folder} is in use: another process embeds into the same file. Wait for it, "
                "or give another `out`."
            ) from None
        except OSError as error:
            raise InputError(
                f"{self.folder} cannot be written ({error.strerror}); give another `out`."
            ) from error
        try:
            for file in sorted(self.folder.glob("[!.]*.npz")):
                self._read(file)
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not any(self.folder.glob("[!.]*")):
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()

    def __len__(self) -> int:
        return len(self._vectors)

    def __contains__(self, image: ImageStamp) -> bool:
        return image in self._vectors

    def __getitem__(self, image: ImageStamp) -> np.ndarray:
        """The embedding of an image, float32 `(dim,)`."""
        return self._vectors[image]

    def check_version(self, version: int, dim: int) -> None:
        """Refuses to complete embeddings of another version.

        Raises:
            InputError: If what is here is of another version or width.
        """
        if others := sorted(self._versions - {version}):
            raise InputError(
                f"{self.folder} has {self.noun} of version {others[0]} of {self._model!r}, but the "
                f"server answers with version {version}, and the two do not compare. Complete them "
                f"by `version={others[0]}`, or delete {self.folder} to embed all images again."
            )
        widths = {len(vector) for vector in self._vectors.values()}
        if widths - {dim}:
            raise self._other_model(f"they have width {min(widths - {dim})}, not {dim}")

    def check_vector(self, image: ImageStamp, vector: np.ndarray) -> None:
        """Refuses to complete embeddings of another model of the same name and version.

        Args:
            image: One that is here.
            vector: Its embedding by the server, float32 `(dim,)`.

        Raises:
            InputError: If they differ by more than rounding.
        """
        known = self[image].astype(np.float64)
        length = np.linalg.norm(known) * np.linalg.norm(vector)
        cosine = float(known @ vector / length) if length else 0.0
        if not cosine >= LEAST_COSINE:
            raise self._other_model(f"{image.id!r} is embedded otherwise now (cosine {cosine:.4f})")

    def add(self, images: Sequence[ImageStamp], vectors: np.ndarray, version: int) -> None:
        """Writes a part.

        Args:
            images: The images.
            vectors: Their embeddings, float32 `(n, dim)`.
            version: Version of the model.

        Raises:
            InputError: If it cannot be written.
        """
        if not images:
            return
        with published_file(self.folder / f"{secrets.token_hex(8)}.npz") as temporary:
            np.savez(
                temporary,
                ids=np.array([image.id for image in images], np.str_),
                sizes=np.array([image.size for image in images], np.int64),
                times=np.array([image.time for image in images], np.int64),
                vectors=vectors,
                model=np.array(self._model, np.str_),
                version=np.array(version, np.int64),
            )
        self._versions.add(version)
        self._vectors.update(zip(images, vectors, strict=True))

    def clear(self) -> None:
        """Deletes the parts, once their vectors are elsewhere."""
        for file in self.folder.glob("[!.]*.npz"):
            file.unlink(missing_ok=True)

    def _read(self, file: Path) -> None:
        try:
            with file.open("rb") as opened, np.load(opened) as part:
                ids, sizes, times, vectors, model, version = (part[name] for name in _FIELDS)
            stamps = [
                ImageStamp(*image)
                for image in zip(ids.tolist(), sizes.tolist(), times.tolist(), strict=True)
            ]
            rows = dict(zip(stamps, vectors, strict=True))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{file} cannot be read ({error}); delete it, and its images are embedded again."
            ) from error
        if str(model) != self._model:
            raise InputError(
                f"{self.folder} has {self.noun} by the model {str(model)!r}, not {self._model!r}. "
                f"Give another `out`, or delete {self.folder}."
            )
        self._versions.add(int(version))
        self._vectors.update(rows)

    def _other_model(self, why: str) -> InputError:
        return InputError(
            f"{self.folder} has {self.noun} of another model than the one that is served as "
            f"{self._model!r} now: {why}. Give another `out`, or delete {self.folder} to embed all "
            "images again."
        )
