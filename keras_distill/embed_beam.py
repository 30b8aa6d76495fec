r"""Embeds many pictures on a cluster by Apache Beam, into the same files as `embed`.

Beam's own flags follow after `--`; without a --runner, the pipeline runs in this process.

  python -m keras_distill.embed_beam --model=models/photos/1 --images=photos --out=vectors
  python -m keras_distill.embed_beam --model=/nfs/models/photos/1 --images=/nfs/photos \
      --out=/nfs/vectors -- --runner=FlinkRunner --flink_master=flink:8081 \
      --environment_type=DOCKER --environment_config=IMAGE

All workers must see --model, --images and --out by the same paths, as on NFS or in a mounted
bucket; IMAGE is one of Beam's images with keras_distill installed. The shards in --out are the same
as the shards of `embed`, so either command resumes the work of the other. Needs `pip install
'keras_distill[beam]'`.

The last line printed is a summary as JSON.

Exit codes: 0 done, 2 unusable flags or input, 4 some pictures have no embedding; everything else
was written.
"""

import importlib.util
import json
import time
from dataclasses import replace
from pathlib import Path

from keras_distill.errors import InputError, renamed_arguments
from keras_distill.settings.command import SOME_REFUSED, SUCCESS, Command
from keras_distill.settings.embedding import BeamEmbedSettings, open_output, summary

COMMAND = Command("keras_distill.embed_beam", __doc__, BeamEmbedSettings, passes_on=True)


def main(settings: BeamEmbedSettings) -> int:
    """Runs the pipeline that the settings describe; returns the exit code."""
    settings.check()
    if importlib.util.find_spec("apache_beam") is None:
        raise InputError(
            "embed_beam needs Apache Beam: pip install 'keras_distill[beam]', best in an "
            "environment of its own (requirements-beam.lock); or use keras_distill.embed."
        )

    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    from keras_distill.data.picture_list import list_pictures
    from keras_distill.embedding.beam import embedding_pipeline, write_lists
    from keras_distill.embedding.jpeg_model import takes_files
    from keras_distill.teachers.loading import load_teacher

    begun = time.perf_counter()
    given = COMMAND.passed_on
    if not any(argument.startswith("--runner") for argument in given):
        # DirectRunner would first try to download Prism, a program of Beam's.
        given = ["--runner=FnApiRunner", *given]
    options = PipelineOptions(given)
    pictures = list_pictures(settings.images, data_dir=settings.data_dir)
    with renamed_arguments(path="model"):
        embedder = load_teacher(settings.model, mirror=settings.mirror)
    if not takes_files(embedder.owner) or embedder.image_size is None:
        raise InputError(
            f"--model={settings.model} is no SavedModel that takes the bytes of pictures; make one "
            "with `python -m keras_distill.export`, and give the folder of its version."
        )
    shards = open_output(settings, embedder, embedder.image_size, pictures)
    if shards.missing():
        write_lists(shards, pictures)
        with beam.Pipeline(options=options) as pipeline:
            embedding_pipeline(
                pipeline,
                replace(shards, folder=shards.folder.absolute()),
                root=str(pictures.root.absolute()),
                model=str(Path(settings.model).absolute()),
                batch_size=settings.batch_size,
                mirror=settings.mirror,
            )
    shards = shards.finish()
    print(json.dumps(summary(shards, time.perf_counter() - begun)))
    return SOME_REFUSED if shards.manifest["errors"] else SUCCESS


if __name__ == "__main__":
    COMMAND.run(main)
