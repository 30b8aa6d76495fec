"""Settings of the recipe `distill`."""

from dataclasses import dataclass
from typing import Any, ClassVar

from keras_distill.data import view_changes
from keras_distill.data.degradation_syntax import SYNTAX, parse_degradations
from keras_distill.errors import InputError, renamed_arguments
from keras_distill.losses.addons_losses import check_addons
from keras_distill.losses.registry import FEATURE_LOSSES, SAME_SPACE_LOSSES, TASK_LOSSES
from keras_distill.models.backbones import BACKBONES
from keras_distill.settings.backbone import BackboneSettings
from keras_distill.settings.data import DataSettings, check_name, load_images, parse_unlabelled
from keras_distill.settings.settings import Settings, setting
from keras_distill.settings.teacher_losses import named_losses, teacher_loss_weights
from keras_distill.settings.teachers import (
    TeacherSettings,
    parse_cache,
    parse_teachers,
    parse_widths,
    per_teacher,
)
from keras_distill.settings.training import TrainSettings


@dataclass(frozen=True, kw_only=True)
class StudentSettings(BackboneSettings, group="Student"):
    """Student."""

    embedding_dim: int = setting(512, "Width of the embedding; 0 for no head.", least=0)

    def check(self) -> None:
        """Rejects what cannot work.

        Raises:
            InputError: If a flag cannot be used.
        """
        BackboneSettings.check(self)
        if self.dropout and not self.embedding_dim:
            raise InputError(
                f"--dropout={self.dropout} comes before the head, and --embedding_dim=0 leaves it "
                "out; give the student a head."
            )


@dataclass(frozen=True, kw_only=True)
class LossSettings(Settings, group="Loss"):
    """Loss."""

    task_loss: str = setting(
        "batch_hard_triplet",
        f"Loss on the labels, one of {', '.join(TASK_LOSSES)}, none. Batch-hard for pretrained "
        "backbones, semi-hard to start from random weights, none to learn from the teacher alone. "
        "Names with tfa: are losses of TensorFlow Addons.",
        choices=[*TASK_LOSSES, "none"],
    )
    margin: float | None = setting(
        None,
        "Margin, for the losses that have one; by default 0.2 for triplets (the paper's code has "
        "0), 1 for lifted_structure, tfa:lifted_struct and tfa:contrastive, 0.1 for proxy_anchor, "
        "0.5 (radians) for arc_face.",
    )
    memory: int = setting(
        0,
        "Compare each batch also with this many embeddings of earlier ones (cross-batch memory).",
        least=0,
    )
    task_weight: float = setting(1.0, "Weight of the loss on the labels.")
    references: str = setting(
        "batch",
        "What a loss on the labels compares the student's embeddings with: batch (each other), "
        "teacher (the teacher's embeddings of the batch, so that the student's queries find images "
        "in the teacher's index) or both. The teacher needs the student's width; "
        "--teacher_projection=pca gives it.",
        choices=["batch", "teacher", "both"],
    )
    proxies: str = setting(
        "random",
        "Start of the class vectors of proxy_anchor, normalized_softmax and arc_face: random or "
        "teacher (the means of the teacher's embeddings of each class). The teacher needs the "
        "student's width, as for --references.",
        choices=["random", "teacher"],
    )
    self_distillation: str = setting(
        "",
        "Widths of heads on the pooled features, such as 512,1024,1536,2048: each learns by the "
        "loss on the labels, and teaches the embedding its similarities within the batch. They are "
        "dropped after the training.",
    )
    self_distillation_weight: float = setting(
        50.0, "Weight of what these heads teach, within the loss on the labels."
    )

    def check(self) -> None:
        """Rejects what cannot work, as far as these settings tell.

        Raises:
            InputError: If a flag cannot be used, or has no effect.
        """
        heads = parse_widths("self_distillation", self.self_distillation)
        if self.self_distillation_weight != LossSettings.self_distillation_weight and not heads:
            raise InputError(
                f"--self_distillation_weight={self.self_distillation_weight} has no effect without "
                "--self_distillation=512,1024,1536,2048, the widths of the heads."
            )
        others = {"memory": bool(self.memory), "self_distillation": bool(heads)}
        for flag, used in {**others, "references": self.references != "batch"}.items():
            if used and self.task_loss == "none":
                raise InputError(
                    f"--{flag}={getattr(self, flag)} has no effect with --task_loss=none."
                )
        if sum(others.values()) > 1 or (self.references != "batch" and any(others.values())):
            raise InputError(
                "--memory, --self_distillation and --references each change what the loss on the "
                "labels compares; give one of them."
            )
        entry = TASK_LOSSES.get(self.task_loss)
        for flag, called in (("memory", "memory"), ("references", "flag")):
            given = getattr(self, flag) != getattr(LossSettings, flag)
            if given and entry is not None and not entry.takes_references:
                compared = (
                    "images with class vectors, not with other images"
                    if entry.needs_classes
                    else "the images of a batch with each other alone"
                )
                raise InputError(
                    f"--{flag}={getattr(self, flag)}: --task_loss={self.task_loss} compares "
                    f"{compared}; leave the {called} out."
                )
        if self.proxies != "random" and (entry is None or not entry.needs_classes):
            raise InputError(
                f"--proxies={self.proxies}: --task_loss={self.task_loss} has no class vectors; "
                "give proxy_anchor, normalized_softmax or arc_face, or leave it out."
            )


@dataclass(frozen=True, kw_only=True)
class BatchSettings(Settings, group="Training"):
    """Batches of classes, and the augmentation of their images."""

    classes_per_batch: int = setting(8, "Classes in a batch.", least=2)
    images_per_class: int = setting(8, "Images of each class in a batch.", least=1)
    unlabelled_per_batch: int = setting(16, "Images of --unlabelled added to each batch.", least=1)
    views_per_image: int = setting(
        1,
        "Random views of each image in a batch, which has so many times as many rows; 2 for the "
        "loss relaxed_contrastive.",
        least=1,
    )
    mixed: float = setting(
        0.0,
        "Share of a batch's rows that are mixes of two training images each, added to the rows "
        "above; at 1 they replace them, in equal number. A mix has no class, and enters the "
        "teacher losses only; the teacher sees the same mix.",
    )
    mixup_alpha: float = setting(
        1.0, "Draw the share of an image in a mix from Beta(A, A); 1 is uniform."
    )
    crop_area: float = setting(0.08, "Least share of an image's area in a random crop, up to 1.")
    augment: str = setting(
        "",
        f"Changes of a crop, some of {view_changes.SYNTAX}; numbers may be left out. jitter of "
        "brightness, contrast, saturation and hue, and grey, each with a probability P (0.8, 0.2); "
        "N random operations (2) of magnitude M (9 of 10), as in RandAugment; a grey square whose "
        "side is a share of the crop's (0.5). The teacher sees the same pixels.",
    )
    degrade: str = setting(
        "",
        f"Degradations of the student's images, in this order, some of {SYNTAX}; the teacher sees "
        "the same crops without them. Validation images are degraded too.",
    )


@dataclass(frozen=True, kw_only=True)
class DistillSettings(
    DataSettings, StudentSettings, TeacherSettings, LossSettings, TrainSettings, BatchSettings
):
    """Settings of the recipe `distill`: an embedder, from a teacher or from labels alone."""

    product: ClassVar[str] = "student.keras"

    unlabelled: str = setting(
        "",
        "A data set as in --dataset, or its classes A:B as in folder:photos:50:75, whose images "
        "are learned from without labels: they enter the teacher losses only.",
        group="Data",
    )

    def check(self) -> None:
        """Rejects what cannot work before anything slow is loaded.

        Raises:
            InputError: If a flag cannot be used, or has no effect.
        """
        DataSettings.check(self)
        TeacherSettings.check(self)
        TrainSettings.check(self)
        StudentSettings.check(self)
        LossSettings.check(self)
        if self.freeze_epochs and not self.embedding_dim:
            raise InputError(
                f"--freeze_epochs={self.freeze_epochs} with --embedding_dim=0 leaves no weights to "
                "train; give the student a head."
            )
        if self.patience and not self.validation_classes:
            raise InputError(f"--patience={self.patience} needs --validation_classes.")
        if self.unlabelled:
            check_name("unlabelled", self.unlabelled, parse_unlabelled(self.unlabelled)[0])
            if not self.teacher:
                raise InputError(
                    f"--unlabelled={self.unlabelled}: without --teacher there is nothing to learn "
                    "from unlabelled images; give one, or leave them out."
                )
        entry = TASK_LOSSES.get(self.task_loss)  # none for "none"
        if self.margin is not None and (entry is None or entry.margin is None):
            raise InputError(
                f"--margin={self.margin}: --task_loss={self.task_loss} has no margin to set; leave "
                "it out."
            )
        library, _, loss = self.task_loss.rpartition(":")
        if library == "tfa":
            with renamed_arguments(loss=f"task_loss={self.task_loss}"):
                check_addons(loss)
        if not 0.0 < self.crop_area <= 1.0:
            raise InputError(f"--crop_area={self.crop_area} must be above 0 and at most 1.")
        self._check_views()
        view_changes.parse_augmentations(self.augment)
        self._check_mixed()
        image_size = self.image_size or BACKBONES[self.backbone].image_size
        parse_degradations(self.degrade, image_size=image_size)
        self._check_single_teacher()
        self._check_losses()
        self._check_student_projection()

    def _check_views(self) -> None:
        """Rejects caches with fewer views than a batch shows of an image."""
        caches = ("teacher_cache", "image_cache") if self.teacher else ("image_cache",)
        for flag in caches:
            mode = parse_cache(flag, value := getattr(self, flag))
            if isinstance(mode, int) and mode < self.views_per_image:
                raise InputError(
                    f"--{flag}={value} has fewer views than --views_per_image="
                    f"{self.views_per_image}, so that a batch would show the same view of an image "
                    f"twice; give --{flag}=views:{self.views_per_image} or more."
                )

    def _check_single_teacher(self) -> None:
        """Rejects flags about the teacher's embeddings where there is none, or several."""
        names = [*parse_teachers(self.teacher)]
        for name in ("references", "proxies"):
            value = getattr(self, name)
            if value != getattr(DistillSettings, name) and names != [""]:
                raise InputError(
                    f"--{name}={value} needs one --teacher=PATH without a name, whose embeddings "
                    f"are compared; {'there are several' if names else 'there is none'}."
                )

    def _check_mixed(self) -> None:
        """Rejects mixed rows from which nothing can be learned."""
        if not 0.0 <= self.mixed <= 1.0:
            raise InputError(f"--mixed={self.mixed} is a share of the rows, from 0 to 1.")
        view_changes.check_mixup_alpha(self.mixup_alpha)
        if not self.mixed:
            if self.mixup_alpha != DistillSettings.mixup_alpha:
                raise InputError(
                    f"--mixup_alpha={self.mixup_alpha} has no effect without mixed rows; add "
                    "--mixed=0.5, or leave it out."
                )
            return
        if not any(teacher_loss_weights(self, self.dataset).values()):
            missing = "--teacher_losses" if self.teacher else "--teacher"
            raise InputError(
                f"--mixed={self.mixed}: without {missing} there is nothing to learn from mixed "
                "images, which have no class; give one, or leave them out."
            )
        if self.teacher_cache == "clean":
            raise InputError(
                f"--mixed={self.mixed}: --teacher_cache=clean knows the teacher's output for whole "
                "images only; give views:K or off."
            )
        if self.mixed == 1.0 and self.views_per_image > 1:
            raise InputError(
                f"--mixed={self.mixed} leaves no rows of one image for --views_per_image="
                f"{self.views_per_image}; leave it out, or give a share below 1."
            )
        if self.mixed == 1.0 and self.task_loss != "none":
            raise InputError(
                f"--mixed={self.mixed} leaves no labels for --task_loss={self.task_loss}; give "
                "--task_loss=none, or a share below 1."
            )

    def _check_losses(self) -> None:
        """Rejects losses that leave nothing to learn."""
        weights = teacher_loss_weights(self, self.dataset)
        if not any(weights.values()) and self.task_loss == "none" and self.epochs:
            raise InputError(
                "--task_loss=none leaves nothing to learn from; give --teacher and "
                "--teacher_losses."
            )
        learned = {loss for own in weights.values() for loss in own}
        inner = self.task_loss == "none" and learned and learned <= FEATURE_LOSSES
        if inner and self.embedding_dim:
            raise InputError(
                f"--task_loss=none with {' and '.join(sorted(learned))} alone leaves the embedding "
                "as it was initialised; add a loss on embeddings, such as relative, or "
                "--embedding_dim=0."
            )

    def _check_student_projection(self) -> None:
        """Rejects a projection of the student that no loss looks at."""
        names = [*parse_teachers(self.teacher)]
        value = self.teacher_projection
        projections = per_teacher("teacher_projection", value, names)
        projected = [name for name in names if projections[name] == "student"]
        weights = teacher_loss_weights(self, self.dataset)
        idle = [name for name in projected if not SAME_SPACE_LOSSES & set(weights[name])]
        # One value for several teachers is for those that need it.
        if idle and (idle == projected or value != "student"):
            of_teacher = f" of the teacher {idle[0]!r}" if idle[0] else ""
            raise InputError(
                f"--teacher_projection={value}: the projection of the student is learned by "
                f"{', '.join(sorted(SAME_SPACE_LOSSES))}, but "
                f"--teacher_losses={named_losses(self)} has none of them{of_teacher}; add one, or "
                "leave the projection out."
            )

    def resolved(self) -> "DistillSettings":
        """Returns the settings with the teacher losses that are used."""
        return self.replace(teacher_losses=named_losses(self))


def load_training_images(settings: DistillSettings) -> tuple[Any, Any, list[str]]:
    """Loads the images of a training.

    Args:
        settings: The settings.

    Returns:
        The `ImageSet` of the training split, followed by the unlabelled images; the `ImageSet` of
        the validation split or `None`; and the relative paths of the images that were skipped.

    Raises:
        InputError: As `load_images`.
    """
    splits, skipped = load_images(settings, "train", "validation", unlabelled=settings.unlabelled)
    train, validation, unlabelled = splits
    return train if unlabelled is None else train.with_unlabelled(unlabelled), validation, skipped
