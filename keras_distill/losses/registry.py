"""Registry of the losses that a training can name.

Adding a loss means one file with its class and one line here. The settings, their help, the
builders, the published weights and what `load_model` knows all derive from this file, which imports
neither TensorFlow nor Keras nor NumPy: a class is imported when it is needed.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

_PACKAGE = "keras_distill.losses"
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class LossEntry:
    """A loss.

    Attributes:
        where: Module and class, within `keras_distill.losses`.
    """

    where: str

    def load(self) -> Any:
        """Imports the class."""
        module, _, name = self.where.rpartition(".")
        return getattr(importlib.import_module(f"{_PACKAGE}.{module}"), name)


@dataclass(frozen=True)
class TaskLossEntry(LossEntry):
    """A loss on labels and embeddings.

    Attributes:
        where: Module and class, within `keras_distill.losses`.
        margin: Default of the margin; `None` if there is none to set.
        needs_classes: Whether the constructor takes the training classes.
        takes_references: Whether the anchors can be compared with given references; the attribute
            of the class.
        fixed: Other arguments of the constructor, by name.
    """

    margin: float | None = None
    needs_classes: bool = False
    takes_references: bool = True
    fixed: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)

    def build(self, *, classes: Any, margin: float | None = None) -> Any:
        """Makes the loss.

        Args:
            classes: Labels of the training classes, integers `(n,)`; used by some losses only.
            margin: The margin; by default `self.margin`.

        Returns:
            The `TaskLoss`.
        """
        arguments = dict(self.fixed)
        if self.margin is not None:
            arguments["margin"] = self.margin if margin is None else margin
        if self.needs_classes:
            arguments["classes"] = classes
        return self.load()(**arguments)


@dataclass(frozen=True)
class TeacherLossEntry(LossEntry):
    """A loss on the outputs of teacher and student.

    Attributes:
        where: Module and class, within `keras_distill.losses`.
        weight: Weight that was published with code, or 1; a mapping if it depends on the data set,
            whose first weight holds for other data sets.
        same_space: Whether both embeddings must lie in one space, and have equal widths.
        of_features: Whether feature maps of inner layers are compared, not embeddings.
        of_anchors: Whether the constructor takes `anchors`, vectors of the teacher, or `queue`.
        of_head: Whether the constructor takes the teacher's head.
    """

    weight: float | Mapping[str, float] = 1.0
    same_space: bool = False
    of_features: bool = False
    of_anchors: bool = False
    of_head: bool = False

    def weight_on(self, dataset: str) -> float:
        """Returns the published weight on a data set."""
        if isinstance(self.weight, Mapping):
            return self.weight.get(dataset, next(iter(self.weight.values())))
        return self.weight


def _addons(loss: str, margin: float | None = None, **fixed: Any) -> TaskLossEntry:
    return TaskLossEntry(
        "tensorflow_addons.AddonsLoss",
        margin,
        takes_references=False,
        fixed={"loss": loss, **fixed},
    )


#: Losses on labels, by the value of the setting `task_loss`; `tfa:` stands for TensorFlow Addons.
TASK_LOSSES = {
    "batch_hard_triplet": TaskLossEntry("batch_hard_triplet.BatchHardTriplet", 0.2),
    "soft_triplet": TaskLossEntry("batch_hard_triplet.BatchHardTriplet", fixed={"margin": "soft"}),
    "batch_all_triplet": TaskLossEntry("batch_all_triplet.BatchAllTriplet", 0.2),
    "semi_hard_triplet": TaskLossEntry("semi_hard_triplet.SemiHardTriplet", 0.2),
    "contrastive": TaskLossEntry("contrastive.Contrastive"),
    "multi_similarity": TaskLossEntry("multi_similarity.MultiSimilarity"),
    "n_pairs": TaskLossEntry("n_pairs.NPairs", fixed={"scale": 20.0}),
    "lifted_structure": TaskLossEntry("lifted_structure.LiftedStructure", 1.0),
    "proxy_anchor": TaskLossEntry(
        "proxy_anchor.ProxyAnchor", 0.1, needs_classes=True, takes_references=False
    ),
    "normalized_softmax": TaskLossEntry(
        "arc_face.ArcFace",
        needs_classes=True,
        takes_references=False,
        fixed={"margin": 0.0, "scale": 20.0, "name": "normalized_softmax"},
    ),
    "arc_face": TaskLossEntry("arc_face.ArcFace", 0.5, needs_classes=True, takes_references=False),
    "tfa:triplet_semihard": _addons("triplet_semihard", 0.2),
    "tfa:triplet_hard": _addons("triplet_hard", 0.2),
    "tfa:lifted_struct": _addons("lifted_struct", 1.0),
    "tfa:npairs": _addons("npairs", scale=20.0),
    "tfa:contrastive": _addons("contrastive", 1.0),
}

# Weights of the paper's code are for batches of 32 = 4 classes x 8 images. For the relative teacher
# on CUB it has 0.30 in its table of settings and 0.10 in the line that was run last. The weights
# of RKD come from its authors' code for metric learning, all others from RepDistiller.
#: Losses on the outputs of teacher and student, by their names in the setting `teacher_losses`.
TEACHER_LOSSES = {
    "absolute": TeacherLossEntry(
        "absolute_teacher.AbsoluteTeacher",
        weight={"cub": 1.0, "cars196": 1.5, "sop": 2.0},
        same_space=True,
    ),
    "relative": TeacherLossEntry(
        "relative_teacher.RelativeTeacher", weight={"cub": 0.3, "cars196": 0.1, "sop": 1.0}
    ),
    "cosine": TeacherLossEntry("cosine_teacher.CosineTeacher", same_space=True),
    "kde": TeacherLossEntry("kde_teacher.KdeTeacher", same_space=True),
    "anchor_kl": TeacherLossEntry("anchor_kl.AnchorKL", same_space=True, of_anchors=True),
    "asymmetric": TeacherLossEntry("asymmetric_teacher.AsymmetricTeacher", same_space=True),
    "d3still": TeacherLossEntry("d3still.D3still", same_space=True),
    "relaxed_contrastive": TeacherLossEntry("relaxed_contrastive.RelaxedContrastive"),
    "rkd_distance": TeacherLossEntry("rkd_distance.RkdDistance", weight=1.0),
    "rkd_angle": TeacherLossEntry("rkd_angle.RkdAngle", weight=2.0),
    "similarity": TeacherLossEntry("similarity_preserving.SimilarityPreserving", weight=3000.0),
    "pkt": TeacherLossEntry("probabilistic_transfer.ProbabilisticTransfer", weight=30000.0),
    "teacher_head": TeacherLossEntry(
        "teacher_head.TeacherHead", weight=0.02, same_space=True, of_head=True
    ),
    "projector": TeacherLossEntry("projector.Projector"),
    "attention": TeacherLossEntry("attention_maps.AttentionMaps", weight=1000.0, of_features=True),
    "hint": TeacherLossEntry("hint.Hint", weight=100.0, of_features=True),
}

#: Losses on several labels an image, on unknown ones, or on one label in place of a metric.
LABEL_LOSSES = {
    "asymmetric": LossEntry("labels.asymmetric_loss.AsymmetricLoss"),
    "asymmetric_softmax": LossEntry("labels.asymmetric_softmax_loss.AsymmetricSoftmaxLoss"),
    "partial_selective": LossEntry("labels.partial_selective_loss.PartialSelectiveLoss"),
    "semantic_diversity": LossEntry("labels.semantic_diversity_loss.SemanticDiversityLoss"),
}

# Published with code: th_kd, crd_th and sh_kd. kd, kde and crd are like these without the head, and
# kde_th has the numbers of crd_th.
#: Weights of the parts of a loss that shares a head, by the name of the combination: on the labels,
#: on the teacher's logits, on the logits of the teacher's head, on the direction of the embedding
#: (KDE), and contrastive (CRD).
HEAD_SHARING: dict[str, dict[str, float]] = {
    "plain": {"label": 1.0},
    "kd": {"label": 1.0, "logits": 1.5},
    "kde": {"label": 1.0, "logits": 1.0, "kde": 0.8},
    "crd": {"label": 1.0, "logits": 1.0, "crd": 0.8},
    "th_kd": {"label": 1.0, "logits": 1.5, "head": 0.02},
    "kde_th": {"label": 0.9, "logits": 1.0, "kde": 0.8, "head": 0.02},
    "crd_th": {"label": 0.9, "logits": 1.0, "crd": 0.8, "head": 0.02},
    "sh_kd": {"label": 1.0, "logits": 1.0, "crd": 0.8},
}

# Losses without a name in these settings: they wrap others, compare logits, or rank.
_OTHERS = (
    LossEntry("contrastive_teacher.ContrastiveTeacher"),
    LossEntry("cross_batch_memory.CrossBatchMemory"),
    LossEntry("keras_distillation.KerasTeacherLoss"),
    LossEntry("label_distillation.LabelDistillation"),
    LossEntry("logits_teacher.LogitsTeacher"),
    LossEntry("margin_softmax.MarginSoftmax"),
    LossEntry("ranking.all_pairs_ranking_hinge.AllPairsRankingHinge"),
    LossEntry("ranking.known_squared_error.KnownSquaredError"),
    LossEntry("self_distillation.SelfDistillation"),
    LossEntry("teacher_references.TeacherReferences"),
)

#: Names of the teacher losses that compare inner layers.
FEATURE_LOSSES = frozenset(name for name, loss in TEACHER_LOSSES.items() if loss.of_features)
#: Names of the teacher losses that compare points in one space, so that widths must be equal.
SAME_SPACE_LOSSES = frozenset(name for name, loss in TEACHER_LOSSES.items() if loss.same_space)
#: Names of the teacher losses that compare with vectors of the teacher for other images.
ANCHOR_LOSSES = frozenset(name for name, loss in TEACHER_LOSSES.items() if loss.of_anchors)
#: Names of the teacher losses that need the teacher's head.
HEAD_LOSSES = frozenset(name for name, loss in TEACHER_LOSSES.items() if loss.of_head)


def published_weight(dataset: str, loss: str) -> float:
    """Returns the weight of a teacher loss on a data set.

    Args:
        dataset: Name of the data set.
        loss: Name of the teacher loss.

    Returns:
        The weight that was published with code; 1 for a loss without one.
    """
    return TEACHER_LOSSES[loss].weight_on(dataset) if loss in TEACHER_LOSSES else 1.0


def all_losses() -> list[LossEntry]:
    """Returns the entries of all losses, also of those that no setting names."""
    named = (TASK_LOSSES, TEACHER_LOSSES, LABEL_LOSSES)
    return [*(entry for losses in named for entry in losses.values()), *_OTHERS]


def load_losses() -> None:
    """Imports all losses, which registers them with Keras, so that `load_model` finds them."""
    for entry in all_losses():
        entry.load()
