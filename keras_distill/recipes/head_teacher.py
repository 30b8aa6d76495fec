"""Teacher with a head that the settings name, with its cache."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from rich.console import Console

from keras_distill.data.image_set import ImageSet
from keras_distill.data.view_changes import ViewChanges
from keras_distill.errors import InputError, renamed_arguments
from keras_distill.models.class_head import CLASS_HEAD, ClassHead, load_class_head, split_head
from keras_distill.models.label_names import LOGITS
from keras_distill.models.loading import EMBEDDING, load_model
from keras_distill.models.product import by_name
from keras_distill.recipes.caches import fill_caches
from keras_distill.recipes.class_means import class_means
from keras_distill.recipes.losses import head_loss
from keras_distill.recipes.teacher_embeddings import TeacherEmbeddings
from keras_distill.settings.head_sharing import HeadSharingSettings
from keras_distill.settings.teachers import parse_cache
from keras_distill.teachers.cache import TeacherCache
from keras_distill.teachers.loading import load_teacher
from keras_distill.teachers.model_fingerprint import fingerprint_of
from keras_distill.teachers.output_teacher import OutputTeacher
from keras_distill.teachers.teacher import Teacher, as_teacher


@dataclasses.dataclass(frozen=True)
class HeadTeacher:
    """A frozen model from images to embeddings, and its head.

    Attributes:
        teacher: From raw images to embeddings.
        fingerprint: What identifies it and its head.
        head: Its head, with the classes of the data set in their order; `None` if it is not needed.
        cache: Its embeddings of views of the training images; `None` if it is evaluated at each
            step.
        note: What was assumed about it, for people.
    """

    teacher: Teacher
    fingerprint: str | None
    head: ClassHead | None = None
    cache: TeacherCache | None = None
    note: str = ""

    @property
    def width(self) -> int | None:
        """Width of its embeddings."""
        return self.teacher.embedding_dim

    @property
    def logits(self) -> Callable[[Any], Any] | None:
        """From embeddings to logits."""
        return None if self.head is None else head_loss(self.head).logits

    @property
    def lookup(self) -> Callable[[tf.Tensor, tf.Tensor], Any] | None:
        """`teacher_embedding` of `image_batches`."""
        return None if self.cache is None else self.cache.lookup

    @property
    def views(self) -> int | None:
        """Different views of an image; `None` for a new one each time."""
        return None if self.cache is None else self.cache.views

    def outputs(self) -> OutputTeacher:
        """Returns the teacher as `Supervised` takes it, with its logits if it has a head."""

        def answer(images: Any) -> dict[str, Any]:
            embedding = self.teacher(images)
            logits = {} if self.logits is None else {LOGITS: self.logits(embedding)}
            return {EMBEDDING: embedding, **logits}

        return OutputTeacher(answer, owner=self.teacher)

    def live_image_size(self, image_size: int, *, degraded: bool) -> int | None:
        """Returns `teacher_image_size` of `image_batches`.

        Args:
            image_size: Height and width of the student's images, in pixels.
            degraded: Whether the student's images are degraded, so that the teacher may not see
                them.
        """
        own = self.teacher.image_size or image_size
        return own if self.cache is None and (degraded or own != image_size) else None


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
    views = parse_cache("teacher_cache", settings.teacher_cache)
    if not isinstance(views, int):
        return HeadTeacher(teacher, fingerprint, head, note=note)
    cache = TeacherCache(
        teacher,
        images,
        Path(settings.cache_dir).expanduser(),
        image_size=size,
        views=views,
        least_area=settings.crop_area,
        seed=settings.seed,
        changes=ViewChanges(settings.augment),
    )
    return HeadTeacher(teacher, fingerprint, head, cache, note)


def fill_head_cache(
    settings: HeadSharingSettings, teacher: HeadTeacher | None, console: Console
) -> None:
    """Computes the missing entries of the teacher's cache.

    Args:
        settings: The settings.
        teacher: The teacher, if there is one.
        console: Console that shows progress.
    """
    if teacher is not None and teacher.cache is not None and settings.epochs:
        # All: an epoch of steps that were rounded up ends with the next view of some images.
        fill_caches({"teacher": teacher.cache}, None, settings, console)


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
