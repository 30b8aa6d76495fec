"""Settings for monitoring a training."""

import re
from dataclasses import dataclass

from keras_distill.errors import InputError
from keras_distill.settings.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class MonitoringSettings(Settings, group="Watching"):
    """Watching."""

    gradient_norm: bool = setting(
        True,
        "Measure the norm of the gradients before clipping: mean and maximum of each epoch are in "
        "metrics.jsonl. --nogradient_norm saves the little that it costs.",
    )
    tensorboard: bool = setting(
        True,
        "Write RUN/tensorboard: losses, recall, learning rate, gradient norm, images/s and the "
        "values below; view them with tensorboard --logdir=runs. --notensorboard leaves it out.",
        free=True,
    )
    tensorboard_steps: int = setting(
        0,
        "Steps between two points of the losses within an epoch; 0 for one point an epoch.",
        least=0,
        free=True,
    )
    tensorboard_images: int = setting(
        8,
        "Images of the first batch to show as the student and each teacher see them.",
        least=0,
        free=True,
    )
    histogram_epochs: int = setting(
        0, "Epochs between two histograms of all weights; 0 for none.", least=0, free=True
    )
    projector: int = setting(
        500,
        "Images, of --validation_classes if there are any, whose embeddings and thumbnails go to "
        "the embedding projector at the end; 0 for none.",
        least=0,
        most=10_000,
        free=True,
    )
    profile: str = setting(
        "",
        "Steps START:STOP to profile, such as 20:30, counted from 1, STOP included; not the first "
        "ones, in which the step is compiled. TensorBoard shows them once "
        "tensorboard-plugin-profile is installed.",
        free=True,
    )

    def check(self) -> None:
        """Rejects what cannot work.

        Raises:
            InputError: If a flag cannot be used.
        """
        if self.profile and not self.tensorboard:
            raise InputError(f"--profile={self.profile} has no effect with --notensorboard.")
        profile_of(self)


def profile_of(settings: MonitoringSettings) -> range:
    """Reads `--profile`.

    Args:
        settings: The settings.

    Returns:
        The steps, counted from 1.

    Raises:
        InputError: If they cannot be read.
    """
    match = re.fullmatch(r"(\d+):(\d+)", settings.profile or "0:0")
    if match is None or (settings.profile and not 1 <= int(match[1]) <= int(match[2])):
        raise InputError(
            f"--profile={settings.profile} is not START:STOP, two steps from 1 on, the first not "
            "after the second, such as 20:30."
        )
    return range(int(match[1]), int(match[2]) + 1) if settings.profile else range(0)
