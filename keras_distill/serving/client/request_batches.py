"""Batches of images that share a request."""

from collections.abc import Iterable, Iterator

from keras_distill.serving.client.image_items import ImageItem


def batches(
    images: Iterable[ImageItem], *, size: int, most_bytes: int
) -> Iterator[list[ImageItem]]:
    """Puts images of one signature and one shape together.

    Args:
        images: The images.
        size: Most images in a batch.
        most_bytes: Most bytes in a batch; an image with more has one of its own.

    Yields:
        Batches, each as soon as it is full, what is left at the end.
    """
    open_batches: dict[tuple, list[ImageItem]] = {}
    filled: dict[tuple, int] = {}
    for image in images:
        kind = (image.signature, getattr(image.data, "shape", None))
        length = getattr(image.data, "nbytes", None) or len(image.data)
        batch = open_batches.setdefault(kind, [])
        if batch and filled[kind] + length > most_bytes:
            yield batch
            batch = open_batches[kind] = []
        filled[kind] = length + (filled[kind] if batch else 0)
        batch.append(image)
        if len(batch) == size:
            yield open_batches.pop(kind)
    yield from open_batches.values()
