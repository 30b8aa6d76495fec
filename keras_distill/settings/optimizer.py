"""Settings of the optimiser: schedule, averages, freezing, clipping and early stopping."""

from dataclasses import dataclass

from keras_distill.errors import InputError
from keras_distill.settings.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings(Settings, group="Schedule and averages"):
    """Schedule and averages."""

    learning_rate: float = setting(3e-4, "Highest learning rate of Adam.")
    schedule: str = setting(
        "cosine",
        "Schedule of the learning rate: cosine falls smoothly to 0 at the last step, step falls at "
        "--schedule_steps, one_cycle rises from a 25th within --warmup_steps, by default 3 of 10 "
        "steps, and falls to almost nothing.",
        choices=["cosine", "step", "one_cycle", "constant"],
    )
    schedule_steps: str = setting(
        "", "When the rate falls: steps, or epochs with an e, such as 10e,15e."
    )
    schedule_factor: float = setting(0.1, "Factor by which the rate falls each time.")
    warmup_steps: str = setting(
        "0", "Steps in which the rate rises from 0, or epochs with an e, such as 2e."
    )
    backbone_lr_multiplier: float = setting(
        1.0,
        "Learning-rate multiplier of the backbone, for its weight decay too: 0.1 keeps more of a "
        "pretrained one.",
        formerly="trunk_rate",
    )
    freeze_epochs: int = setting(
        0,
        "First epochs in which only the head is trained: a new one would spoil a pretrained "
        "backbone. The backbone's batch normalisations keep their statistics meanwhile.",
        least=0,
    )
    weight_decay: float = setting(0.0, "Decoupled weight decay, as in AdamW.")
    l2: float = setting(0.0, "L2 penalty on all weights; the paper's code has 2e-4.")
    decay_matrices_only: bool = setting(
        False,
        "Let --weight_decay and --l2 leave out biases and the factors of normalisations.",
    )
    clip_norm: float = setting(
        0.0,
        "Shorten a step's gradient to this norm, over all weights, if it is longer; 0 for never. "
        "metrics.jsonl shows the usual length.",
    )
    ema: float = setting(
        0.0,
        "Validate and save averaged weights, the last 1 / (1 - X) steps or so: 0.99 for short "
        "trainings, 0.999 for more than some thousand steps; 0 for none.",
    )
    ema_batches: int = setting(
        10,
        "Training batches on which batch normalisation statistics of the averaged weights are "
        "estimated.",
        least=1,
    )
    patience: int = setting(
        0,
        "Stop after this many validations in a row without a better Recall@1; 0 for never. The "
        "best epoch is kept in any case.",
        least=0,
    )
    min_delta: float = setting(0.0, "Least improvement of Recall@1 that counts as better.")

    def check(self) -> None:
        """Rejects what cannot work.

        Raises:
            InputError: If a flag cannot be used.
        """
        steps_of("warmup_steps", self.warmup_steps, 1)
        if (self.schedule == "step") != bool(self.schedule_steps):
            raise InputError(
                f"--schedule={self.schedule} and --schedule_steps={self.schedule_steps!r} do not "
                "go together; give --schedule=step with steps at which the rate falls, such as "
                "10e,15e."
            )
        drops_of(self, 1)
        if self.backbone_lr_multiplier == 0:
            raise InputError(
                "--backbone_lr_multiplier=0 must be above 0; --freeze_epochs freezes the backbone."
            )
        if self.ema >= 1:
            raise InputError(f"--ema={self.ema} must be below 1, such as 0.999.")
        if self.decay_matrices_only and not (self.weight_decay or self.l2):
            raise InputError("--decay_matrices_only has no effect without --weight_decay or --l2.")
        if self.min_delta and not self.patience:
            raise InputError(f"--min_delta={self.min_delta} has no effect without --patience.")


def drops_of(settings: OptimizerSettings, steps_per_epoch: int) -> list[int]:
    """Reads `--schedule_steps`.

    Args:
        settings: The settings.
        steps_per_epoch: Steps in an epoch.

    Returns:
        The steps at which the rate falls.

    Raises:
        InputError: If they cannot be read.
    """
    value = settings.schedule_steps
    return [steps_of("schedule_steps", part, steps_per_epoch) for part in value.split(",") if value]


def steps_of(flag: str, text: str, steps_per_epoch: int) -> int:
    """Reads a number of steps, or of epochs.

    Args:
        flag: Name of the flag that holds it.
        text: Such as `500`, or `2e` or `0.5e` for epochs.
        steps_per_epoch: Steps in an epoch.

    Returns:
        The steps.

    Raises:
        InputError: If it is neither.

    Example:
        >>> steps_of("warmup_steps", "500", 40), steps_of("warmup_steps", "1.5e", 40)
        (500, 60)
    """
    try:
        steps = float(text[:-1]) * steps_per_epoch if text.endswith("e") else int(text)
        if 0 <= steps < 2**53:
            return round(steps)
    except ValueError:
        pass
    raise InputError(
        f"--{flag}: {text!r} is neither a number of steps, such as 500, nor of epochs, such as 2e."
    )
