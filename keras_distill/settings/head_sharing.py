"""Settings of the recipe `head_sharing`."""

from dataclasses import dataclass
from pathlib import Path

from keras_distill.data import view_changes
from keras_distill.data.degradation_syntax import SYNTAX, parse_degradations
from keras_distill.errors import InputError
from keras_distill.losses.registry import HEAD_SHARING
from keras_distill.models.backbones import BACKBONES
from keras_distill.settings.backbone import BackboneSettings
from keras_distill.settings.settings import Settings, setting
from keras_distill.settings.split_data import ClassDataSettings
from keras_distill.settings.teachers import CacheSettings, check_one_teacher
from keras_distill.settings.training import TrainSettings

#: Scale and margin of the heads that compare cosines, by the value of the setting `head`.
COSINE_HEADS = {"arc_face": (64.0, 0.5), "normalized_softmax": (20.0, 0.0)}
#: Values of `teacher_head` that are no file.
HEADS = ("auto", "means", "none")
_CRD = ("crd_negatives", "crd_dim", "crd_momentum", "crd_temperature")


@dataclass(frozen=True, kw_only=True)
class HeadStudentSettings(BackboneSettings, group="Student"):
    """Student."""

    student: str = setting(
        "",
        "A .keras file or a run directory whose layers, weights included, are the student's "
        "backbone, in place of --backbone; a classifier is taken without its head.",
    )
    student_weights: str = setting(
        "kept",
        "Weights of --student: kept, or new, drawn again by --seed, for a network that is not "
        "pretrained.",
        choices=["kept", "new"],
    )
    embedding_dim: int = setting(
        0,
        "Width of a linear layer between the pooled features and the head, such as that of the "
        "teacher's embedding; 0 for none.",
        least=0,
    )
    head: str = setting(
        "linear",
        "Head: linear, or a vector for each class whose cosine with the embedding counts, trained "
        "by arc_face or normalized_softmax.",
        choices=["linear", *COSINE_HEADS],
    )
    head_scale: float | None = setting(
        None, "Factor of the cosines; by default 64 for arc_face, 20 for normalized_softmax."
    )
    margin: float | None = setting(
        None,
        "Angle in radians by which an image's own class must be nearer, for arc_face; 0.5 by "
        "default.",
    )

    @property
    def scale(self) -> float | None:
        """Factor of the cosines; `None` for a linear head."""
        if self.head not in COSINE_HEADS:
            return None
        return COSINE_HEADS[self.head][0] if self.head_scale is None else self.head_scale

    @property
    def angle(self) -> float:
        """Margin of a head of cosines, in radians."""
        return COSINE_HEADS[self.head][1] if self.margin is None else self.margin

    def check_student(self) -> None:
        """Rejects what cannot work.

        Raises:
            InputError: If a flag cannot be used, or has no effect.
        """
        BackboneSettings.check(self)
        if self.head_scale is not None and (self.head == "linear" or not self.head_scale):
            raise InputError(
                f"--head_scale={self.head_scale} must be positive, and needs --head=arc_face or "
                "normalized_softmax."
            )
        if self.margin is not None and (self.head != "arc_face" or self.margin >= 3):
            raise InputError(f"--margin={self.margin} must be below 3, and needs --head=arc_face.")
        if not self.student:
            if self.student_weights != "kept":
                raise InputError(f"--student_weights={self.student_weights} needs --student.")
            return
        if not Path(self.student).exists():
            raise InputError(f"--student={self.student} does not exist.")
        for name in ("backbone", "alpha", "image_size", "backbone_weights", "backbone_layer"):
            if name in self.given and getattr(self, name) != getattr(BackboneSettings, name):
                raise InputError(
                    f"--{name}={getattr(self, name)} describes a new backbone, and --student="
                    f"{self.student} is one; leave one of them out."
                )


@dataclass(frozen=True, kw_only=True)
class HeadTeacherSettings(CacheSettings, group="Teacher"):
    """Teacher."""

    teacher: str = setting(
        "",
        "A classifier of the same classes, as a .keras file or a run directory; or an embedder, "
        "whose head --teacher_head gives. Empty to learn from labels alone.",
    )
    teacher_head: str = setting(
        "auto",
        "Head of the teacher: auto (its own: its last layer, or the class_head.npz of its run); a "
        "class_head.npz or a run directory with one; means (of its embeddings of each class); or "
        "none, for combinations that need none.",
    )
    teacher_cache: str = setting(
        "off",
        "views:K keeps the teacher's embeddings of K random views of each image, from which its "
        "logits follow; off evaluates it at each step.",
        group="Cache",
    )

    def check_teacher(self) -> None:
        """Rejects what cannot work.

        Raises:
            InputError: If a file does not exist, or a flag has no effect.
        """
        check_one_teacher(self, "teacher_head", "teacher_cache")
        if self.teacher_head not in HEADS and not Path(self.teacher_head).exists():
            raise InputError(
                f"--teacher_head={self.teacher_head} does not exist; give a class_head.npz, a run "
                f"directory with one, or {', '.join(HEADS)}."
            )


@dataclass(frozen=True, kw_only=True)
class CombinationSettings(Settings, group="Loss"):
    """Loss."""

    combination: str = setting(
        "plain",
        "Parts of the loss, with their published weights: plain (labels alone), kd (the teacher's "
        "logits too), kde (and the direction of its embedding), crd (contrastive), th_kd (and its "
        "head on the student's embedding), kde_th, crd_th, or sh_kd: three stages, in which the "
        "teacher is trained again under the head of a student, and then teaches another.",
        choices=list(HEAD_SHARING),
    )
    label_weight: float | None = setting(
        None, "Weight of the loss on the labels, in place of the published one; as are the next."
    )
    logits_weight: float | None = setting(
        None, "Weight of the divergence from the teacher's logits."
    )
    head_weight: float | None = setting(
        None, "Weight of the divergence of the teacher's head on both embeddings."
    )
    kde_weight: float | None = setting(
        None, "Weight of the squared distance of the embeddings, each of length 1, summed."
    )
    crd_weight: float | None = setting(None, "Weight of the contrastive loss.")
    temperature: float = setting(4.0, "Temperature of logits.")
    crd_negatives: int = setting(
        16384, "Images from which the contrastive loss tells each one.", least=1
    )
    crd_dim: int = setting(128, "Width of its common space.", least=1)
    crd_momentum: float = setting(0.5, "Share of a remembered vector that a step keeps.")
    crd_temperature: float = setting(0.07, "Temperature of its similarities.")
    copy_head: bool = setting(
        False,
        "Let the student have the teacher's head, frozen, in place of a new one; the combination "
        "sh_kd is drawn so in the paper, and trains a new head in its code.",
    )
    head_mix: float = setting(
        0.0,
        "Share of the probabilities of the teacher's head on the student's embedding in those of "
        "the product; 0 for the student's alone.",
    )
    teacher_epochs: int = setting(
        0, "Epochs of the stage of sh_kd that trains the teacher; 0 for --epochs.", least=0
    )
    teacher_learning_rate: float | None = setting(
        None, "Its learning rate; --learning_rate by default."
    )

    @property
    def weights(self) -> dict[str, float]:
        """Weights of the parts of the loss, without those that are 0."""
        weights = dict(HEAD_SHARING[self.combination])
        for part in ("label", "logits", "head", "kde", "crd"):
            if (given := getattr(self, f"{part}_weight")) is not None:
                weights[part] = given
        return {part: weight for part, weight in weights.items() if weight}

    @property
    def needs_head(self) -> bool:
        """Whether the teacher's head is used."""
        return bool({"logits", "head"} & self.weights.keys() or self.copy_head or self.head_mix)

    def check_combination(self) -> None:
        """Rejects what cannot work, as far as these settings tell.

        Raises:
            InputError: If a flag cannot be used, or has no effect.
        """
        if not 0 <= self.head_mix <= 1:
            raise InputError(f"--head_mix={self.head_mix} is a share, from 0 to 1.")
        if not self.temperature or not self.crd_temperature:
            raise InputError("--temperature and --crd_temperature must be positive.")
        if not 0 <= self.crd_momentum < 1:
            raise InputError(f"--crd_momentum={self.crd_momentum} must be from 0 to below 1.")
        for name in _CRD:
            value = getattr(self, name)
            if value != getattr(CombinationSettings, name) and "crd" not in self.weights:
                raise InputError(
                    f"--{name}={value} has no effect without the contrastive loss; give "
                    "--combination=crd, or --crd_weight."
                )
        for name in ("teacher_epochs", "teacher_learning_rate"):
            value = getattr(self, name)
            if value != getattr(CombinationSettings, name) and self.combination != "sh_kd":
                raise InputError(f"--{name}={value} has no effect without --combination=sh_kd.")


@dataclass(frozen=True, kw_only=True)
class ImageBatchSettings(Settings, group="Training"):
    """Batches of images of one class each, and their augmentation."""

    batch_size: int = setting(64, "Images in a batch.", least=1)
    crop_area: float = setting(0.08, "Least share of an image's area in a random crop, up to 1.")
    augment: str = setting(
        "", f"Changes of a crop, some of {view_changes.SYNTAX}; the teacher sees the same pixels."
    )
    degrade: str = setting(
        "",
        f"Degradations of the images, in this order, some of {SYNTAX}; the teacher sees the same "
        "crops without them. Validation images are degraded too.",
    )


@dataclass(frozen=True, kw_only=True)
class HeadSharingSettings(
    ClassDataSettings,
    HeadStudentSettings,
    HeadTeacherSettings,
    CombinationSettings,
    TrainSettings,
    ImageBatchSettings,
):
    """Settings of the recipe `head_sharing`: a classifier of images of one class each."""

    def check(self) -> None:
        """Rejects what cannot work before anything slow is loaded.

        Raises:
            InputError: If a flag cannot be used, or has no effect.
        """
        ClassDataSettings.check(self)
        self.check_student()
        self.check_teacher()
        self.check_combination()
        TrainSettings.check(self)
        if not 0.0 < self.crop_area <= 1.0:
            raise InputError(f"--crop_area={self.crop_area} must be above 0 and at most 1.")
        view_changes.parse_augmentations(self.augment)
        size = self.image_size or BACKBONES[self.backbone].image_size
        parse_degradations(self.degrade, image_size=None if self.student else size)
        if self.freeze_epochs:
            raise InputError(
                f"--freeze_epochs={self.freeze_epochs} is not offered by this recipe; a small "
                "--backbone_lr_multiplier spares the backbone."
            )
        if self.patience and not self.validation_share:
            raise InputError(f"--patience={self.patience} needs --validation_share.")
        self._check_parts()

    def _check_parts(self) -> None:
        """Rejects parts of the loss that cannot be computed, or a teacher that teaches nothing."""
        taught = self.weights.keys() - {"label"}
        used = taught or self.needs_head
        if used and not self.teacher:
            raise InputError(
                f"--combination={self.combination} with the weights given learns from a teacher "
                f"({', '.join(sorted(taught)) or 'its head'}); give --teacher."
            )
        if self.teacher and not used:
            raise InputError(
                f"--teacher={self.teacher} would teach nothing with --combination="
                f"{self.combination}; give another, such as th_kd."
            )
        if not self.weights and self.epochs:
            raise InputError("all weights are 0, which leaves nothing to learn from.")
        if self.teacher_head == "none" and self.needs_head:
            raise InputError(
                "--teacher_head=none: the loss on logits, the loss of the head, --copy_head and "
                "--head_mix need a head; leave it out, or give means."
            )
        if self.combination == "sh_kd" and self.teacher_head != "auto":
            raise InputError(
                f"--teacher_head={self.teacher_head} has no effect with --combination=sh_kd, whose "
                "teacher gets the head of the student."
            )
