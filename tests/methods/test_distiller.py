import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.losses.absolute_teacher import AbsoluteTeacher
from keras_distill.losses.batch_hard_triplet import BatchHardTriplet
from keras_distill.losses.cross_batch_memory import CrossBatchMemory
from keras_distill.losses.relative_teacher import RelativeTeacher
from keras_distill.losses.task_loss import TaskLoss
from keras_distill.methods.distiller import Distiller
from keras_distill.teachers.teacher import Teacher

IMAGES = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(16) % 4
WEIGHTS = {"triplet": 2.0, "absolute": 0.5, "relative": 0.3}


@pytest.fixture
def build(small_embedder):
    """Builds a compiled Distiller with all losses; arguments replace its own."""

    def build(*, optimizer="sgd", compiled=(), **arguments):
        default = {
            "student": small_embedder(seed=1, image_size=8),
            "teacher": small_embedder(seed=2, image_size=8),
            "task_loss": BatchHardTriplet(0.2),
            "teacher_losses": [AbsoluteTeacher(), RelativeTeacher()],
            "task_loss_weight": WEIGHTS["triplet"],
            "teacher_loss_weights": [WEIGHTS["absolute"], WEIGHTS["relative"]],
        }
        distiller = Distiller(**(default | arguments))
        distiller.compile(optimizer, **dict(compiled))
        return distiller

    return build


def losses_by_hand(student_outputs, teacher_outputs, labels, sample_weight=None):
    values = {
        "triplet": BatchHardTriplet(0.2)(labels, student_outputs, sample_weight),
        "absolute": AbsoluteTeacher()(teacher_outputs, student_outputs, sample_weight),
        "relative": RelativeTeacher()(teacher_outputs, student_outputs, sample_weight),
    }
    return values | {"loss": sum(WEIGHTS[name] * value for name, value in values.items())}


def assert_same(weights, others, **tolerance):
    for weight, other in zip(weights, others, strict=True):
        np.testing.assert_allclose(weight, other, **(tolerance or {"rtol": 0}))


@pytest.mark.parametrize("kind", ["arrays", "dataset", "dict"])
def test_fit(kind, build):
    distiller = build()
    student = distiller.student
    before, statistics = student.get_weights(), student.layers[3].moving_mean.numpy()
    batches = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(8)
    if kind == "dict":
        batches = batches.map(lambda x, y: ({"image": x, "id": tf.range(8)}, y))
    x, y = (IMAGES, LABELS) if kind == "arrays" else (batches, None)
    history = distiller.fit(
        x, y, batch_size=8 if kind == "arrays" else None, epochs=3, verbose=0
    ).history
    assert sorted(history) == ["absolute", "loss", "relative", "triplet"]
    total = sum(WEIGHTS[name] * np.array(history[name]) for name in WEIGHTS)
    np.testing.assert_allclose(history["loss"], total, rtol=1e-5)
    assert history["loss"][-1] < history["loss"][0]
    assert all(np.any(a != b) for a, b in zip(student.get_weights(), before, strict=True))
    assert np.abs(student.layers[3].moving_mean - statistics).max() > 0


def test_evaluate_reports_the_mean_over_rows(build):
    distiller = build()
    before = [weight.copy() for weight in distiller.student.get_weights()]
    logs = distiller.evaluate(IMAGES[:12], LABELS[:12], batch_size=8, verbose=0, return_dict=True)
    expected = [
        losses_by_hand(
            distiller.student(IMAGES[rows], training=False),
            distiller.teacher(IMAGES[rows]),
            LABELS[rows],
        )
        for rows in (slice(0, 8), slice(8, 12))
    ]
    assert sorted(logs) == ["absolute", "loss", "relative", "triplet"]
    for name, value in logs.items():
        mean = (8 * expected[0][name] + 4 * expected[1][name]) / 12
        np.testing.assert_allclose(value, mean, rtol=1e-5)
    assert_same(distiller.student.get_weights(), before)


def test_sample_weight(build):
    distiller = build()
    weight = np.linspace(0, 2, 16)
    logs = distiller.evaluate(
        IMAGES, LABELS, sample_weight=weight, batch_size=16, verbose=0, return_dict=True
    )
    outputs = distiller.student(IMAGES, training=False), distiller.teacher(IMAGES)
    for name, value in losses_by_hand(*outputs, LABELS, weight).items():
        np.testing.assert_allclose(logs[name], value, rtol=1e-5)


@pytest.mark.slow
def test_a_memory_holds_the_training_steps_before(build, small_embedder):
    task_loss = CrossBatchMemory(BatchHardTriplet(0.2), size=16)
    distiller = build(
        student=small_embedder(image_size=8, batch_norm=False),
        teacher=None,
        task_loss=task_loss,
        teacher_losses=(),
        teacher_loss_weights=None,
        optimizer=keras.optimizers.SGD(0.0),
    )
    halves = [(IMAGES[rows], LABELS[rows]) for rows in (slice(8), slice(8, 16))]
    (first, labels), (second, other_labels) = halves
    embeddings, others = distiller.student(first), distiller.student(second)
    alone = BatchHardTriplet(0.2)

    def reported(step, *batch):
        return step(*batch, return_dict=True)["triplet"]

    assert reported(distiller.train_on_batch, first, labels) == pytest.approx(
        float(alone(labels, embeddings)), rel=1e-5
    )
    references = {"ref_labels": labels, "ref_embeddings": embeddings}
    expected = alone(other_labels, others) + alone(other_labels, others, **references)
    for step in (distiller.test_on_batch, distiller.test_on_batch, distiller.train_on_batch):
        distiller.reset_metrics()
        assert reported(step, second, other_labels) == pytest.approx(float(expected), rel=1e-5)
    kept = distiller.task_loss_layer.get_weights()[1]
    np.testing.assert_array_equal(kept, [*other_labels, *labels])
    distiller.evaluate(IMAGES[:4], LABELS[:4], verbose=0)
    np.testing.assert_array_equal(distiller.task_loss_layer.get_weights()[1], kept)


@pytest.mark.quick(1)
@pytest.mark.parametrize("compiled", [{}, {"jit_compile": True}, {"run_eagerly": True}])
def test_one_step_is_that_of_a_gradient_tape(compiled, build):
    distiller = build(optimizer=keras.optimizers.SGD(0.1, momentum=0.9), compiled=compiled)
    student = keras.models.clone_model(distiller.student)
    student.set_weights(distiller.student.get_weights())
    student.layers[3].momentum = 0.1  # that of the first step
    logs = distiller.train_on_batch(IMAGES, LABELS, return_dict=True)

    targets = distiller.teacher(IMAGES)
    with tf.GradientTape() as tape:
        values = losses_by_hand(student(IMAGES, training=True), targets, LABELS)
    gradients = tape.gradient(values["loss"], student.trainable_variables)
    keras.optimizers.SGD(0.1, momentum=0.9).apply(gradients, student.trainable_variables)
    assert_same(distiller.student.get_weights(), student.get_weights(), rtol=1e-4, atol=1e-6)
    for name, value in values.items():
        np.testing.assert_allclose(logs[name], value, rtol=1e-4)


@pytest.mark.slow
def test_several_steps_in_one_execution(build):
    results = []
    for steps in (1, 2):
        distiller = build(compiled={"steps_per_execution": steps})
        history = distiller.fit(
            IMAGES, LABELS, batch_size=8, epochs=2, shuffle=False, verbose=0
        ).history
        results.append((distiller.student.get_weights(), history))
    (weights, history), (others, other_history) = results
    assert_same(weights, others, rtol=1e-4, atol=1e-6)
    for name, values in history.items():
        np.testing.assert_allclose(values, other_history[name], rtol=1e-4)


def test_xla_is_not_chosen_on_a_cpu(build):
    assert build().jit_compile is False
    assert build(compiled={"jit_compile": True}).jit_compile is True


@pytest.mark.parametrize("given", ["constructor", "attribute"])
def test_teacher_is_frozen_and_not_part_of_the_model(given, build, small_embedder, tmp_path):
    model = small_embedder(seed=2, image_size=8)
    before = model.get_weights()
    distiller = build(teacher=model if given == "constructor" else None)
    if given == "attribute":
        distiller.teacher = model
    distiller.fit(
        IMAGES, LABELS, validation_data=(IMAGES, LABELS), batch_size=8, epochs=2, verbose=0
    )
    assert_same(model.get_weights(), before)

    student = distiller.student
    ids = {id(variable) for variable in student.variables}
    assert {id(weight) for weight in distiller.weights} == {id(w) for w in student.weights}
    assert {id(weight) for weight in distiller.trainable_weights} == {
        id(weight) for weight in student.trainable_weights
    }
    assert not ids & {id(variable) for variable in model.variables}
    assert distiller.count_params() == student.count_params()
    assert [layer for layer in distiller._flatten_layers() if layer is model] == []


def test_files_do_not_grow_with_the_teacher(build, small_embedder, tmp_path):
    distiller = build(teacher_losses=[RelativeTeacher()], teacher_loss_weights=None)
    for name, dim in (("small", 4), ("large", 100_000)):
        distiller.teacher = small_embedder(dim, image_size=8)
        distiller.save(tmp_path / f"{name}.keras")
        distiller.save_weights(tmp_path / f"{name}.weights.h5")
    for suffix in (".keras", ".weights.h5"):
        small, large = ((tmp_path / name).with_suffix(suffix) for name in ("small", "large"))
        assert large.stat().st_size == small.stat().st_size < 100_000
    other = build(teacher_losses=[RelativeTeacher()], teacher_loss_weights=None)
    other.student.set_weights([0 * weight for weight in other.student.get_weights()])
    other.load_weights(tmp_path / "large.weights.h5")
    assert_same(other.student.get_weights(), distiller.student.get_weights())


def test_new_teacher_counts_at_once(build, small_embedder):
    student = small_embedder(image_size=8, batch_norm=False)
    distiller = build(
        student=student,
        task_loss=None,
        teacher_losses=[AbsoluteTeacher()],
        teacher_loss_weights=None,
    )
    first = distiller.fit(IMAGES, verbose=0).history
    distiller.teacher = student
    assert isinstance(distiller.teacher, Teacher)
    second = distiller.fit(IMAGES, verbose=0).history
    assert first["absolute"][0] > 0.1
    np.testing.assert_allclose(second["absolute"], 2e-6, rtol=1e-2)


def test_teacher_image_is_what_the_teacher_sees(build, small_embedder):
    teacher = small_embedder(seed=2, image_size=16)
    large = np.random.default_rng(1).integers(0, 256, (16, 16, 16, 3), dtype=np.uint8)
    distiller = build(teacher=teacher)
    logs = distiller.evaluate(
        {"image": IMAGES, "teacher_image": large},
        LABELS,
        batch_size=16,
        verbose=0,
        return_dict=True,
    )
    outputs = distiller.student(IMAGES, training=False), teacher(large, training=False)
    for name, value in losses_by_hand(*outputs, LABELS).items():
        np.testing.assert_allclose(logs[name], value, rtol=1e-5)


@pytest.mark.slow
def test_teacher_embedding_takes_the_place_of_the_teacher(build, small_embedder):
    def unreachable(images):
        raise AssertionError("The teacher was asked.")

    embeddings = small_embedder(seed=2, image_size=8)(IMAGES, training=False).numpy()
    x = {"image": IMAGES, "teacher_embedding": embeddings}
    distiller = build(teacher=unreachable)
    logs = distiller.evaluate(x, LABELS, batch_size=16, verbose=0, return_dict=True)
    expected = losses_by_hand(distiller.student(IMAGES, training=False), embeddings, LABELS)
    for name, value in expected.items():
        np.testing.assert_allclose(logs[name], value, rtol=1e-5)
    history = build(teacher=None).fit(x, LABELS, epochs=3, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]


def test_images_without_labels(build):
    distiller = build(task_loss=None, teacher_losses=[AbsoluteTeacher()], teacher_loss_weights=[2])
    history = distiller.fit(IMAGES, epochs=3, verbose=0).history
    np.testing.assert_allclose(history["loss"], 2 * np.array(history["absolute"]), rtol=1e-6)
    assert history["loss"][-1] < history["loss"][0]


def test_labels_alone(build):
    distiller = build(teacher=None, teacher_losses=(), teacher_loss_weights=None)
    labels = 16777216 + LABELS % 2
    value = distiller.evaluate(IMAGES, labels, verbose=0)[0]
    expected = 2 * BatchHardTriplet(0.2)(LABELS % 2, distiller.student(IMAGES, training=False))
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    unlabelled = np.where(np.arange(16) < 8, labels, -1)
    value = distiller.evaluate(IMAGES, unlabelled, verbose=0)[0]
    half = distiller.evaluate(IMAGES[:8], labels[:8], verbose=0)[0]
    np.testing.assert_allclose(value, half, rtol=1e-5)
    with pytest.raises(TypeError, match="labels must be integers"):
        distiller.fit(IMAGES, np.float32(LABELS), verbose=0)


@pytest.mark.slow
def test_validation_data_and_metrics(build):
    def length(labels, embeddings):
        return keras.ops.sqrt(keras.ops.sum(embeddings**2, axis=1))

    distiller = build(compiled={"metrics": [length]})
    history = distiller.fit(
        IMAGES, LABELS, validation_data=(IMAGES, LABELS), batch_size=16, verbose=0
    ).history
    names = ["absolute", "length", "loss", "relative", "triplet"]
    assert sorted(history) == names + [f"val_{name}" for name in names]
    assert history["val_length"] == [pytest.approx(1)]
    outputs = distiller.student(IMAGES, training=False), distiller.teacher(IMAGES)
    for name, value in losses_by_hand(*outputs, LABELS).items():
        np.testing.assert_allclose(history[f"val_{name}"][0], value, rtol=1e-5)


def test_predict_and_export_are_the_students(build, tmp_path):
    distiller = build()
    expected = distiller.student(IMAGES, training=False)
    for x in (IMAGES, {"image": IMAGES}, {"image": IMAGES, "id": np.arange(16)}):
        np.testing.assert_allclose(distiller.predict(x, verbose=0), expected, atol=1e-6)
    np.testing.assert_allclose(distiller(IMAGES), expected, atol=1e-6)
    distiller.export(tmp_path / "exported", verbose=False)
    signature = tf.saved_model.load(str(tmp_path / "exported")).signatures["serving_default"]
    ((_, answer),) = signature(tf.constant(IMAGES, "float32")).items()
    np.testing.assert_allclose(answer, expected, atol=1e-5)


def test_summary_counts_the_student(build):
    lines = []
    distiller = build()
    distiller.summary(print_fn=lines.append, line_length=100)
    assert f"Total params: {distiller.student.count_params()}" in "".join(lines)


class Named(TaskLoss):
    def call(self, labels, embeddings, ref_labels=None, ref_embeddings=None):
        return keras.ops.sum(embeddings, axis=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task_loss": None, "teacher_losses": ()}, "needs a `task_loss`, or `teacher_losses`, or"),
        (
            {"teacher_losses": [RelativeTeacher(), RelativeTeacher("mean")]},
            r"named \['triplet', 'relative', 'relative'\]; give each a name of its own",
        ),
        ({"task_loss": Named("relative"), "teacher_losses": [RelativeTeacher()]}, "of its own"),
        ({"task_loss": Named("loss")}, r"not 'loss', which is the total"),
        (
            {"teacher_loss_weights": {"relativ": 0.3}},
            r"names \['relativ'\], but the losses are \['absolute', 'relative'\]",
        ),
        ({"teacher_loss_weights": [1.0]}, r"=\[1.0\]` does not match the losses \['absolute', "),
    ],
)
def test_losses_that_do_not_fit(arguments, message, build):
    with pytest.raises(ValueError, match=message):
        build(**({"teacher_loss_weights": None} | arguments))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, {"absolute": 1, "relative": 1}),
        ([2, 3], {"absolute": 2, "relative": 3}),
        ({"relative": 0.3}, {"absolute": 1, "relative": 0.3}),
    ],
)
def test_weights_of_the_teacher_losses(given, expected, build):
    assert build(teacher_loss_weights=given).teacher_loss_weights == expected


@pytest.mark.parametrize("run", ["fit", "evaluate"])
def test_missing_teacher(run, build):
    with pytest.raises(ValueError, match=r"'relative'\] but no teacher.*teacher_embedding"):
        getattr(build(teacher=None), run)(IMAGES, LABELS, verbose=0)


def test_absolute_teacher_of_another_width(build, small_embedder):
    distiller = build(teacher=small_embedder(dim=7, image_size=8))
    with pytest.raises(ValueError, match="teacher's embedding has width 7, the student's 4"):
        distiller.fit(IMAGES, LABELS, verbose=0)


def test_unlabelled_rows_enter_the_teacher_losses_alone(build):
    distiller = build()
    labels = np.where(np.arange(16) < 12, LABELS, -1)
    images, others = IMAGES, IMAGES.copy()
    others[12:] //= 3

    def losses(images, labels):
        return distiller.test_on_batch(images, labels, return_dict=True)

    mixed, changed = losses(images, labels), losses(others, labels)
    assert mixed["triplet"] == pytest.approx(losses(images[:12], labels[:12])["triplet"], rel=1e-5)
    assert changed["triplet"] == pytest.approx(mixed["triplet"], rel=1e-6)
    for name in ("absolute", "relative"):
        assert changed[name] != pytest.approx(mixed[name], rel=1e-3)
