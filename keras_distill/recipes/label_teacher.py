"""Teacher of logits that the settings name, with its cache."""

from typing import Any

import keras
import tensorflow as tf

from keras_distill.data.multilabel_images import MultiLabelImages
from keras_distill.errors import InputError
from keras_distill.models.label_names import LOGITS, find_labels
from keras_distill.models.loading import load_model
from keras_distill.models.product import by_name, product_shape
from keras_distill.recipes.cached_teacher import CachedTeacher, open_teacher_cache
from keras_distill.settings.multilabel import MultiLabelSettings
from keras_distill.teachers.model_fingerprint import model_fingerprint
from keras_distill.teachers.teacher import Teacher


def open_label_teacher(
    settings: MultiLabelSettings, images: MultiLabelImages, image_size: int
) -> CachedTeacher | None:
    """Loads the teacher, and opens its cache.

    Args:
        settings: The settings.
        images: The training images.
        image_size: Height and width of the student's images, in pixels.

    Returns:
        The teacher; `None` if the settings name none.

    Raises:
        InputError: If it has no logits, or lacks a label that is trained on.
    """
    if not settings.teacher:
        return None
    model = load_model(settings.teacher)
    columns = _columns(settings, model, images.class_names)

    def logits(pixels: Any) -> Any:
        outputs = by_name(model(pixels, training=False)) or {}
        return tf.gather(outputs[LOGITS], columns, axis=1)

    teacher = Teacher(
        logits,
        embedding_dim=len(columns),
        image_size=product_shape(model).image_size,
        fingerprint=lambda: f"{model_fingerprint(model)} {columns}",
        versions={"keras": keras.__version__},
    )
    cache = open_teacher_cache(settings, teacher, images.unlabelled, image_size)
    return CachedTeacher(teacher, cache)


def _columns(
    settings: MultiLabelSettings, model: keras.Model, class_names: tuple[str, ...]
) -> list[int]:
    """The place of each label among the teacher's logits."""
    source = f"`teacher={settings.teacher}`"
    labels = find_labels(model)
    if labels is None:
        raise InputError(
            f"{source} has no logits with names of labels; give a model that this recipe trained, "
            "or one of build_classifier."
        )
    missing = [name for name in class_names if name not in labels.names]
    if missing:
        raise InputError(
            f"{source} lacks {len(missing)} of {len(class_names)} labels, such as {missing[0]!r}; "
            "give a teacher that knows them, or name those that it knows by `classes`."
        )
    return [labels.names.index(name) for name in class_names]
