"""Outputs of the teachers for a batch."""

from collections.abc import Mapping, Sequence
from typing import Any

from keras_distill.errors import InputError
from keras_distill.losses.feature_loss import FeatureLoss
from keras_distill.methods.batch_checks import check_teacher_image
from keras_distill.methods.teacher_terms import SINGLE, TeacherTerm, by_teacher
from keras_distill.teachers.teacher import Teacher


def with_teacher_outputs(
    x: dict[str, Any],
    teacher: Teacher | Mapping[str, Teacher] | None,
    terms: Sequence[TeacherTerm],
) -> dict[str, Any]:
    """Evaluates the teachers where the batch lacks outputs that the losses need.

    Args:
        x: The batch: `image`, maybe `id`, `teacher_image`, `teacher_embedding` and
            `teacher_features`; the last three by the names of the teachers if they have any.
        teacher: The teacher, or several by name.
        terms: The losses.

    Returns:
        The batch with `teacher_embedding` and, for hint and attention layers, `teacher_features`,
        both by the name of the teacher, which is `""` for a single one.

    Raises:
        InputError: If an output is needed and there is no teacher.
    """
    if not terms:
        return x
    teachers = by_teacher(teacher)
    embeddings, maps = by_teacher(x.get("teacher_embedding")), _given_maps(x, terms)
    missing = _missing(terms, embeddings, maps)
    if not teachers and (absent := sorted(key for _, key in missing if key not in x)):
        raise InputError(
            f"Distiller has the teacher losses {[term.name for term in terms]} but no teacher, "
            f"and the batches hold no {absent[0]!r}. Give `teacher`, or set distiller.teacher (it "
            "is not kept by save())."
        )
    for name, key in missing:
        if (one := teachers.get(name)) is None:
            continue  # the losses name what is missing
        images = _images(x, one, name, teachers)
        if key == "teacher_features":
            embedding, maps[name] = one.features(images)
            embeddings.setdefault(name, embedding)
        elif name not in embeddings:
            embeddings[name] = one(images, x.get("id"))
    return {**x, "teacher_embedding": embeddings, "teacher_features": maps}


def _given_maps(x: dict[str, Any], terms: Sequence[TeacherTerm]) -> dict[str, Any]:
    """The feature maps that the batch holds, by teacher."""
    maps = x.get("teacher_features")
    if maps is None:
        return {}
    # The maps of one teacher are a dict too, by layer.
    single = all(term.teacher == SINGLE for term in terms)
    return {SINGLE: maps} if single and SINGLE not in maps else dict(maps)


def _missing(
    terms: Sequence[TeacherTerm], embeddings: Mapping[str, Any], maps: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """The missing outputs of each teacher: maps first, which come with its embeddings."""
    needed = {
        (term.teacher, "teacher_features" if of_maps else "teacher_embedding"): None
        for of_maps in (True, False)
        for term in terms
        if isinstance(term.loss, FeatureLoss) == of_maps
    }
    given = {"teacher_features": maps, "teacher_embedding": embeddings}
    return [(name, key) for name, key in needed if name not in given[key]]


def _images(x: dict[str, Any], teacher: Teacher, name: str, teachers: Mapping[str, Any]) -> Any:
    images = x.get("teacher_image", x["image"])
    if isinstance(images, Mapping):
        if unknown := set(images) - set(teachers):
            raise InputError(f"teacher_image names {sorted(unknown)}; there are {[*teachers]}.")
        images = images.get(name, x["image"])
    check_teacher_image(images, teacher, name)
    return images
