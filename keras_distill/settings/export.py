"""Settings of the command `export`: for TF-Serving, or as a file for other runtimes."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from keras_distill.errors import InputError
from keras_distill.models.file_formats import FILE_FORMATS, PRECISIONS
from keras_distill.settings.settings import Settings, setting

_OF_FILES = (
    "precision",
    "calibration",
    "calibration_images",
    "least_cosine",
    "least_closeness",
    "seed",
)
_OF_SAVED_MODELS = ("version", "batching", "images", "recall", "data_licence")


@dataclass(frozen=True, kw_only=True)
class SavedModelSettings(Settings):
    """Exported model, and how its SavedModel is made."""

    model: str = setting("", "A .keras file or a run directory. Required.", group="Model")
    mirror: bool = setting(
        False,
        "Average the vectors, or logits, of each image and its mirror image, within the exported "
        "model: often better, in twice the time. An index has to be built with --mirror too.",
        group="Model",
    )
    out: str = setting("", "Folder for all models. Required.", group="Output")
    name: str = setting(
        "embedder", "Name of the model, and of its folder in --out.", group="Output"
    )
    version: int | None = setting(
        None, "Version; the next free one if not given.", group="Output", least=1
    )
    batching: Literal["graph", "none"] = setting(
        "graph",
        "graph: concurrent requests share batches, behind decoding and checks, so that a bad image "
        "fails its own request only. More images a second under load; a lone request takes 2 to 4 "
        "ms longer. none: each request runs by itself.",
        group="Serving",
        choices=["graph", "none"],
    )
    images: str = setting(
        "",
        "Folder of JPEG or PNG images; on eight of them the export is compared with its model. "
        "Small copies of them become the golden requests, which anyone who has the export can see. "
        "If not given, test images of the run are compared but not kept, and the golden requests "
        "show drawn pictures.",
        group="Checks",
    )
    check: str = setting(
        "", "Instead of an export: a folder OUT/NAME/VERSION to check again.", group="Checks"
    )
    recall: tuple[str, ...] = setting(
        (),
        "A result of evaluate --json, of retrieval or of verification; results in the run "
        "directory are found without it.",
        group="Model card",
    )
    data_licence: str = setting(
        "", "Licence of the training data; 'not stated' if not given.", group="Model card"
    )


@dataclass(frozen=True, kw_only=True)
class FileSettings(Settings, group="Format"):
    """How a LiteRT or ONNX file is made."""

    format: str = setting(
        "saved_model",
        "A SavedModel for TF-Serving, a LiteRT file for phones, or an ONNX file.",
        choices=["saved_model", *FILE_FORMATS],
    )
    precision: tuple[str, ...] = setting(
        (),
        f"Precision of a LiteRT file: {', '.join(PRECISIONS)}; given several times, it makes "
        "several files; float32 if not given.",
    )
    calibration: str = setting(
        "",
        "Folder of images that calibrate int8, and that files are checked on; by default the "
        "training classes of the run. Do not use images that the model will be evaluated on.",
    )
    least_cosine: float | None = setting(
        None,
        "Least cosine between a LiteRT or ONNX file and the Keras model, which all but a twentieth "
        "of the images must have, and the worst at most four times as far from 1; otherwise the "
        "file is refused. 0.9999 for float32, 0.999 for float16, 0.9 for 8 bits if not given.",
    )
    least_closeness: float | None = setting(
        None,
        "As --least_cosine, for outputs other than embedding: 1 minus the largest difference of an "
        "image, relative to the largest value. 0.999 for float32, 0.98 for float16, 0.75 for 8 "
        "bits if not given.",
    )
    calibration_images: int = setting(200, "Number of images that calibrate int8.", least=1)
    seed: int = setting(0, "Seed of the choice of these images.", least=0)

    @property
    def precisions(self) -> list[str]:
        """The precisions of the files, each once."""
        return list(dict.fromkeys(self.precision or ["float32"]))

    @property
    def writes_files(self) -> bool:
        """Whether a file is wanted, or a setting is given that only files have."""
        return self.format != "saved_model" or any(name in self.given for name in _OF_FILES)


@dataclass(frozen=True, kw_only=True)
class ExportSettings(SavedModelSettings, FileSettings):
    """Settings of the command `export`; `check` is a flag of it."""

    def check_all(self) -> None:
        """Rejects what cannot work before anything slow is loaded.

        Raises:
            InputError: If a setting is missing, has no effect, or cannot be used.
        """
        if self.check:
            self._check_only()
            return
        self._check_place()
        if self.images and not Path(self.images).is_dir():
            raise InputError(f"--images={self.images} is not a folder.")
        for file in self.recall:
            if not Path(file).is_file():
                raise InputError(f"--recall={file} is not a file; evaluate --json writes one.")
        if self.writes_files:
            self._check_file()

    def _check_only(self) -> None:
        for field in fields(self):
            if field.name in self.given - {"check"}:
                raise InputError(f"--{field.name} has no effect with --check; leave it out.")
        folder = Path(self.check)
        if not (folder / "saved_model.pb").is_file():
            raise InputError(
                f"--check={folder} holds no saved_model.pb; give a version, such as models/birds/1."
            )

    def _check_place(self) -> None:
        for name in ("model", "out"):
            if not getattr(self, name):
                raise InputError(f"--{name} is required.")
        if not Path(self.model).exists():
            raise InputError(f"--model={self.model} does not exist.")
        if Path(self.out).is_file():
            raise InputError(f"--out={self.out} is a file; give a folder.")
        if not self.name or "/" in self.name or self.name.startswith("."):
            raise InputError(f"--name={self.name} cannot be the name of a folder.")
        if ":" in self.name or self.name.isdecimal():
            raise InputError(
                f"--name={self.name} could not be requested: in a REST address ':' ends a name, "
                "and a number is taken for a version."
            )

    def _check_file(self) -> None:
        precisions = self.precisions
        for precision in precisions:
            if precision not in PRECISIONS:
                raise InputError(f"--precision={precision} is not one of {', '.join(PRECISIONS)}.")
        if self.format != "litert" and self.precision:
            raise InputError(
                f"--precision={precisions[0]} has no effect on --format={self.format}; LiteRT "
                "files alone have a precision."
            )
        if self.format == "saved_model":
            given = next(name for name in _OF_FILES if name in self.given)
            raise InputError(f"--{given} has no effect on --format=saved_model.")
        if self.least_cosine is not None and not 0 < self.least_cosine <= 1:
            raise InputError(
                f"--least_cosine={self.least_cosine:g} must be above 0 and at most 1; 0.99 takes a "
                "file that is a little coarser than the default for float16."
            )
        if self.least_closeness is not None and not 0 < self.least_closeness <= 1:
            raise InputError(
                f"--least_closeness={self.least_closeness:g} must be above 0 and at most 1."
            )
        for name in _OF_SAVED_MODELS:
            if name in self.given:
                raise InputError(f"--{name} has no effect on --format={self.format}; leave it out.")
        if self.calibration and not Path(self.calibration).is_dir():
            raise InputError(f"--calibration={self.calibration} is not a folder.")
        is_run = (Path(self.model) / "flags.txt").is_file()
        if "int8" in precisions and not (self.calibration or is_run):
            raise InputError(
                "--precision=int8 needs images to calibrate with: give --calibration=FOLDER, or as "
                "--model a run directory."
            )
