"""Settings of the recipe `ranked_regression`."""

from dataclasses import dataclass, fields
from pathlib import Path

from keras_distill.data.distortion_ladders import SYNTAX, parse_ladders
from keras_distill.errors import InputError
from keras_distill.settings.backbone import BackboneSettings
from keras_distill.settings.data import check_name
from keras_distill.settings.regression_data import RegressionDataSettings, regression_kind
from keras_distill.settings.settings import Settings, setting
from keras_distill.settings.training import TrainSettings

#: Ways to combine ranking and regression.
STAGES = ("rank,fine_tune", "joint", "alternate", "rank", "fine_tune")


@dataclass(frozen=True, kw_only=True)
class ScorerSettings(BackboneSettings, group="Student"):
    """Student."""

    head: str = setting(
        "",
        "Output: score, one number; or density, a map whose sum is a count. By default density "
        "with --points, else score.",
        choices=["", "score", "density"],
    )
    initial_model: str = setting(
        "",
        "A run or .keras file with the same output that the first stage starts from, in place of "
        "the weights of the backbone, such as a run of --stages=rank.",
    )
    embedder: str = setting(
        "",
        "A run or .keras file with an embedding, in place of a backbone: it is frozen, and gets a "
        "score from its features, so that one pass gives both.",
    )


@dataclass(frozen=True, kw_only=True)
class RankingSettings(Settings, group="Ranking"):
    """Ranked sets, and the loss on them."""

    stages: str = setting(
        "rank,fine_tune",
        "rank,fine_tune: learn the order of ranked sets, then the labels; joint: both in each "
        "step; alternate: each for --alternate_every steps; rank or fine_tune: one of them alone.",
        choices=STAGES,
    )
    ranked_by: str = setting(
        "",
        "Ranked sets: distortions of a crop; crops within each other, a larger one of which holds "
        "no fewer; or comparisons, those of --comparisons. By default distortions for a score, "
        "crops for a density.",
        choices=["", "distortions", "crops", "comparisons"],
    )
    distortions: str = setting("tid2013", f"For --ranked_by=distortions: {SYNTAX}.")
    nested_crops: int = setting(5, "For --ranked_by=crops: crops of a set.", least=2)
    unlabelled: str = setting(
        "",
        "folder:PATH of the images to rank; by default the training images that have no score, or "
        "all of them if each has one.",
    )
    sets_per_batch: int = setting(8, "Ranked sets in a batch.", least=1)
    rank_margin: float | None = setting(
        None,
        "Margin of the ranking hinge, in standard deviations of the training scores; 1 by default "
        "for a score, 0 for counts, which may be equal.",
    )
    rank_normalisation: str = setting(
        "rows",
        "What the sum over the pairs is divided by: rows, as published, pairs, or sum for nothing.",
        choices=["rows", "pairs", "sum"],
    )
    rank_weight: float = setting(
        1.0,
        "For joint and alternate: weight of the ranking hinge; the squared error is of scores in "
        "standard deviations, and the hinge of counts is of means over cells.",
    )
    rank_epochs: int | None = setting(
        None, "Epochs of the stage rank; by default --epochs.", least=0
    )
    rank_steps_per_epoch: int | None = setting(
        None,
        "Batches in an epoch of the stage rank, 0 for images / sets; by default --steps_per_epoch.",
        least=0,
    )
    rank_learning_rate: float | None = setting(
        None, "Learning rate of the stage rank; by default --learning_rate."
    )
    alternate_every: int = setting(
        300, "For alternate: steps of ranking, and then of regression.", least=1
    )


@dataclass(frozen=True, kw_only=True)
class RegressionBatchSettings(Settings, group="Training"):
    """Batches of labelled images, and how many of them are used."""

    batch_size: int = setting(32, "Labelled images in a batch.", least=1)
    label_share: float = setting(
        1.0, "Share of the labelled training images whose labels are used, above 0."
    )
    labelled: str = setting(
        "",
        "File with one training image a line: the only ones whose labels are used, such as the "
        "list that was chosen to be labelled.",
    )
    crop_pixels: str = setting(
        "",
        "Side of the crops, in pixels of the files, as LEAST:MOST, drawn between them; resized to "
        "--image_size. By default --image_size, so that no pixel is resized.",
    )
    sigma: float = setting(
        15.0, "For a density: standard deviation of a point, in pixels of the original image."
    )
    validation_crops: int = setting(
        5, "Seeded crops whose mean is the score of a validation image; 0 for the whole.", least=0
    )


@dataclass(frozen=True, kw_only=True)
class RankedRegressionSettings(
    RegressionDataSettings, ScorerSettings, RankingSettings, TrainSettings, RegressionBatchSettings
):
    """Settings of the recipe `ranked_regression`: a score or a count, by ranks and few labels."""

    @property
    def output(self) -> str:
        """The output that is trained, `score` or `density`."""
        return self.head or ("density" if self.points else "score")

    @property
    def ranking(self) -> str:
        """What ranked sets are made by."""
        return self.ranked_by or ("crops" if self.output == "density" else "distortions")

    @property
    def ranks(self) -> bool:
        """Whether there is a ranking loss."""
        return self.stages != "fine_tune"

    @property
    def regresses(self) -> bool:
        """Whether there is a loss on labels."""
        return self.stages != "rank"

    def check(self) -> None:
        """Rejects what cannot work before anything slow is loaded.

        Raises:
            InputError: If a flag cannot be used, or has no effect.
        """
        RegressionDataSettings.check(self)
        BackboneSettings.check(self)
        TrainSettings.check(self)
        self._check_labels()
        self._check_ranking()
        parse_crop_pixels(self.crop_pixels)
        if self.initial_model and not Path(self.initial_model).exists():
            raise InputError(f"--initial_model={self.initial_model} does not exist.")
        if self.embedder:
            self._check_embedder()
        if self.freeze_epochs:
            raise InputError(
                f"--freeze_epochs={self.freeze_epochs} is not offered by this recipe; a small "
                "--backbone_lr_multiplier spares the backbone."
            )

    def _check_embedder(self) -> None:
        if not Path(self.embedder).exists():
            raise InputError(f"--embedder={self.embedder} does not exist.")
        if self.output != "score":
            raise InputError("--embedder is for scores; leave it out for a density.")
        of_backbone = [field.name for field in fields(BackboneSettings) if field.metadata]
        for name in ("initial_model", *of_backbone):
            if getattr(self, name) != getattr(RankedRegressionSettings, name):
                raise InputError(
                    f"--{name}={getattr(self, name)} has no effect with --embedder, which is "
                    "taken as it is; leave one of them out."
                )

    def _check_labels(self) -> None:
        kind = regression_kind(self)
        if self.regresses and not kind:
            raise InputError(
                f"--stages={self.stages} needs labels: give --scores or --points, or --stages=rank."
            )
        if kind and self.output != kind:
            raise InputError(f"--head={self.head} does not fit the data, which have a {kind}.")
        if not 0 < self.label_share <= 1:
            raise InputError(f"--label_share={self.label_share} must be above 0 and at most 1.")
        if self.labelled and not Path(self.labelled).is_file():
            raise InputError(f"--labelled={self.labelled}: there is no such file.")
        if self.labelled and self.label_share != 1:
            raise InputError("--labelled and --label_share both choose labels; give one of them.")
        if not self.regresses and (self.labelled or self.label_share != 1):
            raise InputError("--labelled and --label_share have no effect on --stages=rank.")
        if self.sigma <= 0:
            raise InputError(f"--sigma={self.sigma} must be above 0.")

    def check_turns(self, steps_per_epoch: int) -> None:
        """Rejects a training by turns that ends before the first turn with labels.

        Args:
            steps_per_epoch: Steps in an epoch.

        Raises:
            InputError: If every step would rank.
        """
        steps = self.epochs * steps_per_epoch
        if self.stages == "alternate" and 0 < steps <= self.alternate_every:
            raise InputError(
                f"`alternate_every={self.alternate_every}`: the training has {steps} steps, all of "
                "which would rank; give fewer, or more `epochs` or `steps_per_epoch`."
            )

    def _check_ranking(self) -> None:
        if not self.ranks:
            for name in ("ranked_by", "unlabelled", "comparisons"):
                if getattr(self, name):
                    raise InputError(
                        f"--{name}={getattr(self, name)} has no effect on --stages=fine_tune."
                    )
            return
        if (self.ranking == "comparisons") != bool(self.comparisons):
            raise InputError(
                "--ranked_by=comparisons and --comparisons=FILE belong together; give both."
            )
        if self.ranking == "comparisons" and self.unlabelled:
            raise InputError("--unlabelled has no effect with --comparisons; leave it out.")
        if self.ranking != "crops" and self.output == "density":
            raise InputError(f"--ranked_by={self.ranking} orders scores, not counts; give crops.")
        if self.ranking == "distortions":
            parse_ladders(self.distortions)
        if self.unlabelled:
            check_name("unlabelled", self.unlabelled, self.unlabelled)
            if not self.unlabelled.startswith("folder:"):
                raise InputError(f"--unlabelled={self.unlabelled}: give folder:PATH.")


def parse_crop_pixels(value: str) -> tuple[float, float] | None:
    """Reads `--crop_pixels`.

    Args:
        value: `LEAST:MOST`, one number for both, or empty.

    Returns:
        Least and greatest side, in pixels; `None` if it is empty.

    Raises:
        InputError: If it is something else.

    Example:
        >>> parse_crop_pixels("56:448")
        (56.0, 448.0)
    """
    if not value:
        return None
    least, _, most = value.partition(":")
    try:
        sides = float(least), float(most or least)
        if 8 <= sides[0] <= sides[1] < 2**16:
            return sides
    except ValueError:
        pass
    raise InputError(
        f"--crop_pixels={value} must be LEAST:MOST, numbers of pixels from 8, such as 56:448."
    )
