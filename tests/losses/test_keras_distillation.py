import keras
import numpy as np
import pytest

from keras_distill.errors import InputError
from keras_distill.losses.keras_distillation import KerasTeacherLoss, as_teacher_loss
from keras_distill.losses.relative_teacher import RelativeTeacher
from keras_distill.methods.distiller import Distiller
from keras_distill.models.projection import build_projection

FeatureDistillation = keras.distillation.FeatureDistillation
LogitsDistillation = keras.distillation.LogitsDistillation
KL = keras.losses.KLDivergence()
RANDOM = np.random.default_rng(0)
TEACHER, STUDENT = RANDOM.normal(size=(2, 6, 4)).astype(np.float32)
IMAGES = RANDOM.integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)


@keras.saving.register_keras_serializable("test_keras_distillation")
class Norms(keras.distillation.DistillationLoss):
    """A loss that takes any widths."""

    def compute_loss(self, teacher_outputs, student_outputs, **kwargs):
        norms = [keras.ops.norm(x, axis=-1) for x in (teacher_outputs, student_outputs)]
        return keras.ops.mean(keras.ops.abs(norms[0] - norms[1]))

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def test_values():
    squares = np.mean((TEACHER - STUDENT) ** 2)
    assert float(KerasTeacherLoss(FeatureDistillation())(TEACHER, STUDENT)) == pytest.approx(
        squares, rel=1e-5
    )
    teacher, student = log_softmax(TEACHER / 2.0), log_softmax(STUDENT / 2.0)
    divergence = 4 * np.mean(np.sum(np.exp(teacher) * (teacher - student), axis=-1))
    assert float(KerasTeacherLoss(LogitsDistillation(2.0, KL))(TEACHER, STUDENT)) == pytest.approx(
        divergence, rel=1e-4
    )


def test_no_gradient_flows_into_the_teacher(value_and_gradient):
    loss = KerasTeacherLoss(FeatureDistillation())
    _, gradient = value_and_gradient(lambda x: loss(x, STUDENT), TEACHER)
    np.testing.assert_array_equal(gradient, 0)
    _, gradient = value_and_gradient(lambda x: loss(TEACHER, x), STUDENT)
    np.testing.assert_allclose(gradient, 2 * (STUDENT - TEACHER) / STUDENT.size, rtol=1e-5)


@pytest.mark.parametrize(
    ("loss", "name", "equal_widths"),
    [
        (FeatureDistillation("mae"), "feature_distillation", True),
        (LogitsDistillation(3.0, KL), "logits_distillation", True),
        (Norms(), "norms", False),
    ],
)
def test_names_and_configurations(loss, name, equal_widths):
    adapted = as_teacher_loss(loss)
    assert (adapted.name, adapted.needs_equal_widths) == (name, equal_widths)
    restored = KerasTeacherLoss.from_config(KerasTeacherLoss(loss, name="mine").get_config())
    assert (restored.name, type(restored.loss)) == ("mine", type(loss))
    np.testing.assert_array_equal(restored(TEACHER, STUDENT), adapted(TEACHER, STUDENT))


def test_other_losses_are_left_alone():
    loss = RelativeTeacher()
    assert as_teacher_loss(loss) is loss


@pytest.fixture
def build(small_embedder):
    def build(losses, *, teacher_dim=4, **arguments):
        distiller = Distiller(
            small_embedder(seed=1, image_size=8),
            teacher=small_embedder(teacher_dim, seed=2, image_size=8),
            teacher_losses=losses,
            **arguments,
        )
        distiller.compile("sgd")
        return distiller

    return build


@pytest.mark.slow
def test_in_a_distiller(build, tmp_path):
    weights = {"feature_distillation": 0.5, "relative": 2.0, "logits": 3.0}
    losses = [
        FeatureDistillation("mse"),
        RelativeTeacher(),
        KerasTeacherLoss(LogitsDistillation(loss=KL), name="logits"),
    ]
    distiller = build(losses, teacher_loss_weights=weights)
    logs = distiller.evaluate(IMAGES, verbose=0, return_dict=True)
    outputs = distiller.teacher(IMAGES), distiller.student(IMAGES)
    values = {loss.name: float(loss(*outputs)) for loss in distiller.teacher_losses}
    for name, value in values.items():
        assert logs[name] == pytest.approx(value, rel=1e-5)
    total = sum(weights[name] * value for name, value in values.items())
    assert logs["loss"] == pytest.approx(total, rel=1e-5)
    history = distiller.fit(IMAGES, epochs=4, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]

    distiller.save(tmp_path / "distiller.keras")
    loaded = keras.models.load_model(tmp_path / "distiller.keras")
    loaded.teacher = distiller.teacher
    assert loaded.teacher_loss_weights == weights
    before = distiller.evaluate(IMAGES, verbose=0, return_dict=True)
    after = loaded.evaluate(IMAGES, verbose=0, return_dict=True)
    assert after == pytest.approx(before, rel=1e-6)


@pytest.mark.slow
def test_a_projection_serves_those_that_need_equal_widths(build):
    projection = build_projection(4, 5)
    losses = [FeatureDistillation(), Norms()]
    distiller = build(losses, teacher_dim=5, student_projection=projection)
    logs = distiller.evaluate(IMAGES, verbose=0, return_dict=True)
    target, outputs = distiller.teacher(IMAGES), distiller.student(IMAGES)
    feature, norms = distiller.teacher_losses
    expected = float(feature(target, projection(outputs)))
    assert logs["feature_distillation"] == pytest.approx(expected, rel=1e-5)
    assert logs["norms"] == pytest.approx(float(norms(target, outputs)), rel=1e-5, abs=1e-6)
    with pytest.raises(ValueError, match="feature_distillation: the teacher's embedding has width"):
        build(losses, teacher_dim=5).fit(IMAGES, verbose=0)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (
            FeatureDistillation("mse", "a", "b"),
            "FeatureDistillation compares the layers 'a' and 'b', but it receives the embeddings ",
        ),
        (FeatureDistillation("mse", None, "b"), "FeatureDistillation compares the layers None and"),
        (FeatureDistillation(["mse", None]), "FeatureDistillation has losses for several outputs"),
        (
            LogitsDistillation(),
            r"LogitsDistillation\(loss='kl_divergence'\), the default, treats l",
        ),
        (LogitsDistillation(3.0, {"a": "kl_divergence"}), "LogitsDistillation has losses for seve"),
    ],
)
def test_what_cannot_work_is_refused(loss, said, build):
    with pytest.raises(InputError, match=f"^{said}"):
        build([loss])


def test_keras_still_takes_logits_for_probabilities():
    """If this fails, Keras was mended: its default is of use then, and need not be refused."""
    loss = LogitsDistillation()
    assert not np.isclose(
        loss.compute_loss(TEACHER, STUDENT), loss.compute_loss(TEACHER, STUDENT + 1)
    )


def test_other_objects_are_refused():
    with pytest.raises(InputError, match=r"is not a loss of keras\.distillation"):
        KerasTeacherLoss(keras.losses.MeanSquaredError())


def test_sample_weights_are_refused(build):
    with pytest.raises(InputError, match=r"^feature_distillation: .* give no `sample_weight`"):
        build([FeatureDistillation()]).fit(
            IMAGES, np.arange(8), sample_weight=np.ones(8), verbose=0
        )


def test_a_loss_that_is_no_scalar():
    class Rows(keras.distillation.DistillationLoss):
        def compute_loss(self, teacher_outputs, student_outputs, **kwargs):
            return keras.ops.mean(student_outputs, axis=-1)

    with pytest.raises(InputError, match=r"^rows: compute_loss returns .* of shape \(6,\); it"):
        KerasTeacherLoss(Rows())(TEACHER, STUDENT)
