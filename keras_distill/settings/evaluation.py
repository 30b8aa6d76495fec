"""Settings of an evaluation."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_distill.data.degradation_syntax import SYNTAX, parse_degradations
from keras_distill.errors import InputError
from keras_distill.settings.class_data import has_split_folders
from keras_distill.settings.command import Command
from keras_distill.settings.data import DataSettings
from keras_distill.settings.label_data import (
    LabelFileSettings,
    check_label_dataset,
    is_album_dataset,
    is_label_dataset,
)
from keras_distill.settings.recipes import RECIPES
from keras_distill.settings.regression_data import (
    RegressionFileSettings,
    check_regression_dataset,
    regression_kind,
)
from keras_distill.settings.settings import Settings, setting
from keras_distill.settings.split_data import PUBLISHED as PUBLISHED_SPLITS
from keras_distill.settings.split_data import ImageSplitSettings, check_class_dataset
from keras_distill.teachers.preprocessing import PREPROCESSINGS

#: How a product is measured: each image as a query, the labels of each image, its one class, pairs
#: of images, the score of each image, or the points in it.
PROTOCOLS = ("retrieval", "multilabel", "accuracy", "verification", "regression", "counting")
_OF_REGRESSION = ("regression", "counting")
#: Protocol by which the product of each recipe is evaluated, where that depends on nothing else.
PROTOCOL_OF_RECIPE = {
    "distill": "retrieval",
    "head_sharing": "accuracy",
    "multilabel": "multilabel",
}
_ONLY_OF = {
    "gallery_model": ("retrieval",),
    "degrade_side": ("retrieval", "multilabel"),
    "degrade": ("retrieval", "multilabel", "accuracy", "verification"),
    "mirror": ("retrieval", "multilabel", "accuracy", "verification"),
    "crops": ("regression",),
    "comparisons": ("regression",),
    "word_vectors": ("multilabel",),
    "precision_ks": ("retrieval",),
    "map_ks": ("retrieval",),
    "top_ks": ("multilabel", "accuracy"),
    "per_class": ("retrieval", "multilabel", "accuracy"),
    "picture": ("multilabel", "accuracy", "verification", "counting"),
}


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings(Settings, group="Evaluation"):
    """Evaluated images, and the figures."""

    split: str = setting(
        "test", "Part of the data to evaluate on.", choices=["test", "validation", "train"]
    )
    ks: str = setting("1,2,4,8", "The K of Recall@K, e.g. 1,10,100,1000 for SOP.")
    batch_size: int = setting(64, "Images embedded at once.", least=1)
    intervals: str = setting(
        "auto",
        "Unit that is resampled for the 95 % intervals on show; the JSON has both. queries: the "
        "intervals show how much figures depend on which images of these classes are the queries. "
        "classes: how much on the choice of classes, each resampled with all of its queries. auto "
        "is classes where there are several and the model was not trained on any of them.",
        choices=["auto", "classes", "queries"],
    )

    def shown_intervals(self, *, seen: bool, classes: int) -> str:
        """Chooses the intervals to show.

        Args:
            seen: Whether the model is known to have been trained on one of the classes.
            classes: Number of classes.

        Returns:
            `queries` or `classes`.
        """
        if self.intervals != "auto":
            return self.intervals
        return "queries" if seen or self.split == "train" or classes < 2 else "classes"


@dataclass(frozen=True, kw_only=True)
class ModelSettings(Settings, group="Model"):
    """The model that is evaluated."""

    model: str = setting(
        "",
        "A .keras file, a run directory, or a SavedModel folder. Required, unless --flagfile is "
        "the flags.txt of a run.",
    )
    image_size: int | None = setting(
        None, "Pixels a side, for a model that takes any size.", least=1
    )
    mirror: bool = setting(
        False,
        "Average the vectors, or logits, of each image and its mirror image, in twice the time. "
        "Applies to --model and --gallery_model, unless they do so themselves, as after export "
        "--mirror, or are tables of vectors.",
    )


@dataclass(frozen=True, kw_only=True)
class GalleryModelSettings(Settings, group="Gallery model"):
    """The model that embeds the gallery."""

    gallery_model: str = setting(
        "",
        "Model that embeds the gallery, if not --model: a .keras file, such as the "
        "projected_teacher.keras of a run, a run directory, a SavedModel, a .tflite or .onnx file, "
        "or a table of vectors.",
    )
    gallery_output: str = setting("", "Its layer or output, as --teacher_output of train.")
    gallery_signature: str = setting("", "Its signature, of a SavedModel.")
    gallery_image_size: int | None = setting(None, "Pixels a side, if it takes any size.", least=1)
    gallery_preprocessing: str = setting(
        "0_255",
        f"Its preprocessing of pixels: {', '.join(PREPROCESSINGS)}. Models made here take 0_255.",
        choices=PREPROCESSINGS,
    )

    def check(self) -> None:
        """Rejects what cannot work.

        Raises:
            InputError: If the model does not exist, or is described but not given.
        """
        if self.gallery_model and not Path(self.gallery_model).exists():
            raise InputError(f"--gallery_model={self.gallery_model} does not exist.")
        for name in ("output", "signature", "image_size", "preprocessing"):
            if f"gallery_{name}" in self.given and not self.gallery_model:
                raise InputError(f"--gallery_{name} needs --gallery_model.")


@dataclass(frozen=True, kw_only=True)
class PairSettings(Settings, group="Pairs"):
    """Pairs of images that are told to be the same or different."""

    pairs: str = setting(
        "",
        "Protocol verification: CSV file of pairs, file,file,same and maybe fold, with same 1 or "
        "0; files are relative to --images. If not given, all pairs of the images of --dataset.",
    )
    templates: str = setting(
        "",
        "Protocol verification: CSV file of templates, file,template,media and maybe subject: "
        "--pairs are pairs of templates, each the mean of its media, which are means of their "
        "images, as in IJB-C.",
    )

    def check_pairs(self, protocol: str | None) -> None:
        """Rejects files that are not there, or that the protocol does not read.

        Args:
            protocol: The protocol.

        Raises:
            InputError: If a flag cannot be used.
        """
        for name in ("pairs", "templates"):
            file = getattr(self, name)
            if file and protocol not in (None, "verification"):
                raise InputError(f"--{name} is of --protocol=verification; leave it out.")
            if file and not Path(file).expanduser().is_file():
                raise InputError(f"--{name}={file}: there is no such file.")
        if self.templates and not self.pairs:
            raise InputError("--templates needs --pairs, a file of pairs of templates.")


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(
    ModelSettings,
    GalleryModelSettings,
    DataSettings,
    LabelFileSettings,
    ImageSplitSettings,
    PairSettings,
    RegressionFileSettings,
    EvaluationSettings,
    group="Evaluation",
):
    """Settings of the command `evaluate`."""

    protocol: str | None = setting(
        None,
        f"Evaluation protocol, one of {', '.join(PROTOCOLS)}; by default the protocol of the "
        "recipe of the model's run; without a run, the one that the data are for: verification "
        "with --pairs, regression with --scores, counting with --points, multilabel for labels, "
        "else retrieval.",
        choices=PROTOCOLS,
    )
    precision_ks: str = setting(
        "", "The K of precision@K, also called purity@K, e.g. 10; none if empty."
    )
    map_ks: str = setting("", "The K of mAP@K, e.g. 10,100; none if empty.")
    top_ks: str = setting(
        "",
        "Protocol multilabel: the K of precision, recall and F1 of the K best labels, by default "
        "3; protocol accuracy: the K of the accuracy among the K best classes, by default 1,5.",
    )
    crops: int = setting(
        30,
        "Protocol regression: seeded crops whose mean is the score of an image; 0 for the whole "
        "image at once.",
        least=0,
    )
    word_vectors: str = setting(
        "",
        "Protocol multilabel: file of word vectors for a model of words; by default the one of "
        "the run.",
    )
    degrade: str = setting(
        "", f"Degradations of the images, applied in this order: some of {SYNTAX}."
    )
    degrade_side: str = setting(
        "both",
        "Images that --degrade applies to; a query's own image is never in its gallery. With "
        "--gallery_model, the input of each model is degraded at its own size, and the cosine "
        "compares the student's query with the teacher's gallery.",
        choices=["queries", "gallery", "both"],
    )
    json: str = setting("", "File for the figures as JSON.", group="Output")
    picture: str = setting(
        "",
        "PNG file for a picture: of protocol accuracy the confusion matrix, of verification the "
        "ROC curve, of counting four images, from the fewest points to the most, and their density "
        "maps, of multilabel the photographs of some albums that are attended to most.",
        group="Output",
    )
    per_class: bool = setting(
        False, "List the figures of each class too, in --json.", group="Output"
    )

    def check(self) -> None:
        """Rejects what cannot work, whatever the model, before anything slow is loaded.

        Raises:
            InputError: If a flag cannot be used.
        """
        self.check_data()
        parse_ks(self.ks)
        self.top_ks_or([1])
        parse_precision_ks(self.precision_ks)
        parse_map_ks(self.map_ks)
        GalleryModelSettings.check(self)
        self.check_protocol()
        parse_degradations(self.degrade)
        if self.picture and Path(self.picture).suffix.lower() != ".png":
            raise InputError(f"--picture={self.picture} must end in .png.")
        if self.degrade_side != "both" and not self.degrade:
            raise InputError(
                f"--degrade_side={self.degrade_side} needs --degrade, some of {SYNTAX}."
            )

    def top_ks_or(self, default: list[int]) -> list[int]:
        """Returns the numbers of `top_ks`, or others if it is not given."""
        return parse_top_ks(self.top_ks) if self.top_ks else default

    def check_protocol(self) -> None:
        """Rejects flags that the protocol has no use for.

        Raises:
            InputError: If there is one.
        """
        for name, protocols in _ONLY_OF.items():
            has_effect = name in self.given and getattr(self, name) not in ("", False, "both")
            if has_effect and self.protocol not in (None, *protocols):
                raise InputError(
                    f"--{name} is not offered by --protocol={self.protocol}; leave it out."
                )
        for name in ("json", "picture"):
            if (file := getattr(self, name)) and Path(file).is_dir():
                raise InputError(f"--{name}={file} is a folder; give a file.")

    def check_data(self) -> None:
        """Rejects a data set that cannot exist, or that the protocol cannot read.

        Raises:
            InputError: If it is not there, or of another kind.
        """
        self.check_pairs(self.protocol)
        if self.pairs:
            self.check_label_files()
            return
        kind = {"score": "regression", "density": "counting", "": ""}[regression_kind(self)]
        if self.protocol in _OF_REGRESSION or (kind and not self.protocol):
            self._check_regression(kind)
            return
        if kind:
            raise InputError(
                f"--protocol={self.protocol} reads no scores and points; give "
                f"--protocol={kind}, or leave --scores and --points out."
            )
        labels = is_label_dataset(self.dataset)
        if labels != (self.protocol == "multilabel") and self.protocol and self.dataset:
            kind = "images with several labels" if labels else "images of one class each"
            raise InputError(
                f"--dataset={self.dataset} has {kind}, and --protocol={self.protocol} does not "
                "take them; give other data, or another protocol."
            )
        if self.protocol == "accuracy":
            check_class_dataset(self.dataset)
            self.check_shares()
            return
        if not labels:
            DataSettings.check(self)
            if self.protocol != "verification" or not has_split_folders(self.dataset):
                check_split(self.split, self.validation_classes)
            return
        check_label_dataset(self.dataset)
        self.check_label_files()
        if is_album_dataset(self.dataset):
            self._check_albums()
        elif self.picture:
            raise InputError(
                f"--picture={self.picture}: --protocol=multilabel draws albums alone; leave it out."
            )

    def _check_albums(self) -> None:
        if self.degrade and self.album_vectors:
            raise InputError(f"--degrade={self.degrade} has no effect on vectors; leave it out.")
        if self.mirror:
            raise InputError(
                "--mirror is not offered for albums; leave it out, or train on vectors that "
                "`embed` made with it."
            )

    def _check_regression(self, kind: str) -> None:
        """Rejects data that the protocols of scores and counts cannot read."""
        check_regression_dataset(self.dataset)
        self.check_regression_files(self.dataset)
        if self.protocol and kind != self.protocol:
            needed = "--points" if self.protocol == "counting" else "--scores"
            raise InputError(f"--protocol={self.protocol} needs {needed}.")


def protocol_of(settings: Any) -> str:
    """Returns the protocol of the product of a training, or of data alone.

    Args:
        settings: The settings of a training, or of an evaluation without a run.
    """
    if getattr(settings, "recipe", "") in PROTOCOL_OF_RECIPE:
        return PROTOCOL_OF_RECIPE[settings.recipe]
    if getattr(settings, "recipe", "") == "ranked_regression":
        kind = settings.output
    else:
        if settings.pairs:
            return "verification"
        kind = regression_kind(settings)
    if kind:
        return "counting" if kind == "density" else "regression"
    if settings.dataset in PUBLISHED_SPLITS or settings.dataset.startswith("imagenet_folder:"):
        return "accuracy"
    return "multilabel" if is_label_dataset(settings.dataset) else "retrieval"


def evaluate_command(description: str = "") -> Command[EvaluateSettings]:
    """Returns the command `evaluate`, which reads flag files of `train` too.

    Args:
        description: Text of the help.

    Returns:
        The command.
    """
    return Command("keras_distill.evaluate", description, EvaluateSettings, others=RECIPES.values())


def check_split(split: str, validation_classes: str) -> None:
    """Checks that the evaluated split exists."""
    if split == "validation" and not validation_classes:
        raise InputError("--split=validation needs --validation_classes.")


def parse_ks(value: str) -> list[int]:
    """Reads `--ks`.

    Args:
        value: Positive integers, such as `"1,2,4,8"`.

    Returns:
        The numbers, ascending, each once.

    Raises:
        InputError: If it is anything else.
    """
    return _positive_integers("ks", value, "1,2,4,8")


def parse_top_ks(value: str) -> list[int]:
    """Reads `--top_ks`, as `parse_ks` does."""
    return _positive_integers("top_ks", value, "1,3")


def parse_precision_ks(value: str) -> list[int]:
    """Reads `--precision_ks`, which may be empty; otherwise as `parse_ks` does."""
    return _positive_integers("precision_ks", value, "10") if value else []


def parse_map_ks(value: str) -> list[int]:
    """Reads `--map_ks`, which may be empty; otherwise as `parse_ks` does."""
    return _positive_integers("map_ks", value, "10,100") if value else []


def _positive_integers(flag: str, value: str, example: str) -> list[int]:
    """The numbers of a list, ascending, each once."""
    try:
        numbers = sorted({int(part) for part in value.split(",")})
    except ValueError:
        numbers = [0]
    if numbers[0] < 1:
        raise InputError(f"--{flag}={value} must be positive integers, such as {example}.")
    return numbers
