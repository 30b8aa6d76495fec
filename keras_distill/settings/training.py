"""The flags of a training run, shared by the commands that prepare or make one."""

from typing import Any

from keras_distill.data.degradations import SYNTAX, parse_degradations
from keras_distill.distribution.cluster import read_cluster
from keras_distill.errors import InputError
from keras_distill.losses.addons_losses import check_addons
from keras_distill.models.trunks import TRUNKS
from keras_distill.settings.command import Command
from keras_distill.settings.data import (
    check_data_flags,
    check_name,
    define_data_flags,
    parse_unlabelled,
)
from keras_distill.settings.monitoring import check_watch_flags, define_watch_flags
from keras_distill.settings.optimizer import check_schedule_flags, define_schedule_flags
from keras_distill.settings.teachers import check_teacher_flags, define_teacher_flags

_ADDONS = "tensorflow_addons.AddonsLoss"
# Where each loss on the labels is, below keras_distill.losses, and its settings; --margin replaces
# the margin of those that have one, and the training classes take the place of `classes`.
TASK_LOSSES: dict[str, tuple[str, dict[str, Any]]] = {
    "batch_hard_triplet": ("batch_hard_triplet.BatchHardTriplet", {"margin": 0.2}),
    "soft_triplet": ("batch_hard_triplet.BatchHardTriplet", {"margin": "soft"}),
    "batch_all_triplet": ("batch_all_triplet.BatchAllTriplet", {"margin": 0.2}),
    "semi_hard_triplet": ("semi_hard_triplet.SemiHardTriplet", {"margin": 0.2}),
    "contrastive": ("contrastive.Contrastive", {}),
    "multi_similarity": ("multi_similarity.MultiSimilarity", {}),
    "n_pairs": ("n_pairs.NPairs", {"scale": 20.0}),
    "lifted_structure": ("lifted_structure.LiftedStructure", {"margin": 1.0}),
    "proxy_anchor": ("proxy_anchor.ProxyAnchor", {"classes": None, "margin": 0.1}),
    "normalized_softmax": (
        "arc_face.ArcFace",
        {"classes": None, "margin": 0.0, "scale": 20.0, "name": "normalized_softmax"},
    ),
    "arc_face": ("arc_face.ArcFace", {"classes": None, "margin": 0.5}),
    # Those of TensorFlow Addons.
    "tfa:triplet_semihard": (_ADDONS, {"loss": "triplet_semihard", "margin": 0.2}),
    "tfa:triplet_hard": (_ADDONS, {"loss": "triplet_hard", "margin": 0.2}),
    "tfa:lifted_struct": (_ADDONS, {"loss": "lifted_struct", "margin": 1.0}),
    "tfa:npairs": (_ADDONS, {"loss": "npairs", "scale": 20.0}),
    "tfa:contrastive": (_ADDONS, {"loss": "contrastive", "margin": 1.0}),
}
# Settings that are fixed by the name of the loss.
_WITHOUT_MARGIN = (
    "soft_triplet",
    "normalized_softmax",
    "contrastive",
    "multi_similarity",
    "n_pairs",
    "tfa:npairs",
)


def define_train_flags(command: Command) -> None:
    """Adds all flags of a training run to a command."""
    define_data_flags(command)

    command.string(
        "Data",
        "unlabelled",
        "",
        "A data set as in --dataset, or its classes A:B as in folder:photos:50:75, whose images "
        "are learnt from without labels: they enter the teacher losses only.",
    )

    command.choice("Student", "trunk", "mobilenet", list(TRUNKS), f"One of {', '.join(TRUNKS)}.")
    command.number("Student", "alpha", 1.0, "Width multiplier of a MobileNet trunk, e.g. 0.25.")
    command.integer(
        "Student", "image_size", None, "Pixels a side; the trunk's own if not given.", 32
    )
    command.integer("Student", "embedding_dim", 512, "Width of the embedding; 0 for no head.", 0)
    command.string(
        "Student",
        "trunk_weights",
        "imagenet",
        "imagenet (fetched by Keras), none, or the path of a .weights.h5 file.",
    )
    command.string(
        "Student", "trunk_layer", "", "End the trunk after this layer; a wrong name lists them."
    )

    define_teacher_flags(command)

    command.choice(
        "Loss",
        "task_loss",
        "batch_hard_triplet",
        [*TASK_LOSSES, "none"],
        f"Loss on the labels, one of {', '.join(TASK_LOSSES)}, none. Batch-hard for pretrained "
        "trunks, semi-hard to start from random weights, none to learn from the teacher alone. "
        "Those that begin with tfa: are of TensorFlow Addons.",
    )
    command.number(
        "Loss",
        "margin",
        None,
        "Margin, for the losses that have one; by default 0.2 for triplets (the paper's code has "
        "0), 1 for lifted_structure, tfa:lifted_struct and tfa:contrastive, 0.1 for proxy_anchor, "
        "0.5 (radians) for arc_face.",
    )
    command.integer(
        "Loss",
        "memory",
        0,
        "Compare each batch also with this many embeddings of earlier ones (cross-batch memory).",
        0,
    )
    command.number("Loss", "task_weight", 1.0, "Weight of the loss on the labels.")

    command.integer("Training", "epochs", 20, "Epochs; 0 writes the embedder as it stands.", 0)
    command.integer(
        "Training", "steps_per_epoch", 0, "Batches in an epoch; 0 for images / batch size.", 0
    )
    command.integer("Training", "classes_per_batch", 8, "Classes in a batch.", 2)
    command.integer("Training", "images_per_class", 8, "Images of each class in a batch.", 1)
    command.integer(
        "Training", "unlabelled_per_batch", 16, "Images of --unlabelled added to each batch.", 1
    )
    command.number(
        "Training", "crop_area", 0.08, "Least share of an image's area in a random crop, up to 1."
    )
    command.string(
        "Training",
        "degrade",
        "",
        f"What makes the student's images worse, in this order, some of {SYNTAX}; the teacher sees "
        "the good ones of the same crops. Validation images are degraded too.",
    )
    command.integer("Training", "seed", 0, "Seed of weights, batches and crops.", 0, 2**32 - 1)
    command.choice(
        "Training",
        "mixed_precision",
        "float32",
        ["float32", "mixed_bfloat16", "mixed_float16"],
        "Precision of the student's layers; losses and the embedding stay float32.",
    )
    command.choice(
        "Training",
        "distribution",
        "none",
        ["none", "mirrored", "multiworker"],
        "mirrored for all GPUs of this machine, multiworker for those of all processes that the "
        "environment variable TF_CONFIG names. Batches are dealt to them; losses compare all rows.",
    )
    command.boolean(
        "Training",
        "sync_batch_norm",
        False,
        "Normalise by the statistics of the whole batch, not of what one device has of it.",
    )
    command.boolean("Training", "jit_compile", False, "Compile the step with XLA; slow on CPUs.")
    command.integer(
        "Training", "validate_every", 1, "Epochs between two Recall@1 on --validation_classes.", 1
    )

    command.boolean(
        "Training",
        "deterministic",
        False,
        "Let no operation depend on the timing of threads: the same flags give the same bits.",
    )

    command.integer("Training", "checkpoint_every", 1, "Epochs between two checkpoints.", 1)
    command.integer(
        "Training",
        "checkpoint_steps",
        0,
        "Steps between two checkpoints within an epoch; 0 for none.",
        0,
    )
    command.integer(
        "Training", "keep_checkpoints", 2, "Newest checkpoints to keep, beside the best one.", 1
    )

    define_schedule_flags(command)
    define_watch_flags(command)

    command.string(
        "Output",
        "run_dir",
        "",
        "Folder of the run; runs/NAME of the flag file or data set if empty.",
    )
    command.boolean("Output", "overwrite", False, "Replace a run that is in --run_dir already.")


def check_train_flags(flags: Any) -> None:
    """Rejects what cannot work before anything slow is loaded.

    Args:
        flags: The parsed flags.

    Raises:
        InputError: If a flag is of no use for choosing views or asking teachers about them.
    """
    check_data_flags(flags)
    check_teacher_flags(flags)
    check_schedule_flags(flags)
    check_watch_flags(flags)
    if flags.unlabelled:
        check_name("unlabelled", flags.unlabelled, parse_unlabelled(flags.unlabelled)[0])
        if not flags.teacher:
            raise InputError(
                f"--unlabelled={flags.unlabelled}: without --teacher there is nothing to learn "
                "from unlabelled images; give one, or leave them out."
            )
    if flags.margin is not None and flags.task_loss in (*_WITHOUT_MARGIN, "none"):
        raise InputError(
            f"--margin={flags.margin}: --task_loss={flags.task_loss} has no margin to set; leave "
            "it out."
        )
    library, _, loss = flags.task_loss.rpartition(":")
    if library == "tfa":
        check_addons(loss, argument=f"--task_loss={flags.task_loss}")
    if flags.distribution == "multiworker":
        read_cluster()
    if not 0.0 < flags.crop_area <= 1.0:
        raise InputError(f"--crop_area={flags.crop_area} must be above 0 and at most 1.")
    image_size = flags.image_size or TRUNKS[flags.trunk].image_size
    parse_degradations(flags.degrade, argument="--degrade", image_size=image_size)
