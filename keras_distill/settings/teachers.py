"""The flags that name teachers, what is learnt from them, and their cache."""

from pathlib import Path
from typing import Any

from keras_distill.errors import InputError
from keras_distill.settings.command import Command
from keras_distill.teachers.preprocessing import PREPROCESSINGS

# Where each loss is, below keras_distill.losses.
TEACHER_LOSSES = {
    "absolute": "absolute_teacher.AbsoluteTeacher",
    "relative": "relative_teacher.RelativeTeacher",
    "cosine": "cosine_teacher.CosineTeacher",
    "kde": "kde_teacher.KdeTeacher",
    "rkd_distance": "rkd_distance.RkdDistance",
    "rkd_angle": "rkd_angle.RkdAngle",
    "similarity": "similarity_preserving.SimilarityPreserving",
    "pkt": "probabilistic_transfer.ProbabilisticTransfer",
    "attention": "attention_maps.AttentionMaps",
    "hint": "hint.Hint",
}
# Those that compare inner layers.
FEATURE_LOSSES = {"attention", "hint"}
# Those that compare places in one space, so that widths must be equal.
SAME_SPACE_LOSSES = {"absolute", "cosine", "kde"}
PROJECTIONS = ("none", "pca", "student")
# What says nothing without a teacher.
_OF_TEACHERS = (
    "teacher_losses",
    "teacher_output",
    "teacher_signature",
    "teacher_image_size",
    "teacher_preprocessing",
    "teacher_projection",
    "attention_layers",
    "hint_layers",
    "attention",
    "hint",
    "cache_features",
)


def define_teacher_flags(command: Command) -> None:
    """Adds the flags that name teachers, what is learnt from them, and their cache."""
    group = "Teacher"
    command.string(
        group,
        "teacher",
        "",
        "A .keras file, a run directory, a SavedModel folder, a .tflite or .onnx file, or a "
        "table of vectors (.npz, .npy); empty to learn from labels alone. Several with a name "
        "each: a=PATH,b=PATH; the flags below then take a value for all, or a:VALUE,b:VALUE.",
    )
    command.string(
        group,
        "teacher_losses",
        "relative",
        "Losses against the teacher with their weights, such as absolute:1,relative:0.3: some of "
        f"{', '.join(TEACHER_LOSSES)}. A weight left out is the published one. For one of several "
        "teachers: a.relative:0.3. The default holds where no loss is named, here or by --hint or "
        "--attention.",
    )
    for loss in ("attention", "hint"):
        command.boolean(
            group,
            loss,
            False,
            f"Short for {loss} in --teacher_losses, with the published weight; alone, it takes the "
            "place of the default.",
        )
    command.string(
        group,
        "attention_layers",
        "",
        "For the loss attention: pairs TEACHER:STUDENT of layers, by name; by default the ends of "
        "the stages of equal stride but the finest. A wrong name lists the layers.",
    )
    command.string(
        group,
        "hint_layers",
        "",
        "For the loss hint: the same; by default the stage in the middle.",
    )
    command.string(
        group,
        "teacher_output",
        "",
        "Layer of a Keras teacher (pooled if it is a map), or output of a SavedModel, .tflite or "
        ".onnx file; a wrong name lists them.",
    )
    command.string(
        group,
        "teacher_signature",
        "",
        "Signature of a SavedModel teacher; a wrong name lists them.",
    )
    command.string(
        group, "teacher_image_size", "", "Pixels a side, for a teacher that takes any size."
    )
    command.string(
        group,
        "teacher_preprocessing",
        "0_255",
        f"What the teacher expects of pixels: {', '.join(PREPROCESSINGS)}. Embedders made here "
        "take 0_255.",
    )
    command.string(
        group,
        "teacher_projection",
        "none",
        "For the absolute teacher where widths differ: pca (the teacher's main directions on the "
        "training classes, kept with the run), student (a linear map learnt on the student's side) "
        "or none.",
    )
    group = "Cache"
    command.string(
        group,
        "teacher_cache",
        "views:8",
        "views:K keeps the teacher's answers to K random views of each image, and epoch e shows "
        "view e mod K; clean keeps its answer to the centre alone, cheaper but not what the "
        "student sees; off asks the teacher at each step.",
    )
    command.boolean(
        group,
        "cache_features",
        False,
        "Keep the teacher's feature maps for hint and attention too, instead of asking it at each "
        "step; the size is told before anything is computed.",
    )
    command.string(
        group,
        "image_cache",
        "off",
        "views:K keeps the decoded pixels of K random views of each image too, so that training "
        "decodes nothing; on the disk a view takes 3 bytes a pixel, 49 kB at 128 pixels.",
    )
    command.number(group, "cache_max_gb", 20.0, "Most that one cache may take, in GB.")


def parse_teachers(value: str) -> dict[str, str]:
    """Reads `--teacher`.

    Args:
        value: `PATH`, or `NAME=PATH,NAME=PATH`.

    Returns:
        The paths by name; a single one without a name is called `""`.

    Raises:
        InputError: If a name is missing, unusable or there twice, or a path does not exist.
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
        InputError: If a teacher is unknown or there twice.
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


def check_teacher_flags(flags: Any) -> None:
    """Rejects what cannot work before anything slow is loaded.

    Args:
        flags: The parsed flags.

    Raises:
        InputError: If one of the teacher's flags is of no use.
    """
    names = list(parse_teachers(flags.teacher))
    modes = [parse_cache(flag, flags[flag].value) for flag in ("teacher_cache", "image_cache")]
    if names and len(set(modes)) > 1 and all(isinstance(mode, int) for mode in modes):
        raise InputError(
            f"--teacher_cache={flags.teacher_cache} and --image_cache={flags.image_cache} must "
            "name the same views, or the teacher would not be asked about what is shown."
        )
    for flag in ("hint_layers", "attention_layers"):
        parse_layer_pairs(flag, flags[flag].value)
    for flag, allowed in (
        ("teacher_preprocessing", PREPROCESSINGS),
        ("teacher_projection", PROJECTIONS),
    ):
        for value in per_teacher(flag, flags[flag].value, names).values():
            if value not in ("", *allowed):
                raise InputError(f"--{flag}={value} is unknown; give one of {', '.join(allowed)}.")
    for value in per_teacher("teacher_image_size", flags.teacher_image_size, names).values():
        if value and not (value.isdecimal() and int(value) > 0):
            raise InputError(
                f"--teacher_image_size={value} is not a number of pixels, such as 224."
            )
    if not names:
        _check_no_teacher(flags)


def _check_no_teacher(flags: Any) -> None:
    """Refuses what would be ignored without a teacher, unless --teacher= leaves one out by name."""
    for name in _OF_TEACHERS:
        flag = flags[name]
        if flag.present and flag.value and not flags["teacher"].present:
            given = f"--{name}" if flag.boolean else f"--{name}={flag.value}"
            raise InputError(
                f"{given} needs a --teacher to learn from; give one, or leave it out. --teacher= "
                "says that there shall be none."
            )
