"""Settings of trainings on albums."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from keras_distill.errors import InputError
from keras_distill.settings.label_data import is_album_dataset
from keras_distill.settings.settings import Settings, setting

#: Settings of images, which have no effect where albums are trained on vectors.
_OF_IMAGES = (
    *("backbone", "alpha", "image_size", "backbone_weights", "backbone_layer", "dropout"),
    *("freeze_batch_norm", "backbone_lr_multiplier", "sync_batch_norm"),
    *("crop_area", "augment", "degrade", "ema_batches", "tensorboard_images"),
)


@dataclass(frozen=True, kw_only=True)
class AlbumSettings(Settings, group="Albums"):
    """Albums."""

    album_photographs: int = setting(
        32,
        "For --dataset=albums:...: photographs of an album in a step, drawn at random; smaller "
        "albums have masked places.",
        least=1,
    )
    album_layers: int = setting(6, "For albums: layers of the encoder.", least=1)
    album_heads: int = setting(
        8, "For albums: attention heads; they divide the width of the vectors.", least=1
    )
    album_mlp_dim: int = setting(
        2048, "For albums: width of the hidden layers of the encoder.", least=1
    )
    album_dropout: float = setting(0.1, "For albums: dropout of the encoder, in training only.")
    album_baselines: bool = setting(
        True,
        "For albums: at the end also fit linear classifiers of the mean of the vectors, and of the "
        "mean of the photographs' probabilities, which evaluate compares.",
    )

    def check_albums(self, dataset: str, album_vectors: str) -> None:
        """Rejects what cannot work.

        Args:
            dataset: The setting `dataset`.
            album_vectors: The setting `album_vectors`.

        Raises:
            InputError: If a flag has no effect, or cannot be used with albums.
        """
        if self.album_dropout >= 1:
            raise InputError(f"--album_dropout={self.album_dropout} must be below 1, such as 0.1.")
        own = [field.name for field in dataclasses.fields(AlbumSettings) if field.metadata]
        if not is_album_dataset(dataset):
            for name in (*own, "album_vectors"):
                if self._differs(name):
                    raise InputError(
                        f"{self._flag(name)} has no effect on --dataset={dataset}; leave it out, "
                        "or give --dataset=albums:PATH."
                    )
            return
        for name in ("teacher", "head"):
            if self._differs(name):
                raise InputError(f"{self._flag(name)} is not offered for albums; leave it out.")
        for name in _OF_IMAGES if album_vectors else ():
            if self._differs(name):
                raise InputError(
                    f"{self._flag(name)} has no effect on vectors; leave it out, or leave "
                    f"--album_vectors={album_vectors} out to train on the photographs."
                )

    def _differs(self, name: str) -> bool:
        """Whether a setting is not at its default."""
        default: Any = next(f.default for f in dataclasses.fields(self) if f.name == name)
        return getattr(self, name) != default

    def _flag(self, name: str) -> str:
        value = getattr(self, name)
        return (
            f"--{'' if value else 'no'}{name}" if isinstance(value, bool) else f"--{name}={value}"
        )
