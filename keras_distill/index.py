r"""Builds an index of pictures and searches it by picture or by words.

  build    embeds --images, or --dataset, with --model and writes the index --out
  add      embeds the pictures that --index does not have yet, and adds them
  delete   removes the pictures --id from --index
  search   finds the --k pictures of --index that are nearest to --image, by the same --model, or
           that match --words best, if the index is of a model of words
  info     describes --index

An index is a folder that can be moved: vectors, paths, classes, and files of ScaNN, if used. A
killed build resumes when it is started again. Pictures added to an index with ScaNN are compared
one by one, so after a tenth of it, at least 1,000 pictures, --rebuild is required.

  python -m keras_distill.index build --model=runs/student --images=photos --out=photos.index
  python -m keras_distill.index search --index=photos.index --model=runs/student \
      --image=query.jpg --k=10 --picture=found.png

Exit codes: 0 done, 2 unusable flags or input.
"""

import json
import time
from pathlib import Path
from typing import Any

from keras_distill.errors import renamed_arguments
from keras_distill.publishing import published_file
from keras_distill.settings.command import Command
from keras_distill.settings.index import IndexSettings

VERBS = ("build", "add", "delete", "search", "info")
COMMAND = Command("keras_distill.index", __doc__, IndexSettings, VERBS)
_OF_EMBEDDING = ("image_size", "batch_size", "mirror")


def main(settings: IndexSettings) -> None:
    """Runs the verb."""
    verb, begun = COMMAND.verb, time.perf_counter()
    verbs = {"build": _build, "add": _add, "delete": _delete, "search": _search, "info": _info}
    with renamed_arguments(folder="out" if verb == "build" else "index", patterns="id"):
        settings.check(verb)
        result = verbs[verb](settings)
    if verb != "info":
        result["seconds"] = round(time.perf_counter() - begun, 2)
    if settings.json:
        with published_file(Path(settings.json)) as temporary:
            temporary.write_text(json.dumps(result, indent=2) + "\n")
    if verb in ("build", "add", "delete"):
        print(json.dumps(result))


def _build(settings: IndexSettings) -> dict[str, Any]:
    from keras_distill.retrieval.index_of_vectors import build_index_of_vectors
    from keras_distill.retrieval.index_summary import index_summary

    left_out: dict[str, Any] = {"skipped_images": []}
    folder, vectors = Path(settings.out), Path(settings.vectors)
    options: dict[str, Any] = {"backend": settings.backend, "overwrite": settings.overwrite}
    if settings.vectors:
        index = build_index_of_vectors(folder, vectors, **options)
    else:
        from keras_distill.embedding.index_of_images import build_index_of_images
        from keras_distill.evaluation.indexed_pictures import index_pictures

        images, left_out = index_pictures(settings)
        options |= {name: getattr(settings, name) for name in _OF_EMBEDDING}
        index = build_index_of_images(folder, images, settings.model, **options)
    return {**index_summary(index), **left_out}


def _add(settings: IndexSettings) -> dict[str, Any]:
    from keras_distill.retrieval.index_of_vectors import add_vectors_to_index
    from keras_distill.retrieval.index_summary import index_summary
    from keras_distill.retrieval.vector_index import open_index

    left_out: dict[str, Any] = {"skipped_images": []}
    index, vectors = open_index(Path(settings.index)), Path(settings.vectors)
    options: dict[str, Any] = {"rebuild": settings.rebuild}
    if settings.vectors:
        index, added = add_vectors_to_index(index, vectors, **options)
    else:
        from keras_distill.embedding.index_of_images import add_images_to_index
        from keras_distill.evaluation.indexed_pictures import index_pictures

        images, left_out = index_pictures(settings)
        options |= {name: getattr(settings, name) for name in _OF_EMBEDDING}
        index, added = add_images_to_index(index, images, settings.model, **options)
    return {**index_summary(index), "added": added, **left_out}


def _delete(settings: IndexSettings) -> dict[str, Any]:
    from keras_distill.retrieval.index_changes import delete_from_index
    from keras_distill.retrieval.index_summary import index_summary
    from keras_distill.retrieval.vector_index import open_index

    before = len(open_index(settings.index))
    index = delete_from_index(settings.index, settings.id, rebuild=settings.rebuild)
    return {**index_summary(index), "deleted": before - len(index)}


def _search(settings: IndexSettings) -> dict[str, Any]:
    from keras_distill.embedding.picture_search import search_by_picture
    from keras_distill.retrieval.found_by_words import find_by_words
    from keras_distill.retrieval.found_pictures import show_found
    from keras_distill.retrieval.vector_index import open_index

    index, image = open_index(settings.index), settings.image
    drawing = {"picture": settings.picture, "pictures_in": settings.pictures_in}
    if settings.words:
        return find_by_words(index, settings.words, settings.word_vectors, settings.k, **drawing)
    query: dict[str, Any] = {"k": settings.k, "image_size": settings.image_size}
    query |= {"other_model": settings.other_model, "mirror": settings.mirror}
    neighbours = search_by_picture(index, image, settings.model, **query)
    return show_found(index, neighbours, image, **drawing)


def _info(settings: IndexSettings) -> dict[str, Any]:
    from keras_distill.retrieval.index_summary import show_summary
    from keras_distill.retrieval.vector_index import open_index

    return show_summary(open_index(settings.index))


if __name__ == "__main__":
    COMMAND.run(main)
