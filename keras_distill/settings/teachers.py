"""Settings of the teachers, of the losses against them, and of their cache."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_distill.errors import InputError, renamed_arguments
from keras_distill.losses.registry import ANCHOR_LOSSES, TEACHER_LOSSES
from keras_distill.settings.settings import Settings, setting
from keras_distill.teachers.preprocessing import PREPROCESSINGS
from keras_distill.teachers.runtimes import check_runtime

#: Projections that are fitted to the teacher's embeddings, and saved with the teacher.
TEACHER_SIDE_PROJECTIONS = ("pca", "whitened")
PROJECTIONS = ("none", *TEACHER_SIDE_PROJECTIONS, "student")
# Settings that have no effect without a teacher.
_OF_TEACHERS = (
    "teacher_losses",
    "teacher_head",
    "teacher_output",
    "teacher_signature",
    "teacher_image_size",
    "teacher_preprocessing",
    "teacher_projection",
    "attention_layers",
    "hint_layers",
    "anchors",
    "attention",
    "hint",
    "cache_features",
    "teacher_runtime",
)


@dataclass(frozen=True, kw_only=True)
class CacheSettings(Settings, group="Cache"):
    """Size of the caches."""

    cache_max_gb: float = setting(20.0, "Most that one cache may take, in GB.", free=True)


@dataclass(frozen=True, kw_only=True)
class TeacherSettings(CacheSettings, group="Teacher"):
    """Teacher."""

    teacher: str = setting(
        "",
        "A .keras file, a run directory, a SavedModel folder, a .tflite or .onnx file, or a "
        "table of vectors (.npz, .npy); empty to learn from labels alone. Several with a name "
        "each: a=PATH,b=PATH; the flags below then take a value for all, or a:VALUE,b:VALUE.",
    )
    teacher_losses: str = setting(
        "relative",
        "Losses against the teacher with their weights, such as absolute:1,relative:0.3: some of "
        f"{', '.join(TEACHER_LOSSES)}. A weight left out is the published one. For one of several "
        "teachers: a.relative:0.3. The default is used if no loss is named, here or by --hint or "
        "--attention.",
    )
    attention: bool = setting(
        False,
        "Short for attention in --teacher_losses, with the published weight; alone, it replaces "
        "the default.",
    )
    hint: bool = setting(
        False,
        "Short for hint in --teacher_losses, with the published weight; alone, it replaces the "
        "default.",
    )
    attention_layers: str = setting(
        "",
        "For the loss attention: pairs TEACHER:STUDENT of layers, by name; by default the ends of "
        "the stages of equal stride but the finest. A wrong name lists the layers.",
    )
    hint_layers: str = setting(
        "", "For the loss hint: the same; by default the stage in the middle."
    )
    anchors: str = setting(
        "all",
        f"For the loss {' and '.join(sorted(ANCHOR_LOSSES))}: all (the teacher's embeddings of all "
        "training images, one for each: the mean of its cached views, or the centre) or queue:N "
        "(those of the last N images that were trained on), for more images than a matrix of "
        "batch x images should have.",
    )
    teacher_head: str = setting(
        "auto",
        "For the loss teacher_head: vectors of classes, of which the teacher's head consists: auto "
        "(the class_head.npz that a run with class vectors keeps next to its student), a "
        "class_head.npz or a run directory with one, or means (of the teacher's embeddings of each "
        "training class).",
    )
    teacher_output: str = setting(
        "",
        "Layer of a Keras teacher (pooled if it is a map), or output of a SavedModel, .tflite or "
        ".onnx file; a wrong name lists them.",
    )
    teacher_signature: str = setting(
        "", "Signature of a SavedModel teacher; a wrong name lists them."
    )
    teacher_image_size: str = setting("", "Pixels a side, for a teacher that takes any size.")
    teacher_preprocessing: str = setting(
        "0_255",
        f"Scaling of pixels for the teacher: {', '.join(PREPROCESSINGS)}. Embedders made here take "
        "0_255.",
    )
    teacher_projection: str = setting(
        "none",
        "For the absolute teacher if widths differ: pca (the teacher's main directions on the "
        "training classes, kept with the run), whitened (the same, each divided by its standard "
        "deviation, so that all count alike; also for equal widths), student (a linear map learned "
        "on the student's side) or none.",
    )
    teacher_cache: str = setting(
        "views:8",
        "views:K keeps the teacher's outputs for K random views of each image, and epoch e shows "
        "view e mod K; clean keeps its output for the centre alone, cheaper but not what the "
        "student sees; off evaluates the teacher at each step.",
        group="Cache",
    )
    cache_features: bool = setting(
        False,
        "Keep the teacher's feature maps for hint and attention too, instead of evaluating it at "
        "each step; the size is printed before anything is computed.",
        group="Cache",
    )
    teacher_runtime: str = setting(
        "auto",
        "What fills the cache of a Keras teacher: onnx converts it for ONNX Runtime, which is "
        "faster than Keras on a CPU; keras is Keras itself; auto takes onnx for a large cache if "
        "keras_distill[onnx] is installed, checks its first batch against Keras, and keeps to what "
        "has filled most of the cache before.",
        group="Cache",
    )
    image_cache: str = setting(
        "off",
        "views:K keeps the decoded pixels of K random views of each image too, so that training "
        "decodes nothing; on the disk a view takes 3 bytes a pixel, 49 kB at 128 pixels.",
        group="Cache",
    )

    def check(self) -> None:
        """Rejects what cannot work before anything slow is loaded.

        Raises:
            InputError: If one of the teacher's flags cannot be used.
        """
        names = list(parse_teachers(self.teacher))
        modes = [
            parse_cache(flag, getattr(self, flag)) for flag in ("teacher_cache", "image_cache")
        ]
        if names and len(set(modes)) > 1 and all(isinstance(mode, int) for mode in modes):
            raise InputError(
                f"--teacher_cache={self.teacher_cache} and --image_cache={self.image_cache} must "
                "name the same views, or the teacher would be evaluated on other views than the "
                "student."
            )
        for flag in ("hint_layers", "attention_layers"):
            parse_layer_pairs(flag, getattr(self, flag))
        parse_anchors(self.anchors)
        if self.teacher_head not in ("auto", "means") and not Path(self.teacher_head).exists():
            raise InputError(
                f"--teacher_head={self.teacher_head} does not exist; give a class_head.npz, a run "
                "directory with one, auto or means."
            )
        for flag, allowed in (
            ("teacher_preprocessing", PREPROCESSINGS),
            ("teacher_projection", PROJECTIONS),
        ):
            for value in per_teacher(flag, getattr(self, flag), names).values():
                if value not in ("", *allowed):
                    raise InputError(
                        f"--{flag}={value} is unknown; give one of {', '.join(allowed)}."
                    )
        for value in per_teacher("teacher_image_size", self.teacher_image_size, names).values():
            if value and not (value.isdecimal() and int(value) > 0):
                raise InputError(
                    f"--teacher_image_size={value} is not a number of pixels, such as 224."
                )
        for value in per_teacher("teacher_runtime", self.teacher_runtime, names).values():
            if value:
                with renamed_arguments(runtime="teacher_runtime"):
                    check_runtime(value)
        if self.teacher_cache == "off" and self.teacher_runtime != "auto":
            raise InputError(
                f"--teacher_runtime={self.teacher_runtime} has no effect with --teacher_cache=off, "
                "which evaluates the teacher at each step; leave it out, or keep a cache."
            )
        if not names:
            _check_no_teacher(self)


def parse_teachers(value: str) -> dict[str, str]:
    """Reads `--teacher`.

    Args:
        value: `PATH`, or `NAME=PATH,NAME=PATH`.

    Returns:
        The paths by name; a single one without a name is called `""`.

    Raises:
        InputError: If a name is missing, invalid or used twice, or a path does not exist.
    """
    if not value:
        return {}
    teachers: dict[str, str] = {}
    if "=" not in value or Path(value).exists():
        teachers[""] = value
    else:
        for part in value.split(","):
            name, _, path = part.partition("=")
            if not name.isidentifier() or not path or name in teachers:
                raise InputError(
                    f"--teacher={value}: {part!r} is not NAME=PATH with a name of its own; several "
                    "teachers are given as a=PATH,b=PATH."
                )
            teachers[name] = path
    for path in teachers.values():
        if not Path(path).exists():
            raise InputError(f"--teacher={path} does not exist.")
    return teachers


def per_teacher(flag: str, value: str, names: list[str]) -> dict[str, str]:
    """Reads a flag that holds a value for all teachers, or one for each.

    Args:
        flag: Name of the flag.
        value: `VALUE`, or `NAME:VALUE,NAME:VALUE`.
        names: Names of the teachers.

    Returns:
        The value by teacher; `""` for those left out.

    Raises:
        InputError: If a teacher is unknown or named twice.
    """
    if names == [""] or ":" not in value:
        return dict.fromkeys(names, value)
    values: dict[str, str] = {}
    for part in value.split(","):
        name, _, own = part.partition(":")
        if name not in names or name in values:
            raise InputError(
                f"--{flag}={value}: {name!r} is {'there twice' if name in values else 'unknown'}; "
                f"the teachers are {', '.join(names)}."
            )
        values[name] = own
    return dict.fromkeys(names, "") | values


def parse_layer_pairs(flag: str, value: str) -> list[tuple[str, str]]:
    """Reads `--hint_layers` or `--attention_layers`.

    Args:
        flag: Name of the flag.
        value: `TEACHER:STUDENT,TEACHER:STUDENT`, or empty.

    Returns:
        The pairs.

    Raises:
        InputError: If it is anything else.
    """
    pairs = [tuple(part.split(":")) for part in value.split(",")] if value else []
    for pair in pairs:
        if len(pair) != 2 or not all(pair):
            raise InputError(
                f"--{flag}={value}: {':'.join(pair)!r} is not TEACHER:STUDENT, two names of layers."
            )
    return [(pair[0], pair[1]) for pair in pairs]


def parse_anchors(value: str) -> int | None:
    """Reads `--anchors`.

    Args:
        value: `all` or `queue:N`.

    Returns:
        N; `None` for all.

    Raises:
        InputError: If it is anything else.
    """
    if value == "all":
        return None
    kind, _, rows = value.partition(":")
    if kind != "queue" or not rows.isdecimal() or int(rows) < 1:
        raise InputError(f"--anchors={value} is neither all nor queue:N with N of 1 or more.")
    return int(rows)


def parse_widths(flag: str, value: str) -> list[int]:
    """Reads a flag that holds widths.

    Args:
        flag: Name of the flag.
        value: Such as `512,1024`, or empty.

    Returns:
        The widths.

    Raises:
        InputError: If one is not a positive integer.
    """
    widths = value.split(",") if value else []
    for width in widths:
        if not (width.isdecimal() and int(width) > 0):
            raise InputError(
                f"--{flag}={value}: {width!r} is not a width; give some, such as "
                "512,1024,1536,2048."
            )
    return [int(width) for width in widths]


def check_one_teacher(settings: Any, *of_teacher: str) -> None:
    """Rejects a teacher that cannot be used, and flags that have no effect without one.

    Args:
        settings: Settings with `teacher`, one path, and `teacher_cache`, of random views or none.
        *of_teacher: Names of the settings that describe the teacher.

    Raises:
        InputError: If the teacher does not exist, or is described but not given.
    """
    if parse_cache("teacher_cache", settings.teacher_cache) == "clean":
        raise InputError("--teacher_cache=clean: give views:K or off.")
    if settings.teacher and not Path(settings.teacher).exists():
        raise InputError(f"--teacher={settings.teacher} does not exist.")
    for name in of_teacher:
        if not settings.teacher and getattr(settings, name) != getattr(type(settings), name):
            raise InputError(f"--{name}={getattr(settings, name)} needs --teacher.")


def parse_cache(flag: str, value: str) -> int | str:
    """Reads `--teacher_cache` or `--image_cache`.

    Args:
        flag: Name of the flag.
        value: `views:K`, `clean` (for the teacher) or `off`.

    Returns:
        K, `"clean"` or `"off"`.

    Raises:
        InputError: If it is anything else.
    """
    words = ("clean", "off") if flag == "teacher_cache" else ("off",)
    if value in words:
        return value
    kind, _, views = value.partition(":")
    if kind != "views" or not views.isdecimal() or int(views) < 1:
        raise InputError(
            f"--{flag}={value} is none of views:K with K of 1 or more, {', '.join(words)}."
        )
    return int(views)


def _check_no_teacher(settings: TeacherSettings) -> None:
    """Rejects settings that would be ignored without a teacher, unless --teacher= was given."""
    if "teacher" in settings.given:
        return
    for name in _OF_TEACHERS:
        value = getattr(settings, name)
        if name in settings.given and value:
            given = f"--{name}" if value is True else f"--{name}={value}"
            raise InputError(
                f"{given} needs a --teacher to learn from; give one, or leave it out. --teacher= "
                "trains without one."
            )
