"""Images that a file names, found below a folder."""

import os
import posixpath
from pathlib import Path

from keras_distill.data.image_files import OTHER_SUFFIXES, SUFFIXES, image_files


class ListedImages:
    """Finds the images that an annotation file names.

    A name is a path relative to the folder, with forward slashes. A name without a folder that is
    not directly there is looked for anywhere below, as `train2014/` and `val2014/` of COCO need it;
    it must be there once.

    Args:
        root: The folder.

    Example:
        >>> ListedImages("photos").find("1.jpg")  # doctest: +SKIP
        ('1.jpg', '')
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        self._below: dict[str, list[str]] | None = None

    def find(self, name: str, *, suffixes: tuple[str, ...] = ("",)) -> tuple[str, str]:
        """Finds an image.

        Args:
            name: Its name.
            suffixes: What may follow it, tried in this order.

        Returns:
            The path relative to the folder, and an empty text; or an empty text, and what is wrong.
        """
        if os.path.isabs(name):
            name = os.path.relpath(name, self.root.resolve())
        name = posixpath.normpath(name.replace(os.sep, "/")) if name else ""
        if not name or name == ".":
            return "", "it names no image"
        for suffix in suffixes:
            path = name + suffix
            if path.lower().endswith(OTHER_SUFFIXES):
                return "", f"{path!r} is neither JPEG nor PNG"
            if os.path.isfile(os.path.join(self.root, path)):
                return path, ""
        if "/" not in name:
            found = sorted({path for suffix in suffixes for path in self._named(name + suffix)})
            if len(found) == 1:
                return found[0], ""
            if found:
                return "", (
                    f"{name!r} is {len(found)} times below {str(self.root)!r}, such as "
                    f"{found[0]!r} and {found[1]!r}"
                )
        return "", f"{name!r} does not exist below {str(self.root)!r}"

    def _named(self, name: str) -> list[str]:
        """The paths of the images of this name, anywhere below the folder."""
        if self._below is None:
            self._below = {}
            for path, entry in image_files(self.root):
                self._below.setdefault(entry.name, []).append(path)
        return self._below.get(name, [])


#: Suffixes of images that are named without one.
IMAGE_SUFFIXES = SUFFIXES
