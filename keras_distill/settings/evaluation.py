"""Settings of an evaluation."""

from dataclasses import dataclass
from pathlib import Path

from keras_distill.data.degradation_syntax import SYNTAX, parse_degradations
from keras_distill.errors import InputError
from keras_distill.settings.command import Command
from keras_distill.settings.data import DataSettings
from keras_distill.settings.label_data import (
    LabelFileSettings,
    check_label_dataset,
    is_album_dataset,
    is_label_dataset,
)
from keras_distill.settings.recipes import RECIPES
from keras_distill.settings.settings import Settings, setting
from keras_distill.teachers.preprocessing import PREPROCESSINGS

#: How a product is measured: each image as a query, or the labels of each image.
PROTOCOLS = ("retrieval", "multilabel")
#: Protocol by which the product of each recipe is evaluated.
PROTOCOL_OF_RECIPE = {"distill": "retrieval", "multilabel": "multilabel"}


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings(Settings, group="Evaluation"):
    """Evaluated images, and the figures."""

    split: str = setting("test", "Classes to evaluate on.", choices=["test", "validation", "train"])
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
class EvaluateSettings(
    ModelSettings,
    GalleryModelSettings,
    DataSettings,
    LabelFileSettings,
    EvaluationSettings,
    group="Evaluation",
):
    """Settings of the command `evaluate`."""

    protocol: str | None = setting(
        None,
        f"Evaluation protocol, one of {', '.join(PROTOCOLS)}; by default the protocol of the "
        "recipe of the model's run; without a run, multilabel for data of labels, else retrieval.",
        choices=PROTOCOLS,
    )
    map_ks: str = setting("", "The K of mAP@K, e.g. 10,100; none if empty.")
    top_ks: str = setting(
        "3", "Protocol multilabel: the K of precision, recall and F1 of the K best labels."
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
    album_picture: str = setting(
        "",
        "PNG file for a picture of the photographs of some albums that the model attends to most.",
        group="Output",
    )
    json: str = setting("", "File for the figures as JSON.", group="Output")
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
        parse_top_ks(self.top_ks)
        parse_map_ks(self.map_ks)
        GalleryModelSettings.check(self)
        for name in ("json", "album_picture"):
            value = getattr(self, name)
            if value and Path(value).is_dir():
                raise InputError(f"--{name}={value} is a folder; give a file.")
        picture = self.album_picture
        if picture and not is_album_dataset(self.dataset):
            raise InputError(
                f"--album_picture={picture} needs albums, as --dataset=albums:PATH; leave it out."
            )
        if picture and Path(picture).suffix.lower() != ".png":
            raise InputError(f"--album_picture={picture} must end in .png.")
        parse_degradations(self.degrade)
        if self.degrade_side != "both" and not self.degrade:
            raise InputError(
                f"--degrade_side={self.degrade_side} needs --degrade, some of {SYNTAX}."
            )

    def check_data(self) -> None:
        """Rejects a data set that cannot exist, or that the protocol cannot read.

        Raises:
            InputError: If it is not there, or of another kind.
        """
        labels = is_label_dataset(self.dataset)
        if labels != (self.protocol == "multilabel") and self.protocol and self.dataset:
            kind = "images with several labels" if labels else "images of one class each"
            raise InputError(
                f"--dataset={self.dataset} has {kind}, and --protocol={self.protocol} does not "
                "take them; give other data, or another protocol."
            )
        if not labels:
            DataSettings.check(self)
            check_split(self.split, self.validation_classes)
            return
        check_label_dataset(self.dataset)
        self.check_label_files()
        if self.gallery_model:
            raise InputError(
                f"--gallery_model={self.gallery_model} is not offered by --protocol=multilabel; "
                "leave it out."
            )
        if self.mirror and is_album_dataset(self.dataset):
            raise InputError(
                "--mirror is not offered for albums; leave it out, or train on vectors that "
                "`embed` made with it."
            )


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
    if not (ks := _positive_integers(value)):
        raise InputError(f"--ks={value} must be positive integers, such as 1,2,4,8.")
    return ks


def parse_top_ks(value: str) -> list[int]:
    """Reads `--top_ks`, as `parse_ks` does."""
    if not (ks := _positive_integers(value)):
        raise InputError(f"--top_ks={value} must be positive integers, such as 1,3.")
    return ks


def parse_map_ks(value: str) -> list[int]:
    """Reads `--map_ks`, which may be empty; otherwise as `parse_ks` does."""
    if value and not _positive_integers(value):
        raise InputError(f"--map_ks={value} must be positive integers, such as 10,100.")
    return _positive_integers(value)


def _positive_integers(text: str) -> list[int]:
    """The numbers of a list, ascending, each once; empty if it is anything else."""
    try:
        numbers = sorted({int(part) for part in text.split(",")})
    except ValueError:
        return []
    return numbers if numbers[0] > 0 else []
