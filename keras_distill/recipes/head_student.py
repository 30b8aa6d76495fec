"""Classifiers that the recipe head_sharing trains."""

from pathlib import Path
from typing import Any

import keras

from keras_distill.errors import InputError, renamed_arguments
from keras_distill.models.class_head import head_layer, split_head
from keras_distill.models.classifier import build_classifier
from keras_distill.models.label_names import LOGITS
from keras_distill.models.loading import load_model
from keras_distill.models.product import by_name
from keras_distill.recipes.head_teacher import load_keras_teacher
from keras_distill.settings.head_sharing import HeadSharingSettings


def build_head_student(settings: HeadSharingSettings, class_names: tuple[str, ...]) -> keras.Model:
    """Builds the student.

    Args:
        settings: The settings.
        class_names: Names of the classes.

    Returns:
        A classifier with a new head.

    Raises:
        InputError: If the settings do not fit each other.
    """
    names = [*class_names]
    options: dict[str, Any] = {"activation": "softmax", "scale": settings.scale}
    if settings.student:
        with renamed_arguments(path=f"student={settings.student}"):
            model = load_model(settings.student)
        if LOGITS in (by_name(model.output) or {}) or _ends_with(model, len(names)):
            model = split_head(model)[0]
        if settings.student_weights == "new":
            model = keras.models.clone_model(model)
        backbone = _widened(model, settings.embedding_dim)
        with renamed_arguments(backbone=f"student={settings.student}"):
            return build_classifier(names, backbone, dropout=settings.dropout, **options)
    own: dict[str, Any] = {
        name: getattr(settings, name)
        for name in ("image_size", "alpha", "backbone_weights", "backbone_layer", "dropout")
    }
    classifier = build_classifier(names, settings.backbone, **own, **options)
    if not settings.embedding_dim:
        return classifier
    # Built again on a linear layer: dropout comes before that one, as in an embedder.
    features = _widened(split_head(classifier)[0], settings.embedding_dim)
    return build_classifier(names, features, **options)


def build_tailored_teacher(
    settings: HeadSharingSettings, student: str | Path, class_names: tuple[str, ...]
) -> keras.Model:
    """Builds the teacher that is trained under a student's frozen head.

    Args:
        settings: The settings, which name the teacher.
        student: The student's file.
        class_names: Names of the classes.

    Returns:
        The teacher's layers with the student's head, frozen. If widths differ, a linear layer
        between them is new.

    Raises:
        InputError: If the teacher is no Keras model.
    """
    path = Path(settings.teacher)
    if path.suffix != ".keras" and not any(path.glob("*.keras")):
        raise InputError(
            f"`teacher={path}`: combination sh_kd trains the teacher again, which needs a .keras "
            "file or a run directory."
        )
    with renamed_arguments(path=f"teacher={path}"):
        model, _, _ = load_keras_teacher(settings, path, len(class_names))
    head = split_head(load_model(student))[1]
    if model.output_shape[-1] != head.width:
        model = _widened(model, head.width)
    classifier = build_classifier(
        [*class_names], model, activation="softmax", scale=head.scale, name="teacher"
    )
    head.put_into(head_layer(classifier))
    return classifier


def _widened(model: keras.Model, width: int) -> keras.Model:
    """A model with a linear layer of a width at its end; the model itself for 0."""
    if not width:
        return model
    x: Any = model.output
    if len(x.shape) == 4:
        x = keras.layers.GlobalAveragePooling2D(name="pooling")(x)
    x = keras.layers.Dense(width, name="embedding_layer")(x)
    return keras.Model(model.inputs[0], x, name=f"{model.name}_{width}")


def _ends_with(model: keras.Model, classes: int) -> bool:
    """Whether a model of one unnamed output ends with a linear layer to as many classes."""
    try:
        return split_head(model)[1].kernel.shape[1] == classes
    except InputError:
        return False
