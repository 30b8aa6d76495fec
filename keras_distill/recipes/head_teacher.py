"""Teacher with a head that the settings name, with its cache."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from rich.console import Console

from keras_distill.data.image_set import ImageSet
from keras_distill.errors import InputError, renamed_arguments
from keras_distill.models.class_head import CLASS_HEAD, ClassHead, load_class_head, split_head
from keras_distill.models.label_names import LOGITS
from keras_distill.models.loading import EMBEDDING, load_model
from keras_distill.models.product import by_name
from keras_distill.recipes.cached_teacher import CachedTeacher, open_teacher_cache
from keras_distill.recipes.class_means import class_means
from keras_distill.recipes.losses import head_loss
from keras_distill.recipes.teacher_embeddings import TeacherEmbeddings
from keras_distill.settings.head_sharing import HeadSharingSettings
from keras_distill.teachers.loading import load_teacher
from keras_distill.teachers.model_fingerprint import fingerprint_of
from keras_distill.teachers.output_teacher import OutputTeacher
from keras_distill.teachers.teacher import Teacher, as_teacher


@dataclasses.dataclass(frozen=True)
class HeadTeacher(CachedTeacher):
    """A frozen model from images to embeddings, and its head.

    Attributes:
        teacher: From raw images to embeddings.
        cache: Its embeddings of views of the training images; `None` if it is evaluated at each
            step.
        fingerprint: What identifies it and its head.
        head: Its head, with the classes of the data set in their order; `None` if it is not needed.
        note: What was assumed about it, for people.
    """

    fingerprint: str | None = None
    head: ClassHead | None = None
    note: str = ""

    @property
    def width(self) -> int | None:
        """Width of its embeddings."""
        return self.teacher.embedding_dim

    @property
    def logits(self) -> Callable[[Any], Any] | None:
        """From embeddings to logits."""
        return None if self.head is None else head_loss(self.head).logits

    def outputs(self) -> OutputTeacher:
        """Returns the teacher as `Supervised` takes it, with its logits if it has a head."""

        def answer(images: Any) -> dict[str, Any]:
            embedding = self.teacher(images)
            logits = {} if self.logits is None else {LOGITS: self.logits(embedding)}
            return {EMBEDDING: embedding, **logits}

        return OutputTeacher(answer, owner=self.teacher)


def open_head_teacher(
    settings: HeadSharingSettings, path: str | Path, images: ImageSet, image_size: int
) -> HeadTeacher:
    """Loads a teacher and its head, and opens its cache.

    Args:
        settings: The settings.
        path: The teacher.
        images: The training images.
        image_size: Height and width of the student's images, in pixels.

    Returns:
        The teacher; without a head if the settings ask for one of means, see `with_means`.

    Raises:
        InputError: If it has no head of these classes, but needs one.
    """
    names = images.class_names
    teacher, head, note = _load(settings, Path(path), names)
    if head is not None:
        with renamed_arguments(head=f"teacher={path}"):
            head = head.of_classes(names)
    size = teacher.image_size or image_size
    if teacher.embedding_dim is None:
        teacher.embedding_dim = int(teacher(tf.zeros([1, size, size, 3])).shape[1])
    fingerprint = teacher.fingerprint
    if head is not None:
        bias = [] if head.bias is None else [head.bias]
        fingerprint = fingerprint_of("head", fingerprint, head.scale, head.kernel, *bias)
    cache = open_teacher_cache(settings, teacher, images, image_size)
    return HeadTeacher(teacher, cache, fingerprint, head, note)


def with_means(
    teacher: HeadTeacher, images: ImageSet, image_size: int, console: Console
) -> HeadTeacher:
    """Gives a teacher a head of cosines, made of the means of its embeddings of each class.

    Args:
        teacher: The teacher, with a filled cache if it has one.
        images: The training images.
        image_size: Height and width of the student's images, in pixels.
        console: Console that shows progress.

    Returns:
        The teacher with the head.

    Raises:
        InputError: If the mean of a class is 0.
    """
    vectors = TeacherEmbeddings(
        teacher.teacher, images, image_size, cache=teacher.cache, name="", console=console
    ).labelled()
    head = class_means(vectors, images.labels, images.class_names)
    return dataclasses.replace(teacher, head=head)


def load_keras_teacher(
    settings: HeadSharingSettings, path: str | Path, classes: int
) -> tuple[keras.Model, ClassHead | None, str]:
    """Loads a Keras teacher, and splits its own head off if it has one.

    Args:
        settings: The settings.
        path: A `.keras` file or a run directory.
        classes: Number of classes.

    Returns:
        The model from images to embeddings, its head or `None`, and what was assumed about it.

    Raises:
        InputError: If it cannot be loaded.
    """
    model = load_model(path)
    outputs = by_name(model.output) or {}
    own = settings.teacher_head == "auto"
    if LOGITS in outputs:
        features, head = split_head(model)
        return features, head if own else None, ""
    try:
        features, head = split_head(model)
    except InputError:
        return model, None, ""
    # A last linear layer may as well make an embedding.
    if head.kernel.shape[1] != classes:
        return model, None, ""
    if not own:
        return (
            model,
            None,
            f"the teacher's {classes} outputs have no names, and are taken for its embedding",
        )
    return (
        features,
        head,
        f"the teacher's {classes} outputs have no names, and are taken for the logits of the "
        "classes in alphabetical order",
    )


def read_class_head(file: Path) -> ClassHead:
    """Reads the head of the setting `teacher_head`.

    Args:
        file: A `class_head.npz`, a run directory with one, or a classifier.

    Returns:
        The head.

    Raises:
        InputError: If there is none.
    """
    if (file / CLASS_HEAD).is_file():
        file = file / CLASS_HEAD
    if file.is_dir() or file.suffix == ".keras":
        with renamed_arguments(path="teacher_head", model=f"teacher_head={file}"):
            return split_head(load_model(file))[1]
    with renamed_arguments(path="teacher_head"):
        return load_class_head(file)


def _load(
    settings: HeadSharingSettings, path: Path, names: tuple[str, ...]
) -> tuple[Teacher, ClassHead | None, str]:
    is_keras = path.suffix == ".keras" or any(
        (path / file).is_file() for file in ("model.keras", "student.keras")
    )
    head, note = None, ""
    if is_keras:
        model, head, note = load_keras_teacher(settings, path, len(names))
        with renamed_arguments(model=f"teacher={path}"):
            teacher = as_teacher(model)
    else:
        with renamed_arguments(path=f"teacher={path}"):
            teacher = load_teacher(path)
    if teacher.needs_ids:
        raise InputError(
            f"`teacher={path}` is a table of vectors, which sees no crops; give a model."
        )
    if not settings.needs_head or settings.teacher_head == "means":
        return teacher, None, note if head is None else ""
    if settings.teacher_head == "auto":
        kept = (path if path.is_dir() else path.parent) / CLASS_HEAD
        if head is None and kept.is_file():
            head = load_class_head(kept)
    else:
        head = read_class_head(Path(settings.teacher_head))
    if head is None:
        raise InputError(
            f"`teacher={path}` has no head of these classes: it is no classifier, and there is no "
            f"{CLASS_HEAD} next to it. Give `teacher_head=means`, the means of its embeddings of "
            "each class, or a run that keeps class vectors."
        )
    if teacher.embedding_dim not in (None, head.width):
        raise InputError(
            f"`teacher_head={settings.teacher_head}` takes embeddings of width {head.width}, but "
            f"`teacher={path}` makes {teacher.embedding_dim}."
        )
    return teacher, head, note
