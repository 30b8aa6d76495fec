"""Settings of any training."""

from dataclasses import dataclass
from typing import ClassVar

from keras_distill.distribution.cluster import read_cluster
from keras_distill.errors import InputError
from keras_distill.settings.monitoring import MonitoringSettings
from keras_distill.settings.optimizer import OptimizerSettings
from keras_distill.settings.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(Settings, group="Training"):
    """Length, precision, devices and checkpoints of a training."""

    recipe: str = setting(
        "distill",
        "Recipe of the training. distill: an embedder, from a teacher or from labels. "
        "head_sharing: a classifier of images of one class each, which shares a head with its "
        "teacher. multilabel: a classifier of images with several labels each. ranked_regression: "
        "a score or a count, from images whose order is known and few labels.",
    )
    epochs: int = setting(20, "Epochs; 0 writes the embedder as it stands.", least=0)
    steps_per_epoch: int = setting(0, "Batches in an epoch; 0 for images / batch size.", least=0)
    seed: int = setting(0, "Seed of weights, batches and crops.", least=0, most=2**32 - 1)
    mixed_precision: str = setting(
        "float32",
        "Precision of the student's layers; losses and the embedding stay float32.",
        choices=["float32", "mixed_bfloat16", "mixed_float16"],
    )
    distribution: str = setting(
        "none",
        "mirrored for all GPUs of this machine, multiworker for those of all processes that the "
        "environment variable TF_CONFIG names. Batches are divided among them; losses compare all "
        "rows.",
        choices=["none", "mirrored", "multiworker"],
        free=True,
    )
    sync_batch_norm: bool = setting(
        False, "Normalise by the statistics of the whole batch, not of one device's part."
    )
    jit_compile: bool = setting(False, "Compile the step with XLA; slow on CPUs.")
    validate_every: int = setting(
        1, "Epochs between two Recall@1 on --validation_classes.", least=1
    )
    deterministic: bool = setting(
        False,
        "Let no operation depend on the timing of threads: the same flags give the same bits.",
    )
    checkpoint_every: int = setting(1, "Epochs between two checkpoints.", least=1, free=True)
    checkpoint_steps: int = setting(
        0, "Steps between two checkpoints within an epoch; 0 for none.", least=0, free=True
    )
    keep_checkpoints: int = setting(
        2, "Newest checkpoints to keep, in addition to the best one.", least=1, free=True
    )

    def check(self) -> None:
        """Rejects what cannot work.

        Raises:
            InputError: If TF_CONFIG does not name the processes of a distributed training.
        """
        if self.distribution == "multiworker":
            try:
                read_cluster()
            except InputError as error:
                raise InputError(f"--distribution=multiworker: {error}") from error


@dataclass(frozen=True, kw_only=True)
class OutputSettings(Settings, group="Output"):
    """Output."""

    run_dir: str = setting(
        "", "Folder of the run; runs/NAME of the flag file or data set if empty.", free=True
    )
    overwrite: bool = setting(False, "Replace a run that is in --run_dir already.", free=True)


@dataclass(frozen=True, kw_only=True)
class TrainSettings(TrainingSettings, OptimizerSettings, MonitoringSettings, OutputSettings):
    """Settings that the trainings of all recipes have in common."""

    #: File of the product in the run directory.
    product: ClassVar[str] = "model.keras"

    def check(self) -> None:
        """Rejects what cannot work before anything slow is loaded.

        Raises:
            InputError: If a flag cannot be used.
        """
        TrainingSettings.check(self)
        OptimizerSettings.check(self)
        MonitoringSettings.check(self)

    def resolved(self) -> "TrainSettings":
        """Returns the settings with defaults that depend on other settings filled in."""
        return self
