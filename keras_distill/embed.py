r"""Embeds many pictures into shards of vectors.

  python -m keras_distill.embed --model=runs/student --images=photos --out=vectors
  python -m keras_distill.embed --model=models/photos/1 --images='photos/**/*.jpg' \
      --out=vectors --format=parquet

--out gets vectors/000000.npy with the relative paths in 000000.ids.txt and the classes in
000000.labels.npy, or vectors/000000.parquet; errors.jsonl, a line for each picture that could not
be read, with the reason; and manifest.json. Started again with the same flags it goes on with the
shards that are missing. Several processes on one folder share the work, shard by shard; where they
cannot lock files for one another, give each its part by --shards=1/4 ... 4/4.

The folder can be a --teacher or a --gallery_model, and `python -m keras_distill.index build` takes
it as --vectors. Pictures are known by path and size: embed into a new folder after changing some.

The last line printed sums up, as JSON. Exit codes: 0 done, 2 unusable flags or input.
"""

import json
import re
import time
from typing import Any

from keras_distill.errors import InputError
from keras_distill.settings.command import Command
from keras_distill.settings.embedding import (
    check_embedding_flags,
    define_embedding_flags,
    start_flagged_shards,
    summary,
)

COMMAND = Command("keras_distill.embed", __doc__)
define_embedding_flags(
    COMMAND, model="A .keras file, a run directory, a SavedModel, or a .tflite file."
)
COMMAND.integer("Model", "image_size", None, "Pixels a side, for a model that takes any size.", 1)
COMMAND.string(
    "Output", "shards", "", "K/N: of N processes this is the K-th, from 1 on; the others do theirs."
)


def main(flags: Any) -> None:
    """Embeds what the flags say."""
    check_embedding_flags(flags)
    part, parts = parse_part(flags.shards)

    from rich.console import Console

    from keras_distill.data.picture_list import list_pictures
    from keras_distill.data.shared_work import share_work
    from keras_distill.embedding.bulk import embed_readable
    from keras_distill.embedding.pictures import load_embedder
    from keras_distill.embedding.progress import EmbeddingProgress

    begun = time.perf_counter()
    pictures = list_pictures(flags.images, data_dir=flags.data_dir, argument="--images")
    embedder, image_size = load_embedder(flags)
    shards = start_flagged_shards(flags, embedder, image_size, pictures)
    mine = [shard for shard in shards.missing() if shard % parts == part]
    total = sum(len(shards.rows(shard)) for shard in mine)
    with EmbeddingProgress(Console(stderr=True), total) as progress:

        def work(shard: int) -> None:
            rows = embed_readable(
                embedder,
                pictures.images(shards.rows(shard)),
                dim=shards.manifest["dim"],
                image_size=image_size,
                batch_size=flags.batch_size,
                on_rows=progress.embedded,
            )
            shards.write(shard, rows)
            progress.shard_done(shard, shards.count, len(rows.errors))

        share_work(
            mine,
            lock=shards.lock,
            is_done=shards.has,
            work=work,
            on_found=lambda shard: progress.found(len(shards.rows(shard))),
        )
    if not shards.missing():
        shards = shards.finish()
    more = {"images_per_second": progress.speed}
    print(json.dumps(summary(shards, time.perf_counter() - begun, **more)))


def parse_part(text: str) -> tuple[int, int]:
    """Reads `--shards`.

    Args:
        text: `K/N`, or empty for all.

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


if __name__ == "__main__":
    COMMAND.run(main)
