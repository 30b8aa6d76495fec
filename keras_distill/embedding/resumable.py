"""Resumable embedding of many images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from keras_distill.data.image_fingerprint import images_fingerprint
from keras_distill.data.image_set import ImageSet
from keras_distill.data.pipeline import evaluation_batches
from keras_distill.data.shard_store import Shard, ShardStore
from keras_distill.embedding.batches import embed_batches
from keras_distill.teachers.embedder_fingerprint import embedder_fingerprint
from keras_distill.teachers.model_fingerprint import fingerprint_of
from keras_distill.teachers.teacher import Teacher


def embed_resumably(
    embedder: Teacher,
    images: ImageSet,
    folder: Path,
    *,
    image_size: int,
    batch_size: int = 64,
    on_rows: Callable[[int], object] = lambda rows: None,
) -> np.ndarray:
    """Embeds the centre of images, and keeps finished shards on disk.

    Called again with the same model and images, it resumes where it was interrupted; several
    processes at once share the work.

    Args:
        embedder: The model.
        images: The images.
        folder: Folder for finished shards, which the caller removes after using the result.
        image_size: Height and width of the model's input, in pixels.
        batch_size: Images that are embedded at once.
        on_rows: Called with the number of images that are done, for progress.

    Returns:
        The embeddings, float32 `(n, dim)`.

    Raises:
        InputError: If the model cannot be told from another, an embedding is not finite, or the
            disk is full.
    """
    provenance = {
        "embedder": embedder_fingerprint(embedder, image_size),
        "images": images_fingerprint(images),
    }

    def embedded(rows: range) -> np.ndarray:
        chosen = images.select(np.array(rows))
        batches = evaluation_batches(chosen, image_size=image_size, batch_size=batch_size)
        return embed_batches(embedder, batches)[0]

    dim = embedder.embedding_dim or embedded(range(1)).shape[1]
    store = ShardStore(
        folder / fingerprint_of("embeddings", provenance),
        rows=len(images),
        outputs={"embedding": (dim,)},
        manifest={**provenance, "rows": len(images), "dim": dim},
        dtype=np.float32,
    )
    on_rows(len(images) - sum(len(shard.rows) for shard in store.missing(range(1))))

    def compute(shard: Shard) -> dict[str, np.ndarray]:
        vectors = embedded(shard.rows)
        on_rows(len(shard.rows))
        return {"embedding": vectors}

    store.fill(range(1), compute, on_rows)
    return store.read("embedding", np.arange(len(images)), np.zeros(len(images), np.int64))
