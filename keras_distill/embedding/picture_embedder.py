"""Loading of a model that embeds pictures, alone or for an index."""

from keras_distill.errors import InputError, renamed_arguments
from keras_distill.retrieval.vector_index import VectorIndex
from keras_distill.teachers.embedder_fingerprint import embedder_fingerprint
from keras_distill.teachers.image_size import needed_image_size
from keras_distill.teachers.loading import load_teacher
from keras_distill.teachers.mirror_averaged_teacher import mirror_averaged_teacher
from keras_distill.teachers.teacher import Teacher


def load_embedder(
    model: str,
    image_size: int | None = None,
    index: VectorIndex | None = None,
    *,
    other_model: bool = False,
    mirror: bool = False,
) -> tuple[Teacher, int]:
    """Loads a model that embeds pictures.

    Args:
        model: What `load_teacher` takes, except for a table of vectors.
        image_size: Height and width of the images, in pixels, for a model that takes any size.
        index: The index that the embeddings are compared with, or added to.
        other_model: Whether to accept another model than the model of the index.
        mirror: Whether to average the embeddings of each image and its mirror image.

    Returns:
        The model, and the height and width of the images that it sees, in pixels.

    Raises:
        InputError: If it cannot be loaded, or is not the model of the index.
    """
    with renamed_arguments(path="model"):
        embedder = load_teacher(model, mirror=mirror)
    if embedder.needs_ids:
        raise InputError(
            f"`model={model}` is a table of vectors, which reads no pixels; give a model."
        )
    made_at = None if index is None else index.manifest.get("image_size")
    with renamed_arguments(model=f"model={model}", embedder=f"model={model}"):
        size = needed_image_size(embedder.image_size, image_size, made_at)
        fingerprint = None
        if index is not None and not other_model:
            fingerprint = embedder_fingerprint(embedder, size)
    if index is not None and not other_model:
        try:
            index.check_embedder(fingerprint)
        except InputError as error:
            if _differs_in_mirror(model, embedder, size, index, mirror):
                built = f"{str(index.folder)!r} was built by this model"
                mixed = "and the vectors cannot be mixed."
                raise InputError(
                    f"`mirror=True`: {built} without it, {mixed} Leave it out, or build another "
                    "index."
                    if mirror
                    else f"{built} with `mirror=True`, {mixed} Give it, or build another index."
                ) from error
            raise InputError(
                f"`model={model}`: {error} If one learned to embed like the other, "
                "`other_model=True` trusts it."
            ) from error
    return embedder, size


def _differs_in_mirror(
    model: str, embedder: Teacher, size: int, index: VectorIndex, mirror: bool
) -> bool:
    """Whether the index was built by the model, but with the other choice of `mirror`."""
    if embedder.mirror_averaged and not mirror:  # which is part of the model
        return False
    other = load_teacher(model) if mirror else mirror_averaged_teacher(embedder)
    return index.manifest["embedder"] == embedder_fingerprint(other, size)
