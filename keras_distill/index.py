r"""Makes an index of pictures and searches it by picture.

  build    embeds --images, or --dataset, with --model and writes the index --out
  add      embeds those that --index does not have yet, and adds them
  delete   removes the pictures --id from --index
  search   finds the --k pictures of --index that are nearest to --image, by the same --model
  info     tells what --index is

An index is a folder that can be moved: vectors, paths, classes, and ScaNN's files where it searches
with ScaNN. A killed build goes on where it was when it is started again. What is added to an index
that is searched by ScaNN is compared picture by picture, so after a tenth of the index, or 1,000
pictures, --rebuild is asked for: it prepares the search anew from the stored vectors, without
embedding anything again.

  python -m keras_distill.index build --model=runs/student --images=photos --out=photos.index
  python -m keras_distill.index search --index=photos.index --model=runs/student \
      --image=query.jpg --k=10 --picture=found.png

Exit codes: 0 done, 2 unusable flags or input.
"""

import json
import shutil
import time
from pathlib import Path
from typing import Any

from keras_distill.data.image_files import CONVERSION, image_format
from keras_distill.data.pixel_limit import MAX_PIXELS
from keras_distill.errors import InputError
from keras_distill.publishing import published_file
from keras_distill.settings.command import Command
from keras_distill.settings.data import DATASETS, check_name

COMMAND = Command(
    "keras_distill.index", __doc__, verbs=["build", "add", "delete", "search", "info"]
)
_WRITING = "Writing"
COMMAND.string("Index", "index", "", "The index. Required, but by build.")
COMMAND.string(_WRITING, "out", "", "build: folder for the index. Required.")
COMMAND.boolean(_WRITING, "overwrite", False, "build: replace the index that is there.")
COMMAND.choice(
    _WRITING,
    "backend",
    "auto",
    ["auto", "exact", "scann", "faiss"],
    "build: how it is searched. auto is exact below 20,000 pictures and where an approximation "
    "would find too little, else scann, or faiss where ScaNN is not installed.",
)
COMMAND.boolean(
    _WRITING, "rebuild", False, "add, delete: merge everything and prepare the search anew."
)
COMMAND.strings(
    _WRITING, "id", "delete: path of a picture as search shows it, or a pattern: 'cats/*'."
)
_MODEL = "Model"
COMMAND.string(_MODEL, "model", "", "A .keras file, a run directory, or a SavedModel. Required.")
COMMAND.integer(_MODEL, "image_size", None, "Pixels a side, for a model that takes any size.", 1)
COMMAND.integer(_MODEL, "batch_size", 64, "build, add: images embedded at once.", 1)
COMMAND.boolean(
    _MODEL,
    "other_model",
    False,
    "search: trust that --model embeds like the model of the index, such as a student that learnt "
    "from it as its absolute teacher.",
)
_IMAGES = "Pictures"
COMMAND.string(
    _IMAGES, "images", "", "Folder of JPEG and PNG images; its sub-folders, if any, are classes."
)
COMMAND.string(_IMAGES, "dataset", "", f"In its place, {', '.join(DATASETS)}, or folder:PATH.")
COMMAND.string(
    _IMAGES,
    "vectors",
    "",
    "build, add: in place of pictures and --model, a folder of `python -m keras_distill.embed`.",
)
COMMAND.string(
    _IMAGES, "data_dir", "~/tensorflow_datasets", "Folder where data sets lie, or are put."
)
COMMAND.string(_IMAGES, "classes", "", "Only these classes, as A:B, in alphabetical order.")
COMMAND.boolean(
    _IMAGES, "strict_images", False, "Make a corrupt image an error instead of skipping it."
)
COMMAND.integer(
    _IMAGES, "max_pixels", MAX_PIXELS, "Height times width of the largest image that is taken.", 1
)
_SEARCH = "Search"
COMMAND.string(_SEARCH, "image", "", "The picture to search by. Required.")
COMMAND.integer(_SEARCH, "k", 10, "How many pictures to find.", 1)
COMMAND.string(_SEARCH, "picture", "", "File for a picture of what was found, PNG.")
COMMAND.string(
    _SEARCH, "pictures_in", "", "Where the pictures of the index lie now, if they were moved."
)
COMMAND.string("Output", "json", "", "File for the result as JSON.")

_EMBEDDING = {"model", "image_size", "batch_size", "images", "dataset", "data_dir", "classes"}
_EMBEDDING |= {"strict_images", "max_pixels", "vectors"}
_USED = {
    "build": _EMBEDDING | {"out", "overwrite", "backend"},
    "add": _EMBEDDING | {"index", "rebuild"},
    "delete": {"index", "id", "rebuild"},
    "search": {"index", "model", "image_size", "other_model", "image", "k", "picture"}
    | {"pictures_in"},
    "info": {"index"},
}


def main(flags: Any) -> None:
    """Does what the verb says."""
    _check_flags(flags)
    begun = time.perf_counter()
    verbs = {"build": _build, "add": _add, "delete": _delete, "search": _search, "info": _info}
    result = verbs[COMMAND.verb](flags)
    if COMMAND.verb != "info":
        result["seconds"] = round(time.perf_counter() - begun, 2)
    if flags.json:
        with published_file(Path(flags.json)) as temporary:
            temporary.write_text(json.dumps(result, indent=2) + "\n")
    if COMMAND.verb in ("build", "add", "delete"):
        print(json.dumps(result))


def _check_flags(flags: Any) -> None:
    """Rejects what cannot work before TensorFlow is loaded."""
    from keras_distill.retrieval.backends import check_backend
    from keras_distill.retrieval.index_manifest import check_files, check_free, consistently

    verb, used = COMMAND.verb, _USED[COMMAND.verb]
    if "vectors" in used and flags.vectors:
        used = used - _EMBEDDING | {"vectors"}
        verb = f"{verb} --vectors"
    for name in flags:
        if flags[name].present and name not in used | {"json", "flagfile"}:
            raise InputError(f"--{name} has no effect on {verb}; leave it out.")
    for name in ("out", "index", "model", "image", "id"):
        if name in used and not flags[name].value:
            raise InputError(f"--{name} is required to {verb}.")
    for name in ("model", "image", "images", "vectors", "pictures_in"):
        if flags[name].value and not Path(flags[name].value).exists():
            raise InputError(f"--{name}={flags[name].value} does not exist.")
    for name in ("json", "picture"):
        if flags[name].value and Path(flags[name].value).is_dir():
            raise InputError(f"--{name}={flags[name].value} is a folder; give a file.")
    if "images" in used and bool(flags.images) == bool(flags.dataset):
        raise InputError(
            "give the pictures: either --images=FOLDER or --dataset=NAME. Or give their --vectors."
        )
    if flags.dataset:
        check_name("dataset", flags.dataset, flags.dataset)
    if flags.picture and Path(flags.picture).suffix.lower() != ".png":
        raise InputError(f"--picture={flags.picture} must end in .png.")
    check_backend(flags.backend, argument="--backend")
    if COMMAND.verb == "build":
        check_free(Path(flags.out), argument="--out")
        if (Path(flags.out) / "manifest.json").exists() and not flags.overwrite:
            raise InputError(
                f"--out={flags.out} holds an index already; choose another folder, or --overwrite."
            )
    else:
        folder = Path(flags.index)
        consistently(folder, lambda manifest: check_files(folder, manifest))


def _build(flags: Any) -> dict[str, Any]:
    from keras_distill.retrieval.index_changes import build_index
    from keras_distill.retrieval.index_manifest import UNFINISHED

    folder = Path(flags.out)
    skipped: list[str] = []
    if flags.vectors:
        entries, made_of = _stored(flags.vectors)
        fingerprint, model, image_size = (
            made_of[name] for name in ("embedder", "model", "image_size")
        )
    else:
        from keras_distill.embedding.pictures import embed_images, load_embedder, load_images

        images, skipped = load_images(flags)
        embedder, image_size = load_embedder(flags)
        entries, fingerprint = embed_images(flags, embedder, image_size, images, folder)
        model = flags.model
    index = build_index(
        folder,
        entries,
        embedder=fingerprint,
        backend=flags.backend,
        details={"model": model, "image_size": image_size},
        overwrite=flags.overwrite,
    )
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
    return {**_described(index), "skipped_images": skipped}


def _add(flags: Any) -> dict[str, Any]:
    from keras_distill.retrieval.index_changes import add_to_index, rebuild_index
    from keras_distill.retrieval.index_manifest import UNFINISHED
    from keras_distill.retrieval.vector_index import open_index

    folder = Path(flags.index)
    index = open_index(folder)
    before = len(index)
    if flags.vectors:
        entries, made_of = _stored(flags.vectors)
        index = add_to_index(folder, entries, embedder=made_of["embedder"], rebuild=flags.rebuild)
        return {**_described(index), "added": len(index) - before, "skipped_images": []}

    from keras_distill.embedding.pictures import embed_images, load_embedder, load_images

    images, skipped = load_images(flags)
    new = images.select(index.lacks(index.named(images.paths, images.root)))
    if not flags.rebuild:
        index.check_loose(added=len(new))
    if not len(new):
        index = rebuild_index(folder) if flags.rebuild else index
    else:
        embedder, image_size = load_embedder(flags, index)
        entries, fingerprint = embed_images(flags, embedder, image_size, new, folder)
        index = add_to_index(folder, entries, embedder=fingerprint, rebuild=flags.rebuild)
        shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
    return {**_described(index), "added": len(new), "skipped_images": skipped}


def _stored(folder: str) -> tuple[Any, dict[str, Any]]:
    """What `python -m keras_distill.embed` wrote: the entries, and what they were made of."""
    import numpy as np

    from keras_distill.data.vector_shards import open_shards
    from keras_distill.retrieval.index_parts import IndexEntries

    shards = open_shards(Path(folder), argument="--vectors")
    rows, root = shards.read(), Path(shards.manifest["root"])
    paths = np.array(rows.paths, np.str_)
    entries = IndexEntries(rows.vectors, paths, rows.labels, rows.class_names, root)
    return entries, shards.manifest


def _delete(flags: Any) -> dict[str, Any]:
    from keras_distill.retrieval.index_changes import delete_from_index
    from keras_distill.retrieval.vector_index import open_index

    before = len(open_index(flags.index))
    index = delete_from_index(flags.index, flags.id, rebuild=flags.rebuild)
    return {**_described(index), "deleted": before - len(index)}


def _search(flags: Any) -> dict[str, Any]:
    import dataclasses

    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from keras_distill.data.image_set import ImageSet
    from keras_distill.data.pipeline import evaluation_batches
    from keras_distill.data.readable_images import why_unreadable
    from keras_distill.embedding.batches import embed_batches
    from keras_distill.embedding.pictures import load_embedder
    from keras_distill.retrieval.neighbour_picture import draw_neighbours
    from keras_distill.retrieval.vector_index import open_index

    index = open_index(flags.index)
    query = Path(flags.image)
    image = ImageSet(query.parent, np.array([query.name]), np.array([-1]), ())
    try:
        data = query.read_bytes()
    except OSError as error:
        raise InputError(f"--image={flags.image} cannot be read: {error.strerror}.") from error
    if reason := why_unreadable(data):
        remedy = "" if image_format(data) in ("JPEG", "PNG", "") else f" {CONVERSION}"
        raise InputError(f"--image={flags.image}: {reason.removesuffix('.')}.{remedy}")
    embedder, image_size = load_embedder(flags, index)
    vectors, _ = embed_batches(embedder, evaluation_batches(image, image_size=image_size))
    found = index.search(vectors, k=flags.k)
    rows, distances = found.indices[0], found.distances[0].tolist()
    names = [*index.class_names, ""]
    classes = [names[label] for label in index.labels(rows)]
    paths = index.paths(rows)
    table = Table("rank", "distance", "class", title=f"nearest to {query}")
    table.add_column("picture", overflow="fold")
    for rank, (distance, name, path) in enumerate(zip(distances, classes, paths, strict=True), 1):
        table.add_row(str(rank), f"{distance:.4f}", name, path)
    console = Console()
    console.print(table)
    agreement = found.agreement and dataclasses.asdict(found.agreement)
    if agreement:
        console.print(
            f"{index.backend} found {agreement['share']:.1%} of the exact {agreement['k']} nearest",
            highlight=False,
        )
    if flags.picture:
        root = Path(flags.pictures_in or index.root)
        captions = [
            f"{distance:.3f} {name or path}"
            for distance, name, path in zip(distances, classes, paths, strict=True)
        ]
        draw_neighbours(query, [root / path for path in paths], captions, Path(flags.picture))
        console.print(flags.picture, highlight=False, soft_wrap=True)
    return {
        "image": flags.image,
        "index": flags.index,
        "backend": index.backend,
        "agreement": agreement,
        "neighbours": [
            {"picture": path, "class": name or None, "distance": distance}
            for path, name, distance in zip(paths, classes, distances, strict=True)
        ],
    }


def _info(flags: Any) -> dict[str, Any]:
    from rich.console import Console
    from rich.table import Table

    from keras_distill.retrieval.vector_index import open_index

    index = open_index(flags.index)
    described = _described(index)
    hidden = {"files", "class_names", "parts", "deleted", "asked_backend", "rows", "agreement"}
    shown = {k: v for k, v in index.manifest.items() if k not in hidden}
    table = Table(show_header=False, title=str(index.folder))
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in (described | shown).items():
        table.add_row(name, str(value))
    Console().print(table)
    return {**described, "manifest": index.manifest}


def _described(index: Any) -> dict[str, Any]:
    labels = index.labels(index.rows)
    return {
        "index": str(index.folder),
        "pictures": len(index),
        "classes": len(set(labels[labels >= 0].tolist())),  # class_names keeps those deleted
        "backend": index.backend,
        "agreement": index.manifest["agreement"],
        "loose": index.loose,
        "most_loose": index.most_loose,
        "megabytes": round(sum(index.manifest["files"].values()) / 1e6, 3),
    }


if __name__ == "__main__":
    COMMAND.run(main)
