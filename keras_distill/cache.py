r"""Computes the outputs of the teachers of a training run ahead of time.

Takes the flags of the training run, so that the same flag file fits both. The outputs of each
teacher for --teacher_cache=views:K views of each training image, and with --image_cache=views:K the
decoded views, go to folders in --cache_dir that are named by a hash of everything they depend on.
It may be interrupted and started again, also several times at once: the processes share the work.
Training fills whatever is still missing.

  python -m keras_distill.cache --flagfile=configs/birds100_relative.flags
  python -m keras_distill.cache --list

Exit codes: 0 done, 2 unusable flags or input.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_distill.errors import InputError
from keras_distill.settings.command import Command
from keras_distill.settings.distill import DistillSettings, load_training_images
from keras_distill.settings.settings import Settings, setting
from keras_distill.settings.teacher_losses import teacher_loss_weights


@dataclass(frozen=True, kw_only=True)
class _CacheListSettings(Settings, group="Cache"):
    list: bool = setting(False, "List the caches in --cache_dir with their sizes instead.")


@dataclass(frozen=True, kw_only=True)
class CacheSettings(_CacheListSettings, DistillSettings):
    """Settings of the command: those of the training, whose flag file it reads."""


COMMAND = Command("keras_distill.cache", __doc__, CacheSettings)


def main(settings: CacheSettings) -> None:
    """Fills or lists caches as the settings say."""
    if settings.list:
        _list(Path(settings.cache_dir).expanduser())
        return
    settings.check()
    if settings.image_cache == "off" and (not settings.teacher or settings.teacher_cache == "off"):
        raise InputError(
            "there is nothing to cache: give --teacher with --teacher_cache=views:K or clean, or "
            "--image_cache=views:K."
        )
    _fill(settings)


def _fill(settings: DistillSettings) -> None:
    from rich.console import Console

    from keras_distill.models.backbones import BACKBONES
    from keras_distill.models.embedder import build_embedder
    from keras_distill.recipes.caches import fill_caches, open_caches
    from keras_distill.recipes.losses import build_teacher_losses
    from keras_distill.recipes.teachers import feature_layers, open_teachers

    console = Console()
    images, _, _ = load_training_images(settings)
    image_size = settings.image_size or BACKBONES[settings.backbone].image_size
    teachers = open_teachers(settings, images)
    layers: dict[str, Any] = {}
    if settings.cache_features and teachers:
        student = build_embedder(  # for the shapes of its layers
            settings.backbone,
            image_size=image_size,
            alpha=settings.alpha,
            backbone_weights="none",
            backbone_layer=settings.backbone_layer,
        )
        losses = build_teacher_losses(
            settings, teacher_loss_weights(settings, settings.dataset), teachers, student
        )
        layers = feature_layers(losses, teachers, student)
    caches = open_caches(settings, teachers, images, image_size=image_size, layers=layers)
    fill_caches(caches, None, settings, console)
    for cache in caches.values():
        console.print(str(cache.folder), highlight=False, soft_wrap=True)


def _described(view: dict[str, Any]) -> str:
    """The views of a cache, in words."""
    words = ["seed {seed}, crops of {least_area}".format_map(view)]
    words += [f"{name} {share:g}" for name, share in view.get("augment", {}).items()]
    if "randaugment" in view:
        words.append("randaugment {:g} of magnitude {:g}".format(*view["randaugment"]))
    if "cutout" in view:
        words.append(f"cutout {view['cutout']:g}")
    if "mixup_alpha" in view:
        words.append(f"mixed, alpha {view['mixup_alpha']:g}")
    return ", ".join(words)


def _list(folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("images", "pixels", "views of", "arrays", "MB", title=str(folder))
    table.add_column("folder", overflow="fold")
    for manifest in sorted(folder.glob("*/manifest.json")):
        cache = json.loads(manifest.read_text())
        size = sum(file.stat().st_size for file in manifest.parent.rglob("*.npy"))
        table.add_row(
            str(cache["rows"]),
            str(cache["image_size"]),
            view if isinstance(view := cache["view"], str) else _described(view),
            ", ".join(f"{name} {shape}" for name, shape in cache["outputs"].items()),
            f"{size / 1e6:.1f}",
            manifest.parent.name,
        )
    Console().print(table)


if __name__ == "__main__":
    COMMAND.run(main)
