"""The flags of bulk embedding, shared by the local command and Beam's."""

import glob
from pathlib import Path
from typing import Any

from keras_distill.errors import InputError
from keras_distill.settings.command import Command
from keras_distill.settings.data import DATASETS, check_name


def define_embedding_flags(command: Command, *, model: str) -> None:
    """Adds the flags of bulk embedding to a command.

    Args:
        command: The command.
        model: Help of `--model`.
    """
    command.string("Model", "model", "", f"{model} Required.")
    command.integer("Model", "batch_size", 64, "Most pictures embedded at once.", 1)
    group = "Pictures"
    command.string(
        group,
        "images",
        "",
        "Folder of JPEG and PNG images, at any depth; or a data set, "
        f"{', '.join(DATASETS)}; or a pattern such as 'photos/**/*.jpg', in quotes. The first "
        "folder on the way to a picture is its class. Required.",
    )
    command.string(
        group, "data_dir", "~/tensorflow_datasets", "Folder where data sets lie, or are put."
    )
    group = "Output"
    command.string(group, "out", "", "Folder for the vectors. Required.")
    command.choice(
        group,
        "format",
        "npy",
        ["npy", "parquet"],
        "npy: arrays, and the paths beside them, a line each. parquet: tables of path, class, "
        "label and vector; needs pyarrow.",
    )
    command.integer(
        group, "shard_size", 4096, "Pictures in a shard: what a killed process loses.", 1
    )
    command.boolean(group, "overwrite", False, "Replace vectors that were made otherwise.")


def check_embedding_flags(flags: Any) -> None:
    """Rejects what cannot work before TensorFlow is loaded.

    Args:
        flags: The parsed flags.

    Raises:
        InputError: If a flag is missing or of no use.
    """
    from keras_distill.data.vector_format import check_file_format

    for name in ("model", "images", "out"):
        if not flags[name].value:
            raise InputError(f"--{name} is required.")
    if not Path(flags.model).exists():
        raise InputError(f"--model={flags.model} does not exist.")
    if not Path(flags.images).expanduser().is_dir() and not glob.has_magic(flags.images):
        check_name("images", flags.images, flags.images)
    check_file_format(flags.format, argument="--format")


def start_flagged_shards(flags: Any, embedder: Any, image_size: int, pictures: Any) -> Any:
    """Begins, or goes on with, the vectors that the flags ask for.

    Args:
        flags: The parsed flags.
        embedder: The model, a `Teacher`.
        image_size: Height and width that it sees, in pixels.
        pictures: The `PictureList`.

    Returns:
        The `VectorShards`.

    Raises:
        InputError: As `start_shards`.
    """
    import numpy as np

    from keras_distill.data.vector_shards import start_shards
    from keras_distill.teachers.embedder_fingerprint import embedder_fingerprint

    dim = embedder.embedding_dim
    if dim is None:
        dim = int(embedder(np.zeros((1, image_size, image_size, 3), np.uint8)).shape[1])
    made_of = {
        "model": flags.model,
        "embedder": embedder_fingerprint(embedder, image_size, argument=f"--model={flags.model}"),
        "image_size": image_size,
        "root": str(pictures.root.absolute()),
        "pictures": pictures.fingerprint,
        "rows": len(pictures),
        "dim": dim,
        "shard_size": flags.shard_size,
        "file_format": flags.format,
        "class_names": list(pictures.class_names),
    }
    return start_shards(Path(flags.out), made_of, overwrite=flags.overwrite, argument="--out")


def summary(shards: Any, seconds: float, **more: Any) -> dict[str, Any]:
    """Returns what a command says last: where the vectors are, and how many.

    Args:
        shards: The `VectorShards`.
        seconds: How long it took.
        **more: What else there is to say.

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
