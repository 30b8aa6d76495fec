import numpy as np
import pytest

from keras_distill.errors import InputError
from keras_distill.losses.relative_teacher import RelativeTeacher
from keras_distill.losses.teacher_head import TeacherHead
from keras_distill.models.class_head import CLASS_HEAD, ClassHead
from keras_distill.recipes.class_means import class_means
from keras_distill.recipes.class_vectors import class_vectors, head_fingerprint
from keras_distill.recipes.losses import with_head
from keras_distill.settings.command import Command
from keras_distill.settings.distill import DistillSettings

COMMAND = Command("test", "doc", DistillSettings)


class Images:
    labels = np.array([2, 0, 2, -1])
    class_names = ("a", "b", "c")


def vectors(teacher, head="auto", width=2):
    settings = COMMAND.parse([f"--teacher_head={head}", "--dataset=glyphs"])
    return class_vectors(settings, teacher, width, Images, lambda: np.eye(3, 2) + 0.5)


@pytest.fixture
def run(tmp_path):
    head = ClassHead(np.float32([[1, 2, 3], [4, 5, 6]]), scale=7.0, names=("x", "y", "z"))
    head.save(tmp_path / CLASS_HEAD)
    (tmp_path / "student.keras").touch()
    return tmp_path


def test_the_vectors_next_to_the_student(run, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    for found in (
        vectors(run),
        vectors(run / "student.keras"),
        vectors(other, head=run),
        vectors(other, head=run / CLASS_HEAD),
    ):
        assert (found.scale, found.names) == (7.0, ("x", "y", "z"))
    with pytest.raises(InputError, match=r"there is no .*class_head\.npz.*teacher_head=means"):
        vectors(other)
    with pytest.raises(InputError, match="vectors of width 2, but the teacher's embeddings have 3"):
        vectors(run, width=3)
    ClassHead(np.eye(2, dtype=np.float32)).save(run / CLASS_HEAD)
    with pytest.raises(InputError, match="is a linear head"):
        vectors(run)


def test_means_of_directions(run):
    found = vectors(run, head="means")
    assert found.names == ("a", "c")
    rows = np.eye(3, 2) + 0.5
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    means = np.stack([rows[1], rows[0] + rows[2]])
    expected = means / np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(found.kernel, expected.T, rtol=1e-6)
    with pytest.raises(InputError, match="embeddings of 'b' have the mean 0"):
        class_means(np.array([[1.0, 0], [0, 1], [0, -1]]), np.array([0, 1, 1]), ["a", "b"])


def test_losses_take_the_head(run):
    losses = [RelativeTeacher(), TeacherHead(np.eye(2))]
    first, second = with_head(losses, lambda: vectors(run))
    assert first is losses[0]
    assert (second.scale, second.kernel.shape) == (7.0, (2, 3))
    assert with_head(losses[:1], lambda: pytest.fail("no loss takes a head")) == losses[:1]


def test_the_file_counts_in_the_provenance(run):
    settings = COMMAND.parse(["--dataset=glyphs"])
    first = head_fingerprint(settings, run, ["teacher_head"])
    assert head_fingerprint(settings, run / "student.keras", ["kde", "teacher_head"]) == first
    assert head_fingerprint(settings, run, ["kde"]) is None
    means = settings.replace(teacher_head="means")
    assert head_fingerprint(means, run, ["teacher_head"]) is None
    ClassHead(np.eye(2, dtype=np.float32), scale=1.0).save(run / CLASS_HEAD)
    assert head_fingerprint(settings, run, ["teacher_head"]) != first
