"""Loading of teachers from disk."""

from pathlib import Path

from keras_distill.data.vector_shards import holds_shards
from keras_distill.errors import InputError, renamed_arguments
from keras_distill.models.exported_facts import exported_facts
from keras_distill.models.loading import load_model
from keras_distill.teachers.inner_layer import end_at_layer
from keras_distill.teachers.litert_teacher import load_litert
from keras_distill.teachers.mirror_averaged_teacher import mirror_averaged_teacher
from keras_distill.teachers.onnx_teacher import load_onnx
from keras_distill.teachers.saved_model_teacher import load_saved_model
from keras_distill.teachers.teacher import Teacher, as_teacher
from keras_distill.teachers.vector_file import load_vectors

_KINDS = (
    "a run directory, a SavedModel folder, or the folder of its versions, a .tflite or .onnx file, "
    "or a table of vectors (.npz, or .npy with an .ids.txt next to it, or a folder of "
    "keras_distill.embed)"
)
_SUFFIXES = (".keras", ".tflite", ".onnx")


def load_teacher(
    path: str | Path,
    *,
    output: str = "",
    signature: str = "",
    image_size: int | None = None,
    preprocessing: str = "0_255",
    mirror: bool = False,
) -> Teacher:
    """Loads a teacher, which is anything that maps images to vectors.

    Args:
        path: A `.keras` file, or a run directory with one; a SavedModel folder, or the folder of
            its versions, of which the latest is taken; a `.tflite` file; an `.onnx` file; or a
            table of vectors, see `load_vectors`.
        output: Of a Keras model, an inner layer to end with, whose output is averaged over places
            and divided by its L2 norm, see `end_at_layer`; of another model, the output to take.
        signature: Of a SavedModel, the signature to take; see `load_saved_model`.
        image_size: Height and width of the images, in pixels, for a model that takes any size.
        preprocessing: Scaling of RGB pixels from 0 to 255, if the model does not do it itself: one
            of `0_255` (nothing), `-1_1`, `0_1`, `imagenet_caffe`, `imagenet_torch`.
        mirror: Whether to average the vectors of each image and its mirror image, see
            `mirror_averaged_teacher`.

    Returns:
        The teacher.

    Raises:
        InputError: If nothing can be loaded there, or it does not map images to vectors, or an
            option does not fit it.

    Example:
        >>> teacher = load_teacher("runs/teacher/student.keras")  # doctest: +SKIP
        >>> teacher(images).shape  # doctest: +SKIP
        TensorShape([8, 512])
    """
    path = latest_version(Path(path))
    teacher = _load(
        path,
        output=output,
        signature=signature,
        image_size=image_size,
        preprocessing=preprocessing,
    )
    if not mirror:
        return teacher
    with renamed_arguments(model=f"path={str(path)!r}"):
        return mirror_averaged_teacher(teacher)


def _load(
    path: Path, *, output: str, signature: str, image_size: int | None, preprocessing: str
) -> Teacher:
    source = f"`path={str(path)!r}`"
    if not path.exists():
        raise InputError(f"{source} does not exist; give a .keras file, {_KINDS}.")
    is_run = (path / "student.keras").is_file()
    is_saved_model = (path / "saved_model.pb").is_file()
    is_table = path.suffix in (".npz", ".npy") or holds_shards(path)
    if not (is_run or is_saved_model or is_table or path.suffix in _SUFFIXES):
        if (path / "embedder.keras").is_file():
            embedder = str(path / "embedder.keras")
            raise InputError(f"{source} is a run of a classifier; its embedder is {embedder!r}.")
        raise InputError(f"{source} is not a .keras file, {_KINDS}.")
    if signature and not is_saved_model:
        raise InputError(f"`signature={signature!r}`: {source} is no SavedModel; leave it out.")
    if is_saved_model:
        teacher = load_saved_model(
            path,
            signature=signature,
            output=output,
            image_size=image_size,
            preprocessing=preprocessing,
        )
        return _with_facts(teacher, path)
    if path.suffix in (".tflite", ".onnx"):
        load = load_litert if path.suffix == ".tflite" else load_onnx
        teacher = load(
            path,
            output=output,
            image_size=image_size,
            preprocessing=preprocessing,
        )
        return _with_facts(teacher, path)
    if is_table:
        if output or image_size is not None or preprocessing != "0_255":
            raise InputError(
                f"{source} is a table of vectors, which reads no pixels; leave `output`, "
                "`image_size` and `preprocessing` out."
            )
        return load_vectors(path)
    model = load_model(path)
    with renamed_arguments(layer="output", model="path"):
        if output:
            model = end_at_layer(model, output)
        return as_teacher(model, image_size=image_size, preprocessing=preprocessing)


def _with_facts(teacher: Teacher, path: Path) -> Teacher:
    teacher.mirror_averaged = exported_facts(path).get("mirror") is True
    return teacher


def latest_version(path: Path) -> Path:
    """Returns the latest version of an exported model.

    Args:
        path: The folder that `export` wrote its versions into, or anything else.

    Returns:
        The SavedModel of the highest number in the folder; `path` itself if there is none.
    """
    versions = [
        file.parent for file in path.glob("*/saved_model.pb") if file.parent.name.isdecimal()
    ]
    return max(versions, key=lambda folder: int(folder.name), default=path)
