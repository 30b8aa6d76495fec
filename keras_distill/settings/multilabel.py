"""Settings of the recipe `multilabel`."""

from dataclasses import dataclass
from pathlib import Path

from keras_distill.data import view_changes
from keras_distill.data.degradation_syntax import SYNTAX, parse_degradations
from keras_distill.errors import InputError
from keras_distill.models.backbones import BACKBONES
from keras_distill.settings.albums import AlbumSettings
from keras_distill.settings.backbone import BackboneSettings
from keras_distill.settings.label_data import LabelDataSettings
from keras_distill.settings.settings import Settings, setting
from keras_distill.settings.teachers import CacheSettings, check_one_teacher
from keras_distill.settings.training import TrainSettings

#: Losses on the labels, and the settings that each takes.
LABEL_LOSS_SETTINGS: dict[str, tuple[str, ...]] = {
    "asymmetric": ("gamma_positive", "gamma_negative", "clip"),
    "bce": (),
    "focal": ("gamma_positive",),
    "partial_selective": (
        "gamma_positive",
        "gamma_negative",
        "gamma_unannotated",
        "clip",
        "likelihood_topk",
        "prior",
        "prior_threshold",
        "partial_mode",
    ),
    "semantic_diversity": ("diversity_weight", "label_diversity"),
}
_HEADS = ("logits", "words")
#: Value of `--prior` that estimates the prior in a stage of its own.
ESTIMATE = "estimate"


@dataclass(frozen=True, kw_only=True)
class ClassifierSettings(BackboneSettings, group="Student"):
    """Student."""

    head: str = setting(
        "logits",
        "Output: logits, one for each label; or words, --word_rows vectors in the space of word "
        "vectors, by which also labels are found that were not trained on.",
        choices=_HEADS,
    )
    word_vectors: str = setting(
        "",
        "For --head=words: word vectors as GloVe, word2vec or fastText text file, or .npz with "
        "names and vectors.",
    )
    word_rows: int = setting(2, "For --head=words: vectors for each image.", least=1)


@dataclass(frozen=True, kw_only=True)
class LabelLossSettings(Settings, group="Loss"):
    """Loss."""

    label_loss: str = setting(
        "asymmetric",
        "Loss on the labels: asymmetric (ASL), bce (binary cross-entropy), focal, "
        "partial_selective (for labels that are partly unknown), or semantic_diversity, for "
        "--head=words.",
        choices=[*LABEL_LOSS_SETTINGS, "none"],
    )
    gamma_positive: float | None = setting(
        None,
        "Focusing exponent of labels that an image has; by default 1 for asymmetric, 2 for focal, "
        "0 for partial_selective.",
    )
    gamma_negative: float | None = setting(
        None,
        "Focusing exponent of labels that it has not; by default 4 for asymmetric, 1 for "
        "partial_selective.",
    )
    gamma_unannotated: float | None = setting(
        None, "The same, of unknown labels, for partial_selective; 2 by default."
    )
    clip: float | None = setting(
        None,
        "Probability below which a label that an image has not costs nothing; by default 0.05 for "
        "asymmetric, 0 for partial_selective.",
    )
    partial_mode: str = setting(
        "selective",
        "For partial_selective: what unknown labels are. negative: absent; ignore: nothing; "
        "ignore_normalised: nothing, and images with few known labels count more; selective: "
        "absent, unless the label is likely in the batch or frequent.",
        choices=["negative", "ignore", "ignore_normalised", "selective"],
    )
    likelihood_topk: int | None = setting(
        None,
        "For partial_selective: likely labels left out, on average for each image; 5 by default.",
    )
    prior: str = setting(
        "",
        "For partial_selective: how frequent each label is, a CSV file with the columns class and "
        "prior; or estimate, by a first stage of --prior_epochs.",
    )
    prior_epochs: int = setting(3, "Epochs of the stage that estimates the prior.", least=1)
    prior_threshold: float | None = setting(
        None,
        "For partial_selective: prior above which unknown labels are left out; 0.05 by default.",
    )
    diversity_weight: float | None = setting(
        None,
        "For semantic_diversity: weight of the variance over the rows of an image; 0.3 by default.",
    )
    label_diversity: bool = setting(
        True, "For semantic_diversity: images of labels whose words differ count more."
    )

    def check_label_loss(self) -> None:
        """Rejects settings that the loss does not have.

        Raises:
            InputError: If a flag is not used, or a file is missing.
        """
        own = LABEL_LOSS_SETTINGS.get(self.label_loss, ())
        for name in {name for names in LABEL_LOSS_SETTINGS.values() for name in names}.difference(
            own
        ):
            if name in self.given and getattr(self, name) != getattr(LabelLossSettings, name):
                takers = ", ".join(
                    loss for loss, names in LABEL_LOSS_SETTINGS.items() if name in names
                )
                raise InputError(
                    f"--{name}={getattr(self, name)} is not used by "
                    f"--label_loss={self.label_loss}; leave it out, or give one of {takers}."
                )
        if self.prior not in ("", ESTIMATE) and not Path(self.prior).is_file():
            raise InputError(
                f"--prior={self.prior}: there is no such file; give one, or {ESTIMATE}."
            )
        if self.prior and self.partial_mode != "selective":
            raise InputError(
                f"--prior={self.prior} has no effect with --partial_mode={self.partial_mode}; "
                "leave one of them out."
            )


@dataclass(frozen=True, kw_only=True)
class LabelTeacherSettings(CacheSettings, group="Teacher"):
    """Teacher."""

    teacher: str = setting(
        "",
        "A .keras file or a run directory with logits of the same labels; empty to learn from "
        "labels alone.",
    )
    teacher_weight: float = setting(1.0, "Weight of the loss against the teacher's probabilities.")
    teacher_cache: str = setting(
        "off",
        "views:K keeps the teacher's logits for K random views of each image; off evaluates it at "
        "each step.",
        group="Cache",
    )

    def check_label_teacher(self) -> None:
        """Rejects what cannot work.

        Raises:
            InputError: If the teacher does not exist, or is described but not given.
        """
        check_one_teacher(self, "teacher_weight", "teacher_cache")


@dataclass(frozen=True, kw_only=True)
class LabelBatchSettings(Settings, group="Training"):
    """Batches of images with several labels, and their augmentation."""

    batch_size: int = setting(64, "Images in a batch.", least=1)
    least_positives: int = setting(
        0,
        "Show images of rare labels more often, until each label has so many images in an epoch; 0 "
        "shows each image once.",
        least=0,
    )
    annotations: str = setting(
        "",
        "Forget labels of the training images, to try losses for unknown ones: per_class:N keeps "
        "up to N images with and N without each label, share:P keeps each label with probability "
        "P.",
    )
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
class MultiLabelSettings(
    LabelDataSettings,
    ClassifierSettings,
    LabelTeacherSettings,
    LabelLossSettings,
    AlbumSettings,
    TrainSettings,
    LabelBatchSettings,
):
    """Settings of the recipe `multilabel`: several labels for each image."""

    def check(self) -> None:
        """Rejects what cannot work before anything slow is loaded.

        Raises:
            InputError: If a flag cannot be used, or has no effect.
        """
        LabelDataSettings.check(self)
        BackboneSettings.check(self)
        TrainSettings.check(self)
        self.check_label_loss()
        self.check_label_teacher()
        if not 0.0 < self.crop_area <= 1.0:
            raise InputError(f"--crop_area={self.crop_area} must be above 0 and at most 1.")
        view_changes.parse_augmentations(self.augment)
        image_size = self.image_size or BACKBONES[self.backbone].image_size
        parse_degradations(self.degrade, image_size=image_size)
        parse_annotations(self.annotations)
        self.check_albums(self.dataset, self.album_vectors)
        self._check_head()
        if self.freeze_epochs:
            raise InputError(
                f"--freeze_epochs={self.freeze_epochs} is not offered by this recipe; a small "
                "--backbone_lr_multiplier spares the backbone."
            )
        if self.label_loss == "none" and not self.teacher and self.epochs:
            raise InputError("--label_loss=none leaves nothing to learn from; give --teacher.")

    def _check_head(self) -> None:
        """Rejects heads, losses and teachers that do not fit each other."""
        words = self.head == "words"
        if words != (self.label_loss == "semantic_diversity"):
            raise InputError(
                f"--head={self.head} and --label_loss={self.label_loss} do not go together; "
                "words are trained by semantic_diversity, logits by all others."
            )
        if words and not self.word_vectors:
            raise InputError("--head=words needs --word_vectors, a file of word vectors.")
        if self.word_vectors and not words:
            raise InputError(
                f"--word_vectors={self.word_vectors} has no effect without --head=words."
            )
        if self.word_vectors and not Path(self.word_vectors).is_file():
            raise InputError(f"--word_vectors={self.word_vectors}: there is no such file.")
        if words and self.teacher:
            raise InputError(
                f"--teacher={self.teacher}: teachers have logits, and --head=words none; leave the "
                "teacher out."
            )


def parse_annotations(value: str) -> tuple[str, float] | None:
    """Reads `--annotations`.

    Args:
        value: `per_class:N`, `share:P`, or empty.

    Returns:
        The kind and the number, or `None`.

    Raises:
        InputError: If it is something else.

    Example:
        >>> parse_annotations("per_class:1000")
        ('per_class', 1000.0)
    """
    if not value:
        return None
    kind, _, text = value.partition(":")
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if (kind == "per_class" and number >= 1 and number == int(number)) or (
        kind == "share" and 0 < number <= 1
    ):
        return kind, number
    raise InputError(
        f"--annotations={value} is neither per_class:N, such as per_class:1000, nor share:P, such "
        "as share:0.5."
    )
