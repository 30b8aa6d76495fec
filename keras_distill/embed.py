r"""Embeds many pictures into shards of vectors.

  python -m keras_distill.embed --model=runs/student --images=photos --out=vectors
  python -m keras_distill.embed --model=models/photos/1 --images='photos/**/*.jpg' \
      --out=vectors --format=parquet

--out gets vectors/000000.npy with the relative paths in 000000.ids.txt and the classes in
000000.labels.npy, or vectors/000000.parquet; errors.jsonl, a line for each picture that could not
be read, with the reason; and manifest.json. Started again with the same flags, it resumes with the
missing shards. Several processes on one folder share the work, shard by shard; where file locks do
not work across them, give each its part by --shards=1/4 ... 4/4.

The folder can be a --teacher or a --gallery_model, and `python -m keras_distill.index build` takes
it as --vectors. Pictures are identified by path and size: after changing some, embed into a new
folder.

The last line printed is a summary as JSON.

Exit codes: 0 done, 2 unusable flags or input, 4 some pictures have no embedding; everything else
was written.
"""

import json
import time

from keras_distill.errors import InputError
from keras_distill.settings.command import SOME_REFUSED, SUCCESS, Command
from keras_distill.settings.embedding import EmbedSettings, open_output, parse_part, summary

COMMAND = Command("keras_distill.embed", __doc__, EmbedSettings)


def main(settings: EmbedSettings) -> int:
    """Embeds what the settings name; returns the exit code."""
    settings.check()

    from rich.console import Console

    from keras_distill.data.picture_list import list_pictures
    from keras_distill.data.shared_work import share_work
    from keras_distill.embedding.bulk import embed_readable
    from keras_distill.embedding.picture_embedder import load_embedder
    from keras_distill.embedding.progress import EmbeddingProgress

    begun = time.perf_counter()
    pictures = list_pictures(settings.images, data_dir=settings.data_dir)
    embedder, image_size = load_embedder(
        settings.model, settings.image_size, mirror=settings.mirror
    )
    shards = open_output(settings, embedder, image_size, pictures)
    part, parts = parse_part(settings.shards)
    mine = [shard for shard in range(shards.count) if shard % parts == part]
    missing = [shard for shard in shards.missing() if shard in mine]
    total = sum(len(shards.rows(shard)) for shard in missing)
    with EmbeddingProgress(Console(stderr=True), total) as progress:

        def work(shard: int) -> None:
            rows = embed_readable(
                embedder,
                pictures.images(shards.rows(shard)),
                dim=shards.manifest["dim"],
                image_size=image_size,
                batch_size=settings.batch_size,
                on_rows=progress.embedded,
            )
            shards.write(shard, rows)
            progress.shard_done(shard, shards.count, len(rows.errors))

        try:
            share_work(
                missing,
                lock=shards.lock,
                is_done=shards.has,
                work=work,
                on_found=lambda shard: progress.found(len(shards.rows(shard))),
            )
        except InputError as error:
            raise error.renamed(embedder="model") from error
    if not shards.missing():
        shards = shards.finish()
    more = {"images_per_second": progress.speed}
    print(json.dumps(summary(shards, time.perf_counter() - begun, **more)))
    return SOME_REFUSED if sum(map(shards.errors, mine)) else SUCCESS


if __name__ == "__main__":
    COMMAND.run(main)
