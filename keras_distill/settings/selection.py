"""Settings of the command `select`."""

import glob
from dataclasses import dataclass
from pathlib import Path

from keras_distill.data.degradation_syntax import SYNTAX, parse_degradations
from keras_distill.errors import InputError, renamed_arguments
from keras_distill.settings.data import DATASETS, check_name
from keras_distill.settings.settings import Settings, setting

#: Ways to choose images.
WAYS = ("coverage", "diversity", "uncertainty", "ranking_consistency", "random")
#: Ladders of degradations by which a model's scores are tested, if none are given.
LADDERS = ("blur:0.8,blur:1.6,blur:3.2,blur:6.4", "jpeg:40,jpeg:20,jpeg:10,jpeg:5")
_MEASURES = ("entropy", "margin")
_ONLY_OF = {
    "measure": ("uncertainty",),
    "ladder": ("ranking_consistency",),
    "vectors": ("coverage", "diversity", "random"),
    "mirror": ("coverage", "diversity"),
    "model": ("coverage", "diversity", "uncertainty", "ranking_consistency"),
}


@dataclass(frozen=True, kw_only=True)
class SelectSettings(Settings):
    """Settings of the command `select`."""

    by: str = setting(
        "coverage",
        "coverage: images to which all others are near on average, by the embeddings of any model "
        "of this project. diversity: images that are far from each other, odd ones first. "
        "uncertainty: images whose class a classifier is least certain of. "
        "ranking_consistency: images whose degraded copies a score model ranks wrongly. random: "
        "the baseline.",
        group="Choice",
        choices=WAYS,
    )
    budget: int = setting(100, "How many images to choose.", group="Choice", least=1)
    labelled: str = setting(
        "",
        "List of images that are labelled already, a path in each line as in --out: they are not "
        "chosen, and coverage and diversity keep away from them.",
        group="Choice",
    )
    measure: str = setting(
        "entropy",
        "uncertainty: entropy of all probabilities, or margin between the two highest.",
        group="Choice",
        choices=_MEASURES,
    )
    ladder: tuple[str, ...] = setting(
        (),
        "ranking_consistency: degradations of one kind, weaker ones first, such as "
        "jpeg:40,jpeg:20,jpeg:10; may be given several times. If not given, "
        f"{' and '.join(LADDERS)}. Known are {SYNTAX}.",
        group="Choice",
    )
    seed: int = setting(
        0, "Seed of random, and of the sample that coverage takes of many.", group="Choice", least=0
    )
    model: str = setting(
        "",
        "The model: an embedder for coverage and diversity, without --vectors; a classifier with "
        "the output logits for uncertainty; a model with the output score for "
        "ranking_consistency.",
        group="Model",
    )
    image_size: int | None = setting(
        None, "Pixels a side, for a model that takes any size.", group="Model", least=1
    )
    mirror: bool = setting(
        False, "Average the vectors of each image and its mirror image.", group="Model"
    )
    batch_size: int = setting(64, "Images in a batch.", group="Model", least=1)
    images: str = setting(
        "",
        "Folder of JPEG and PNG images, at any depth; or a data set, "
        f"{', '.join(DATASETS)}; or a pattern such as 'photos/**/*.jpg', in quotes.",
        group="Pictures",
    )
    vectors: str = setting(
        "",
        "In place of --model and --images, a folder of vectors that embed wrote: the way for many "
        "images, which are read in parts.",
        group="Pictures",
    )
    data_dir: str = setting(
        "~/tensorflow_datasets",
        "Folder of data sets, where new ones are put, too.",
        group="Pictures",
    )
    out: str = setting(
        "",
        "Text file for the chosen images, a path in each line, the first choice first. Required.",
        group="Output",
    )
    sheet: str = setting(
        "", "PNG file for a contact sheet of the first hundred of them.", group="Output"
    )
    json: str = setting(
        "", "File for the summary with the value of each chosen image as JSON.", group="Output"
    )

    @property
    def ladders(self) -> list[list[str]]:
        """The degradations of each ladder, weaker ones first."""
        return [ladder.split(",") for ladder in self.ladder or LADDERS]

    def check(self) -> None:
        """Rejects what cannot work before TensorFlow is loaded.

        Raises:
            InputError: If a setting is missing, has no effect, or cannot be used.
        """
        if not self.out:
            raise InputError("--out is required: a text file for the chosen images.")
        for name, ways in _ONLY_OF.items():
            if name in self.given and getattr(self, name) and self.by not in ways:
                raise InputError(f"--{name} has no effect on --by={self.by}; leave it out.")
        if self.vectors:
            self._check_vectors()
        else:
            self._check_images()
        if self.labelled and not Path(self.labelled).is_file():
            raise InputError(f"--labelled={self.labelled}: there is no such file.")
        for name in ("out", "sheet", "json"):
            if (file := getattr(self, name)) and Path(file).is_dir():
                raise InputError(f"--{name}={file} is a folder; give a file.")
        if self.sheet and Path(self.sheet).suffix.lower() not in (".png", ".jpg", ".jpeg"):
            raise InputError(f"--sheet={self.sheet} must end in .png or .jpg.")
        for ladder in self.ladders if self.by == "ranking_consistency" else ():
            if len(set(ladder)) < len(ladder):
                raise InputError(f"--ladder={','.join(ladder)} has a degradation twice.")
            with renamed_arguments(degrade="ladder"):
                parse_degradations(",".join(ladder))

    def _check_vectors(self) -> None:
        if not (Path(self.vectors) / "manifest.json").is_file():
            raise InputError(
                f"--vectors={self.vectors} holds no vectors; make them with `python -m "
                "keras_distill.embed --out`."
            )
        for name in ("model", "images", "mirror", "image_size"):
            if getattr(self, name):
                raise InputError(f"--{name} has no effect with --vectors; leave one of them out.")

    def _check_images(self) -> None:
        or_vectors = ", or --vectors" if self.by in _ONLY_OF["vectors"] else ""
        if not self.images:
            raise InputError(f"--images is required{or_vectors}.")
        if not Path(self.images).expanduser().is_dir() and not glob.has_magic(self.images):
            check_name("images", self.images, self.images)
        if self.by == "random":
            return
        if not self.model:
            raise InputError(f"--by={self.by} needs --model{or_vectors}.")
        if not Path(self.model).exists():
            raise InputError(f"--model={self.model} does not exist.")
