"""Bulk embedding as a pipeline of Apache Beam.

The pipeline lists the pictures of each missing shard, reads them, embeds batches of them with the
exported SavedModel by `RunInference`, gathers the vectors by shard, and writes each shard as the
local command does. Workers must see the same files as the process that starts the pipeline.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, RunInference

from keras_distill.data.picture_list import PictureList
from keras_distill.data.readable_images import why_too_large, why_unreadable
from keras_distill.data.vector_format import VectorRows
from keras_distill.data.vector_shards import VectorShards
from keras_distill.embedding.bulk import NOT_FINITE, why_unnameable
from keras_distill.embedding.jpeg_model import JpegModel
from keras_distill.errors import InputError

_UNREADABLE = "unreadable"


class Answer(NamedTuple):
    """Result of embedding a picture.

    Attributes:
        vector: Its embedding as float32 bytes; empty if it has none.
        reason: The reason if it has none.
    """

    vector: bytes = b""
    reason: str = ""


class BundleHandler(ModelHandler[bytes, Answer, JpegModel]):
    """Embeds the bytes of pictures with a SavedModel of `export_embedder`.

    A picture that cannot be decoded fails its whole batch. The batch is then halved until that
    picture is alone, so that only its own row is lost.

    Args:
        path: Folder of the SavedModel, as workers see it.
        batch_size: Maximum number of pictures in a batch.
        mirror: Whether to average the embeddings of each picture and its mirror image.
    """

    def __init__(self, path: str, batch_size: int, *, mirror: bool = False):
        super().__init__()
        self._path = path
        self._batch_size = batch_size
        self._mirror = mirror

    def load_model(self) -> JpegModel:
        """Loads the SavedModel in a worker."""
        loaded = tf.saved_model.load(self._path)
        return JpegModel("model", Path(self._path), loaded, mirror=self._mirror)

    def run_inference(
        self,
        batch: Sequence[bytes],
        model: JpegModel,
        inference_args: Mapping[str, Any] | None = None,
    ) -> Iterable[Answer]:
        """Embeds a batch of pictures."""
        return _answers(model, list(batch))

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """Returns the batch sizes for Beam."""
        return {"min_batch_size": self._batch_size, "max_batch_size": self._batch_size}


def embedding_pipeline(
    pipeline: beam.Pipeline,
    shards: VectorShards,
    *,
    root: str,
    model: str,
    batch_size: int = 64,
    mirror: bool = False,
) -> None:
    """Adds the embedding of the missing shards to a pipeline.

    Args:
        pipeline: The pipeline.
        shards: The shards, whose pictures `write_lists` has listed.
        root: Folder of the pictures, as workers see it.
        model: Folder of the SavedModel, as workers see it.
        batch_size: Maximum number of pictures that are embedded at once.
        mirror: Whether to average the embeddings of each picture and its mirror image.
    """
    read = (
        pipeline
        | "missing shards" >> beam.Create(shards.missing())
        | "one worker a shard" >> beam.Reshuffle()
        | "its pictures" >> beam.FlatMap(_pictures, shards)
        | "any worker a picture" >> beam.Reshuffle()
        | "read" >> beam.FlatMap(_read, root).with_outputs(_UNREADABLE, main="bytes")
    )
    handler = KeyedModelHandler(BundleHandler(model, batch_size, mirror=mirror))
    embedded = read["bytes"] | "embed" >> RunInference(handler)
    _ = (
        (embedded, read[_UNREADABLE])
        | "all pictures" >> beam.Flatten()
        | "by shard" >> beam.Map(_by_shard)
        | "gather" >> beam.GroupByKey()
        | "write" >> beam.Map(_write, shards)
    )


def write_lists(shards: VectorShards, pictures: PictureList) -> None:
    """Writes the lists of pictures of the missing shards, for the workers.

    Args:
        shards: The shards.
        pictures: All pictures.

    Raises:
        InputError: If the disk is full.
    """
    for shard in shards.missing():
        images = pictures.images(shards.rows(shard))
        lines = zip(images.paths.tolist(), images.labels.tolist(), strict=True)
        shards.write_list(shard, "".join(f"{json.dumps(line)}\n" for line in lines))


def _listed(shard: int, shards: VectorShards) -> list[tuple[str, int]]:
    lines = shards.read_list(shard).splitlines()
    return [(path, label) for path, label in map(json.loads, lines)]


def _pictures(shard: int, shards: VectorShards) -> Iterator[tuple[tuple[int, int], bytes]]:
    """The pictures of a shard: shard and row, and the path, which need not be UTF-8."""
    for row, (path, _) in enumerate(_listed(shard, shards)):
        yield (shard, row), os.fsencode(path)


def _read(picture: tuple[tuple[int, int], bytes], root: str) -> Iterator[Any]:
    key, encoded = picture
    path = os.fsdecode(encoded)
    reason = why_unnameable(path)
    if not reason:
        try:
            data = (Path(root) / path).read_bytes()
            reason = why_too_large(data)
        except OSError as error:
            reason = error.strerror or str(error)
        if not reason:
            yield key, data
            return
    yield beam.pvalue.TaggedOutput(_UNREADABLE, (key, Answer(reason=reason)))


def _by_shard(item: tuple[tuple[int, int], Answer]) -> tuple[int, tuple[int, bytes, str]]:
    (shard, row), answer = item
    return shard, (row, answer.vector, answer.reason)


def _answers(model: JpegModel, batch: list[bytes]) -> list[Answer]:
    assert model.from_jpeg is not None
    try:
        vectors = tf.cast(model.from_jpeg(tf.constant(batch)), tf.float32).numpy()
    except tf.errors.OpError:
        if len(batch) == 1:
            if reason := why_unreadable(batch[0]):
                return [Answer(reason=reason)]
            raise  # the fault is in the model, not in the picture
        half = len(batch) // 2
        return _answers(model, batch[:half]) + _answers(model, batch[half:])
    return [
        Answer(vector.tobytes()) if np.isfinite(vector).all() else Answer(reason=NOT_FINITE)
        for vector in vectors
    ]


def _write(gathered: tuple[int, Iterable[tuple[int, bytes, str]]], shards: VectorShards) -> int:
    shard, found = gathered
    listed = _listed(shard, shards)
    rows = sorted(found)
    if all(not vector for _, vector, _ in rows) and NOT_FINITE in {row[2] for row in rows}:
        raise InputError(
            "`model` returned embeddings that are not finite; it diverged in training, or its "
            "weights are damaged."
        )
    kept = [row for row, vector, _ in rows if vector]
    joined = b"".join(vector for _, vector, _ in rows)
    shards.write(
        shard,
        VectorRows(
            np.frombuffer(joined, np.float32).reshape(len(kept), shards.manifest["dim"]),
            [listed[row][0] for row in kept],
            np.array([listed[row][1] for row in kept], np.int64),
            tuple(shards.manifest["class_names"]),
            [(listed[row][0], reason) for row, vector, reason in rows if not vector],
        ),
    )
    return shard
