"""Settings of the commands `embed` and `embed_beam`."""

import glob
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_distill.errors import InputError, renamed_arguments
from keras_distill.settings.data import DATASETS, check_name
from keras_distill.settings.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class EmbeddingSettings(Settings):
    """Settings of both commands."""

    model: str = setting(
        "",
        "A .keras file, a run directory, a SavedModel, or a .tflite file. Required.",
        group="Model",
    )
    mirror: bool = setting(
        False,
        "Average the vectors of each picture and its mirror image: often better, in twice the "
        "time. They cannot be mixed with vectors made without.",
        group="Model",
    )
    batch_size: int = setting(
        64, "Maximum number of pictures embedded at once.", group="Model", least=1
    )
    images: str = setting(
        "",
        "Folder of JPEG and PNG images, at any depth; or a data set, "
        f"{', '.join(DATASETS)}; or a pattern such as 'photos/**/*.jpg', in quotes. The first "
        "folder of a picture's path is its class. Required.",
        group="Pictures",
    )
    data_dir: str = setting(
        "~/tensorflow_datasets",
        "Folder of data sets, where new ones are put, too.",
        group="Pictures",
    )
    out: str = setting("", "Folder for the vectors. Required.", group="Output")
    format: str = setting(
        "npy",
        "npy: arrays, and the paths next to them, a line each. parquet: tables of path, class, "
        "label and vector; needs pyarrow.",
        group="Output",
        choices=["npy", "parquet"],
    )
    shard_size: int = setting(
        4096,
        "Pictures in a shard; a killed process loses at most one shard.",
        group="Output",
        least=1,
    )
    overwrite: bool = setting(
        False, "Replace vectors that were made with other settings.", group="Output"
    )

    def check(self) -> None:
        """Rejects what cannot work before TensorFlow is loaded.

        Raises:
            InputError: If a setting is missing or cannot be used.
        """
        from keras_distill.data.vector_format import check_file_format

        for name in ("model", "images", "out"):
            if not getattr(self, name):
                raise InputError(f"--{name} is required.")
        if not Path(self.model).exists():
            raise InputError(f"--model={self.model} does not exist.")
        if not Path(self.images).expanduser().is_dir() and not glob.has_magic(self.images):
            check_name("images", self.images, self.images)
        with renamed_arguments(file_format="format"):
            check_file_format(self.format)


@dataclass(frozen=True, kw_only=True)
class EmbedSettings(EmbeddingSettings):
    """Settings of the command `embed`."""

    image_size: int | None = setting(
        None, "Pixels a side, for a model that takes any size.", group="Model", least=1
    )
    shards: str = setting(
        "",
        "K/N: this is the K-th of N processes, from 1 on, and does its part of the shards.",
        group="Output",
    )

    def check(self) -> None:
        """Checks as `EmbeddingSettings.check` does, and that `--shards` is such a part."""
        super().check()
        parse_part(self.shards)


@dataclass(frozen=True, kw_only=True)
class BeamEmbedSettings(EmbeddingSettings):
    """Settings of the command `embed_beam`."""

    model: str = setting(
        "",
        "Version folder of a SavedModel that `python -m keras_distill.export` wrote. Required.",
        group="Model",
    )


def parse_part(text: str) -> tuple[int, int]:
    """Reads `--shards`.

    Args:
        text: `K/N`, or empty for all shards.

    Returns:
        `K - 1` and `N`.

    Raises:
        InputError: If it is not such a part.

    Example:
        >>> parse_part("2/4")
        (1, 4)
    """
    if not text:
        return 0, 1
    match = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", text)
    if match is None or int(match[1]) > int(match[2]):
        raise InputError(f"--shards={text} is no part such as 2/4, the second of four.")
    return int(match[1]) - 1, int(match[2])


def open_output(settings: EmbeddingSettings, embedder: Any, image_size: int, pictures: Any) -> Any:
    """Opens the folder of vectors that the settings name, new or begun with the same settings.

    Args:
        settings: The settings.
        embedder: The model, a `Teacher`.
        image_size: Height and width of the model's input, in pixels.
        pictures: The `PictureList`.

    Returns:
        The `VectorShards`.

    Raises:
        InputError: As `start_shards` does.
    """
    import numpy as np

    from keras_distill.data.vector_shards import start_shards
    from keras_distill.teachers.embedder_fingerprint import embedder_fingerprint

    dim = embedder.embedding_dim
    if dim is None:
        dim = int(embedder(np.zeros((1, image_size, image_size, 3), np.uint8)).shape[1])
    with renamed_arguments(embedder=f"model={settings.model}"):
        fingerprint = embedder_fingerprint(embedder, image_size)
    provenance = {
        "model": settings.model,
        "embedder": fingerprint,
        "image_size": image_size,
        "mirror": embedder.mirror_averaged,
        "root": str(pictures.root.absolute()),
        "pictures": pictures.fingerprint,
        "rows": len(pictures),
        "dim": dim,
        "shard_size": settings.shard_size,
        "file_format": settings.format,
        "class_names": list(pictures.class_names),
    }
    with renamed_arguments(folder="out", file_format="format"):
        return start_shards(Path(settings.out), provenance, overwrite=settings.overwrite)


def summary(shards: Any, seconds: float, **more: Any) -> dict[str, Any]:
    """Returns the last line that a command prints: the folder and the numbers of the vectors.

    Args:
        shards: The `VectorShards`.
        seconds: Duration of the command.
        **more: Further values to print.

    Returns:
        Plain values by name.
    """
    return {
        "out": str(shards.folder),
        "pictures": shards.manifest["rows"],
        "embedded": shards.manifest["embedded"],
        "errors": shards.manifest["errors"],
        "dim": shards.manifest["dim"],
        "shards": shards.count,
        "shards_missing": len(shards.missing()),
        "format": shards.manifest["file_format"],
        **more,
        "seconds": round(seconds, 2),
    }
