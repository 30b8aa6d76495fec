"""Image files on disk: the formats that are read, and walking folders for them."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

#: Suffixes of JPEG and PNG files.
SUFFIXES = (".jpg", ".jpeg", ".png")
#: Suffixes of images of other formats.
OTHER_SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jxl"),
    *(".tif", ".tiff", ".webp"),
)
#: How to convert files of other formats, by a command for a shell.
CONVERSION = (
    'Convert what Pillow reads: python -c "import sys; from PIL import Image, ImageOps; '
    "[ImageOps.exif_transpose(Image.open(f)).save(f + '.png') for f in sys.argv[1:]]\" FILES; "
    "HEIC and JPEG XL need another program."
)
_BEGINNINGS = {
    "JPEG": (0, b"\xff\xd8\xff"),
    "PNG": (0, b"\x89PNG\r\n\x1a\n"),
    "GIF": (0, b"GIF8"),
    "BMP": (0, b"BM"),
    "WebP": (8, b"WEBP"),
    "TIFF": (0, b"II*\0"),
    "big-endian TIFF": (0, b"MM\0*"),
    "AVIF": (4, b"ftypavif"),
    "HEIC": (4, b"ftyphei"),
    "HEIF": (4, b"ftypmif1"),
    "JPEG XL": (4, b"JXL "),
}


def image_files(
    folder: str | Path, passed_over: Callable[[str], object] = lambda path: None
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Iterates over the images anywhere below a folder, in no particular order.

    Links to folders are followed, except for one that leads back to a folder above it: a warning
    names it. Hidden files, and files that are neither JPEG nor PNG by their suffix, are skipped.

    Args:
        folder: The folder.
        passed_over: Called with the relative path of each image of another format.

    Yields:
        The path relative to the folder, with forward slashes, and the entry of the file.

    Raises:
        OSError: If a folder cannot be read.
    """
    pending: list[tuple[str, tuple[tuple[int, int], ...]]] = [("", (_identity(os.stat(folder)),))]
    while pending:
        below, above = pending.pop()
        with os.scandir(os.path.join(folder, below)) as entries:
            for entry in entries:
                path = below + entry.name
                name = entry.name.lower()
                try:
                    is_folder, is_file = entry.is_dir(), entry.is_file()
                except OSError:  # a link to itself
                    continue
                if is_folder:
                    identity = _identity(entry.stat())
                    if identity in above:
                        warn_of_loop(entry.path)
                    else:
                        pending.append((f"{path}/", (*above, identity)))
                elif name.startswith(".") or not is_file:
                    continue
                elif name.endswith(SUFFIXES):
                    yield path, entry
                elif name.endswith(OTHER_SUFFIXES):
                    passed_over(path)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def list_image_files(folder: str | Path) -> list[str]:
    """Lists the images anywhere below a folder, and warns of those of other formats.

    Args:
        folder: The folder.

    Returns:
        Their paths relative to the folder, with forward slashes, sorted.

    Raises:
        OSError: If a folder cannot be read.
    """
    others: list[str] = []
    found = sorted(path for path, _ in image_files(folder, others.append))
    warn_of_other_formats(folder, others)
    return found


def warn_of_other_formats(folder: str | Path, paths: Iterable[str]) -> None:
    """Warns of images that are not read because of their format, if there are any.

    Args:
        folder: The folder that they lie in.
        paths: Their relative paths.
    """
    if text := describe_other_formats(paths):
        _warn(f"{text}, in {folder}. {CONVERSION}")


def warn_of_loop(link: str | Path) -> None:
    """Warns of a link that is not followed, because it leads back to a folder above it.

    Args:
        link: The link.
    """
    _warn(f"{link} leads back to a folder above it and is not followed")


def _warn(text: str) -> None:
    from absl import logging  # only where there is something to say: the client does without

    logging.warning("%s", text)


def describe_other_formats(paths: Iterable[str]) -> str:
    """Counts and names images that are not read because of their format.

    Args:
        paths: Their relative paths.

    Returns:
        A phrase such as `3 images are neither JPEG nor PNG and are not read (2 .webp, 1 .gif, such
        as 'a/1.gif')`; empty if there are none.

    Example:
        >>> describe_other_formats(["a/2.webp"])
        "1 image is neither JPEG nor PNG and is not read (1 .webp, such as 'a/2.webp')"
    """
    paths = sorted(paths)
    if not paths:
        return ""
    counts = Counter(os.path.splitext(path)[1].lower() for path in paths).most_common()
    named = ", ".join(f"{count} {suffix}" for suffix, count in counts)
    what = (
        "images are neither JPEG nor PNG and are"
        if len(paths) > 1
        else ("image is neither JPEG nor PNG and is")
    )
    return f"{len(paths)} {what} not read ({named}, such as {paths[0]!r})"


def image_format(beginning: bytes) -> str:
    r"""Tells the format of an image by the beginning of its file.

    Args:
        beginning: The first 16 bytes of the file, or more.

    Returns:
        Its name; empty if it is not known.

    Example:
        >>> image_format(b"RIFF\0\0\0\0WEBPVP8 ")
        'WebP'
    """
    for name, (start, mark) in _BEGINNINGS.items():
        if beginning[start:].startswith(mark):
            return name
    return ""
