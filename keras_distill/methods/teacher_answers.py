"""What the teachers answer to a batch."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from keras_distill.errors import InputError
from keras_distill.losses.feature_loss import FeatureLoss
from keras_distill.methods.batch_checks import check_teacher_image
from keras_distill.methods.teacher_terms import TeacherTerm
from keras_distill.teachers.teacher import Teacher


def with_answers(
    x: dict[str, Any],
    teacher: Teacher | Mapping[str, Teacher] | None,
    terms: Sequence[TeacherTerm],
) -> dict[str, Any]:
    """Asks the teachers for what the losses need and the batch does not hold.

    Args:
        x: The batch: `image`, maybe `id`, `teacher_image`, `teacher_embedding` and
            `teacher_features`; the last three by the names of the teachers if they have any.
        teacher: The teacher, or several by name.
        terms: The losses.

    Returns:
        The batch with `teacher_embedding` and, for hint and attention layers, `teacher_features`.

    Raises:
        InputError: If an answer is needed and there is no teacher to give it.
    """
    if not terms:
        return x
    features = {term.teacher for term in terms if isinstance(term.loss, FeatureLoss)}
    embeddings = {term.teacher for term in terms if not isinstance(term.loss, FeatureLoss)}
    if isinstance(teacher, Mapping):
        given = x.get("teacher_embedding", {})
        if not isinstance(given, Mapping):
            return x  # a single answer, which the losses refuse
        answers = dict(given)
        maps = dict(x.get("teacher_features", {}))
        for name, one in teacher.items():
            if name in features and name not in maps:
                embedding, maps[name] = one.features(_images(x, one, name, teacher))
                answers.setdefault(name, embedding)
            elif name in embeddings and name not in answers:
                answers[name] = one(_images(x, one, name, teacher), x.get("id"))
        return {**x, "teacher_embedding": answers, "teacher_features": maps}
    missing = [
        key
        for key, needed in (("teacher_embedding", embeddings), ("teacher_features", features))
        if needed and key not in x
    ]
    if not missing:
        return x
    if teacher is None:
        raise InputError(
            f"Distiller has the teacher losses {[term.name for term in terms]} but no teacher, "
            f"and the batches hold no {missing[0]!r}. Give teacher=..., or set distiller.teacher "
            "(it is not kept by save())."
        )
    images = _images(x, teacher, None, ())
    if "teacher_features" in missing:
        embedding, maps = teacher.features(images)
        return {"teacher_embedding": embedding, **x, "teacher_features": maps}
    return {**x, "teacher_embedding": teacher(images, x.get("id"))}


def _images(x: dict[str, Any], teacher: Teacher, name: str | None, names: Collection[Any]) -> Any:
    images = x.get("teacher_image", x["image"])
    if isinstance(images, Mapping):
        if names and (unknown := set(images) - set(names)):
            raise InputError(f"teacher_image names {sorted(unknown)}; there are {[*names]}.")
        images = images.get(name, x["image"])
    check_teacher_image(images, teacher, name)
    return images
