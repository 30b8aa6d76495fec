"""Settings of the backbone of a model that is trained."""

from dataclasses import dataclass
from pathlib import Path

from keras_distill.errors import InputError
from keras_distill.models.backbones import BACKBONES
from keras_distill.settings.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class BackboneSettings(Settings, group="Student"):
    """Backbone, and the size of its images."""

    backbone: str = setting(
        "mobilenet", f"One of {', '.join(BACKBONES)}.", choices=list(BACKBONES), formerly="trunk"
    )
    alpha: float = setting(1.0, "Width multiplier of a MobileNet backbone, e.g. 0.25.")
    image_size: int | None = setting(
        None, "Pixels a side; the backbone's own if not given.", least=32
    )
    backbone_weights: str = setting(
        "imagenet",
        "imagenet (fetched by Keras), none, or the path of a .weights.h5 file.",
        formerly="trunk_weights",
    )
    backbone_layer: str = setting(
        "", "End the backbone after this layer; a wrong name lists them.", formerly="trunk_layer"
    )
    freeze_batch_norm: bool = setting(
        False,
        "Keep the statistics of the backbone's batch normalisations, and normalise by them in "
        "training too; their gamma and beta are trained. For pretrained backbones and small "
        "batches.",
    )
    dropout: float = setting(
        0.0,
        "Share of the pooled features that are dropped before the head, in training only, such as "
        "0.4.",
    )

    def check(self) -> None:
        """Rejects what cannot work.

        Raises:
            InputError: If a flag cannot be used.
        """
        if self.dropout >= 1:
            raise InputError(f"--dropout={self.dropout} must be below 1, such as 0.4.")
        path = self.backbone_weights
        if path not in ("imagenet", "none") and not Path(path).exists():
            raise InputError(f"--backbone_weights={path} does not exist.")
        if not self.freeze_batch_norm:
            return
        if self.backbone_weights == "none":
            raise InputError(
                "--freeze_batch_norm with --backbone_weights=none would keep the statistics of a "
                "backbone that has seen no image, a mean of 0 and a variance of 1; give "
                "pretrained weights, or leave it out."
            )
        for name in ("sync_batch_norm", "ema_batches"):
            if (value := getattr(self, name)) != getattr(type(self), name):
                given = f"--{name}" if value is True else f"--{name}={value}"
                raise InputError(
                    f"{given} has no effect with --freeze_batch_norm, which keeps all statistics; "
                    "leave one of them out."
                )
