"""Settings of the command `report`."""

from dataclasses import dataclass
from pathlib import Path

from keras_distill.errors import InputError
from keras_distill.settings.data import DataSettings
from keras_distill.settings.evaluation import EvaluationSettings, check_split, parse_ks
from keras_distill.settings.settings import Settings, setting
from keras_distill.teachers.preprocessing import PREPROCESSINGS


@dataclass(frozen=True, kw_only=True)
class ChainSettings(Settings, group="Stages"):
    """The run, and the stages before and after its student."""

    run: str = setting("", "Run directory of the student. Required.", group="Run")
    teacher: str = setting(
        "",
        "A .keras file, a run directory, a SavedModel, or the folder of its versions, a .tflite or "
        ".onnx file, or a table of vectors; by default the run's own. --teacher= leaves it out.",
    )
    teacher_output: str = setting("", "Its layer or output, as --teacher_output of train.")
    teacher_signature: str = setting("", "Its signature, of a SavedModel.")
    teacher_image_size: int | None = setting(None, "Pixels a side, if it takes any size.", least=1)
    teacher_preprocessing: str = setting(
        "0_255",
        f"Its preprocessing of pixels: {', '.join(PREPROCESSINGS)}. Models made here take 0_255.",
        choices=PREPROCESSINGS,
    )
    image_size: int | None = setting(
        None, "Pixels a side, for a student or format that takes any size.", least=1
    )
    mirror: bool = setting(
        False,
        "Add a stage after the student: its vectors averaged over each image and its mirror image, "
        "at twice the time. Later stages are compared with it.",
    )
    export: str = setting(
        "", "The exported SavedModel, or the folder of its versions, of which the latest is taken."
    )
    format: tuple[str, ...] = setting(
        (),
        "The same student in another format, such as a .tflite or .onnx file, to compare with it; "
        "may be given several times.",
    )
    backend: str = setting(
        "auto",
        "Search backend of the index at the end, which holds the vectors of the export or else of "
        "the student. auto is scann, or faiss where ScaNN is not installed; none ends the chain "
        "with the last model.",
        choices=["auto", "scann", "faiss", "exact", "none"],
    )
    scann: str = setting(
        "",
        "Settings of ScaNN, as LEAVES:SEARCHED:REORDERED, such as 300:30:200; by default chosen "
        "from the number of images.",
    )

    def check(self) -> None:
        """Rejects what cannot work.

        Raises:
            InputError: If a model does not exist, or the index cannot be built.
        """
        from keras_distill.retrieval.backends import check_backend  # loads NumPy

        for name in ("teacher", "export"):
            if (path := getattr(self, name)) and not Path(path).exists():
                raise InputError(f"--{name}={path} does not exist.")
        for path in self.format:
            if not Path(path).exists():
                raise InputError(f"--format={path} does not exist.")
        for name in ("output", "signature", "image_size", "preprocessing"):
            if f"teacher_{name}" in self.given and not self.teacher:
                raise InputError(
                    f"--teacher_{name} needs a teacher; the run has none, give --teacher."
                )
        if self.backend not in ("auto", "none"):
            check_backend(self.backend)
        if self.scann:
            if self.backend not in ("auto", "scann"):
                raise InputError(f"--scann={self.scann} has no effect on --backend={self.backend}.")
            parse_scann(self.scann)


@dataclass(frozen=True, kw_only=True)
class ReportSettings(ChainSettings, DataSettings, EvaluationSettings, group="Output"):
    """Settings of the command `report`."""

    out: str = setting("", "Folder for report.html and report.json; RUN/report if empty.")
    pictures: int = setting(
        1500,
        "Maximum number of images that the page holds as thumbnails, of about 5 kB each; the worst "
        "queries come first.",
        least=0,
    )
    queries: int = setting(
        2000,
        "Maximum number of queries to list that got worse, and that got better, at each stage.",
        least=1,
    )

    def check(self) -> None:
        """Rejects what cannot work before anything slow is loaded.

        Raises:
            InputError: If a flag cannot be used.
        """
        DataSettings.check(self)
        parse_ks(self.ks)
        check_split(self.split, self.validation_classes)
        ChainSettings.check(self)


def parse_scann(value: str) -> tuple[int, int, int]:
    """Reads `--scann`.

    Args:
        value: `LEAVES:SEARCHED:REORDERED`.

    Returns:
        The three numbers.

    Raises:
        InputError: If it is anything else.
    """
    parts = value.split(":")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) for part in parts):
        raise InputError(
            f"--scann={value} is not LEAVES:SEARCHED:REORDERED, three positive integers, such as "
            "300:30:200."
        )
    leaves, searched, reordered = map(int, parts)
    if searched > leaves:
        raise InputError(f"--scann={value} searches {searched} leaves of {leaves}; give fewer.")
    return leaves, searched, reordered
