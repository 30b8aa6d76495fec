"""The images that the client is given, one by one, as what is sent."""

import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_distill.data.image_files import list_image_files


@dataclass(frozen=True, eq=False)
class ImageItem:
    """One image on its way to the server.

    Attributes:
        index: Its place among all images.
        source: How to name it: its path, or `item 3`.
        signature: The signature that takes it; empty if it cannot be sent.
        data: Bytes of a file; or a uint8 or float32 array `(height, width, 3)`.
        fault: Why it cannot be sent.
    """

    index: int
    source: str
    signature: str = ""
    data: bytes | np.ndarray = b""
    fault: str = ""


def image_files(folder: str | Path) -> list[Path]:
    """Lists the JPEG and PNG files anywhere below a folder, also behind links, but hidden ones.

    Args:
        folder: The folder.

    Returns:
        Their paths, sorted. A warning counts images of other formats.
    """
    return [Path(folder) / path for path in list_image_files(folder)]


def list_items(items: Any) -> Iterable[Any]:
    """Takes what the client accepts apart, into one item an image.

    Args:
        items: One image: a path, the bytes of a file, or an array `(height, width, 3)`. Or many: a
            folder, an array `(n, height, width, 3)`, or an iterable of images.

    Returns:
        The images, with a length if `items` has one.

    Raises:
        TypeError: If `items` is none of these.
    """
    if isinstance(items, str | os.PathLike):
        return image_files(Path(items)) if Path(items).is_dir() else [items]
    if isinstance(items, bytes | bytearray | memoryview):
        return [items]
    if hasattr(items, "__array__") or hasattr(items, "__array_interface__"):
        array = np.asarray(items)
        return array if array.ndim == 4 else [array]
    if isinstance(items, Iterable):
        return items
    raise TypeError(f"items of type {type(items).__name__}; give paths, bytes or arrays.")


def read_items(items: Iterable[Any], image_shape: tuple[int | None, ...]) -> Iterator[ImageItem]:
    """Reads images; one that cannot be sent says why in `fault`.

    Warns once of arrays that look as if they were scaled to 0…1: the model takes 0 to 255.

    Args:
        items: The images, as `list_items` gives them.
        image_shape: The shape that arrays must have; `None` where any size will do.

    Yields:
        An item an image, in the same order.
    """
    warned = False
    for index, item in enumerate(items):
        is_path = isinstance(item, str | os.PathLike)
        source = os.fspath(item) if is_path else f"item {index}"
        try:
            data: Any = Path(item).read_bytes() if is_path else item
            if isinstance(data, bytes | bytearray | memoryview):
                signature, data = "serving_default", _checked_bytes(bytes(data))
            else:
                signature, data = _checked_array(np.asarray(data), image_shape)
        except (OSError, ValueError, TypeError) as error:
            yield ImageItem(index, source, fault=getattr(error, "strerror", None) or str(error))
        else:
            if not warned and isinstance(data, np.ndarray) and _looks_scaled(data):
                warned = True
                _warn_of_scaled(source, data)
            yield ImageItem(index, source, signature, data)


def _checked_bytes(data: bytes) -> bytes:
    if not data:
        raise ValueError("no bytes")
    return data


def _checked_array(
    array: np.ndarray, image_shape: tuple[int | None, ...]
) -> tuple[str, np.ndarray]:
    fits = len(array.shape) == len(image_shape) and all(
        wanted in (None, size) for size, wanted in zip(array.shape, image_shape, strict=True)
    )
    if not fits:
        raise ValueError(f"shape {array.shape}, where the model takes {image_shape}")
    if array.dtype == np.uint8:
        return "serve_uint8", array
    if not np.issubdtype(array.dtype, np.floating):
        raise TypeError(f"type {array.dtype}, where the model takes uint8 or float32, 0 to 255")
    array = array.astype(np.float32, copy=False)
    if not np.isfinite(array).all():
        raise ValueError("pixels are not finite")
    return "serve_float", array


def _looks_scaled(array: np.ndarray) -> bool:
    """Whether the values lie in -1…1, and are not all the same, as in a black image."""
    if array.dtype == np.uint8:
        return bool(array.max() == 1 and array.min() == 0)
    return bool(array.max() <= 1 and array.min() >= -1 and array.max() > array.min())


def _warn_of_scaled(source: str, array: np.ndarray) -> None:
    low = -1 if array.min() < 0 else 0
    remedy = "(image + 1) * 127.5" if low < 0 else "image * 255"
    if array.dtype == np.uint8:
        remedy = "an image that was not cut to 0 and 1"
    warnings.warn(
        f"{source}: the pixels lie in {low}…1, where the model takes 0…255; to it the image is "
        f"black. Give {remedy}. Further such images are not mentioned.",
        stacklevel=2,
    )
