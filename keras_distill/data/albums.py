"""List of albums on disk: sets of photographs with several labels each."""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from keras_distill.data.image_set import ImageSet, image_id
from keras_distill.errors import InputError


@dataclass(frozen=True, eq=False)
class Albums:
    """Albums, each with photographs and any number of labels.

    Attributes:
        photographs: All photographs, without labels, each once; several albums may share one.
        names: Name of each album, such as `birthday/12`, `(n,)`.
        members: For each album the rows of its photographs in `photographs`, int64, at least one.
        targets: int8 `(n, c)`: 1 where the album has the label, 0 where it has not, -1 where nobody
            annotated it.
        class_names: Names of the labels, `(c,)`.
        splits: `train`, `validation` or `test` of each album, `(n,)`, empty for none; `None` if the
            data set is not split.
        vectors: Vector of each photograph, float32 `(photographs, dim)`, if they were embedded.
    """

    photographs: ImageSet
    names: np.ndarray
    members: tuple[np.ndarray, ...]
    targets: np.ndarray
    class_names: tuple[str, ...]
    splits: np.ndarray | None = None
    vectors: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def sizes(self) -> np.ndarray:
        """The number of photographs of each album, int64 `(n,)`."""
        return np.array([len(rows) for rows in self.members], np.int64)

    @property
    def positives(self) -> np.ndarray:
        """The number of albums that have each label, int64 `(c,)`."""
        return (self.targets == 1).sum(axis=0, dtype=np.int64)

    @property
    def ids(self) -> np.ndarray:
        """A number for each album, int64 `(n,)`, that depends on its name alone."""
        return np.array([image_id(name) for name in self.names], np.int64)

    @functools.cached_property
    def digest(self) -> str:
        """Hashes names, photographs, targets and class names, on which a training depends."""
        digest = hashlib.blake2b("\n".join(self.names).encode(), digest_size=16)
        digest.update("\n".join(("", *self.photographs.paths, *self.class_names)).encode())
        digest.update(self.sizes.tobytes())
        digest.update(np.concatenate(self.members).tobytes())
        digest.update(np.ascontiguousarray(self.targets).tobytes())
        return digest.hexdigest()

    def select(self, chosen: np.ndarray) -> "Albums":
        """Returns the albums that a boolean mask or an index array chooses, and their photographs.

        Args:
            chosen: The mask, `(n,)`, or the rows.
        """
        rows = np.arange(len(self))[chosen]
        members = [self.members[row] for row in rows]
        used = np.unique(np.concatenate(members)) if members else np.zeros(0, np.int64)
        return replace(
            self,
            photographs=self.photographs.select(used),
            names=self.names[rows],
            members=tuple(np.searchsorted(used, own) for own in members),
            targets=self.targets[rows],
            splits=None if self.splits is None else self.splits[rows],
            vectors=None if self.vectors is None else self.vectors[used],
        )

    def with_photographs(self, kept: np.ndarray) -> "Albums":
        """Returns the albums with some of their photographs; those that lose all are left out.

        Args:
            kept: Whether each photograph is kept, `(photographs,)`.
        """
        members = tuple(rows[kept[rows]] for rows in self.members)
        chosen = np.array([len(rows) > 0 for rows in members], bool)
        return replace(self, members=members).select(chosen)

    def of_classes(self, class_names: Sequence[str]) -> "Albums":
        """Returns the same albums with some of the labels, in the given order.

        Args:
            class_names: Names of the labels.

        Returns:
            All albums, also those that have none of these labels.

        Raises:
            InputError: If a name is unknown.
        """
        if unknown := [name for name in class_names if name not in self.class_names]:
            raise InputError(
                f"`class_names` holds {unknown[0]!r}, which is none of the "
                f"{len(self.class_names)} classes."
            )
        columns = [self.class_names.index(name) for name in class_names]
        return replace(self, targets=self.targets[:, columns], class_names=tuple(class_names))
