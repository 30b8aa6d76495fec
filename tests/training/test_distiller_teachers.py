import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.losses.absolute_teacher import AbsoluteTeacher
from keras_distill.losses.batch_hard_triplet import BatchHardTriplet
from keras_distill.losses.relative_teacher import RelativeTeacher
from keras_distill.methods.distiller import Distiller
from keras_distill.models.batch_norm_momentum import warmed_up_momentum
from keras_distill.models.projection import build_projection
from keras_distill.teachers.teacher import Teacher
from keras_distill.teachers.vector_table import VectorTable

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
LARGE = RANDOM.integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
IDS = RANDOM.permutation(12).astype(np.int64)
LABELS = np.arange(12) % 3
WEIGHTS = {"a_absolute": 0.5, "a_relative": 0.3, "b_relative": 2.0, "table_relative": 0.1}


@pytest.fixture
def parts(small_embedder):
    """A student of 4 dimensions with teachers of 4, 5 and 6; the last is a table."""
    table = np.float32(np.random.default_rng(1).normal(size=(12, 6)))
    return {
        "student": small_embedder(seed=1, image_size=8),
        "a": small_embedder(seed=2, image_size=8),
        "b": small_embedder(5, seed=3, image_size=16),
        "table": VectorTable(IDS, table),
    }


@pytest.fixture
def build(parts):
    def build(*, optimizer="sgd", **arguments):
        default = {
            "teacher": {name: parts[name] for name in ("a", "b", "table")},
            "task_loss": BatchHardTriplet(0.2),
            "teacher_losses": {
                "a": [AbsoluteTeacher(), RelativeTeacher()],
                "b": [RelativeTeacher()],
                "table": [RelativeTeacher()],
            },
            "teacher_loss_weights": WEIGHTS,
        }
        distiller = Distiller(parts["student"], **(default | arguments))
        distiller.compile(optimizer)
        return distiller

    return build


def answers(parts):
    return {
        "a": parts["a"](IMAGES, training=False).numpy(),
        "b": parts["b"](LARGE, training=False).numpy(),
        "table": parts["table"](None, IDS).numpy(),
    }


def by_hand(parts, student_outputs, weights=WEIGHTS, projected=None):
    given = answers(parts)
    values = {
        "triplet": BatchHardTriplet(0.2)(LABELS, student_outputs),
        "a_absolute": AbsoluteTeacher()(given["a"], student_outputs),
        "a_relative": RelativeTeacher()(given["a"], student_outputs),
        "b_relative": RelativeTeacher()(given["b"], student_outputs),
        "table_relative": RelativeTeacher()(given["table"], student_outputs),
    }
    total = values["triplet"] + sum(weights[name] * values[name] for name in weights)
    return {name: float(value) for name, value in (values | {"loss": total}).items()}


def evaluate(distiller, x):
    return distiller.evaluate(x, LABELS, batch_size=12, verbose=0, return_dict=True)


LIVE = {"image": IMAGES, "id": IDS, "teacher_image": {"b": LARGE}}


def test_each_loss_of_each_teacher_is_reported_and_weighed(build, parts):
    logs = evaluate(build(), LIVE)
    expected = by_hand(parts, parts["student"](IMAGES, training=False))
    assert logs.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(logs[name], value, rtol=1e-5)


@pytest.mark.parametrize("live", [(), ("a",), ("b", "table"), ("a", "b", "table")])
def test_answers_may_be_given_for_some_and_asked_for_others(build, parts, live):
    def unreachable(images):
        raise AssertionError("The teacher was asked.")

    given = {name: answer for name, answer in answers(parts).items() if name not in live}
    teachers = {
        name: parts[name] if name in live else Teacher(unreachable) for name in ("a", "b", "table")
    }
    logs = evaluate(build(teacher=teachers), LIVE | {"teacher_embedding": given})
    for name, value in by_hand(parts, parts["student"](IMAGES, training=False)).items():
        np.testing.assert_allclose(logs[name], value, rtol=1e-5)


def test_without_any_teacher_if_all_answers_are_given(build, parts):
    x = {"image": IMAGES, "teacher_embedding": answers(parts)}
    logs = evaluate(build(teacher=None), x)
    for name, value in by_hand(parts, parts["student"](IMAGES, training=False)).items():
        np.testing.assert_allclose(logs[name], value, rtol=1e-5)


def test_an_image_for_all_teachers(build, parts, small_embedder):
    other = small_embedder(5, seed=9, image_size=16)
    distiller = build(
        teacher={"b": parts["b"], "c": other},
        teacher_losses={"b": [RelativeTeacher()], "c": [RelativeTeacher()]},
        teacher_loss_weights=None,
    )
    logs = evaluate(distiller, {"image": IMAGES, "teacher_image": LARGE})
    outputs = parts["student"](IMAGES, training=False)
    for name, teacher in (("b", parts["b"]), ("c", other)):
        expected = RelativeTeacher()(teacher(LARGE, training=False), outputs)
        np.testing.assert_allclose(logs[f"{name}_relative"], expected, rtol=1e-5)


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_training_with_several_teachers(build, parts, run_eagerly):
    distiller = build()
    distiller.compile(keras.optimizers.SGD(0.1), run_eagerly=run_eagerly)
    student = keras.models.clone_model(parts["student"])
    student.set_weights(parts["student"].get_weights())
    frozen = {name: parts[name].get_weights() for name in "ab"}
    logs = distiller.train_on_batch(LIVE, LABELS, return_dict=True)
    given = answers(parts)
    with tf.GradientTape() as tape, warmed_up_momentum(student, 0):
        outputs = student(IMAGES, training=True)
        total = (
            BatchHardTriplet(0.2)(LABELS, outputs)
            + 0.5 * AbsoluteTeacher()(given["a"], outputs)
            + 0.3 * RelativeTeacher()(given["a"], outputs)
            + 2.0 * RelativeTeacher()(given["b"], outputs)
            + 0.1 * RelativeTeacher()(given["table"], outputs)
        )
    gradients = tape.gradient(total, student.trainable_variables)
    keras.optimizers.SGD(0.1).apply(gradients, student.trainable_variables)
    np.testing.assert_allclose(logs["loss"], total, rtol=1e-4)
    for weight, other in zip(parts["student"].get_weights(), student.get_weights(), strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-4, atol=1e-6)
    for name, before in frozen.items():
        for weight, former in zip(parts[name].get_weights(), before, strict=True):
            np.testing.assert_array_equal(weight, former)
    assert {id(weight) for weight in distiller.weights} == {
        id(weight) for weight in parts["student"].weights
    }


@pytest.mark.slow
def test_fit_from_a_pipeline_of_dicts(build):
    batches = tf.data.Dataset.from_tensor_slices((LIVE, LABELS)).batch(6)
    history = build().fit(batches, epochs=3, verbose=0).history
    assert sorted(history) == sorted(["loss", "triplet", *WEIGHTS])
    assert history["loss"][-1] < history["loss"][0]


def test_a_table_alone_is_asked_by_id(build, parts):
    distiller = build(
        teacher=parts["table"], teacher_losses=[RelativeTeacher()], teacher_loss_weights=None
    )
    logs = evaluate(distiller, {"image": IMAGES, "id": IDS})
    outputs = parts["student"](IMAGES, training=False)
    expected = RelativeTeacher()(parts["table"](None, IDS), outputs)
    np.testing.assert_allclose(logs["relative"], expected, rtol=1e-5)
    with pytest.raises(ValueError, match="needs the ids of the images"):
        distiller.fit(IMAGES, LABELS, verbose=0)


def test_a_single_teacher_may_have_a_name(build, parts):
    distiller = build(
        teacher={"a": parts["a"]},
        teacher_losses={"a": [RelativeTeacher()]},
        teacher_loss_weights=[3],
    )
    assert distiller.teacher_loss_weights == {"a_relative": 3}
    logs = evaluate(distiller, IMAGES)
    np.testing.assert_allclose(logs["loss"], logs["triplet"] + 3 * logs["a_relative"], rtol=1e-5)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, dict.fromkeys(WEIGHTS, 1)),
        ({"b_relative": 3}, dict.fromkeys(WEIGHTS, 1) | {"b_relative": 3}),
        ([1, 2, 3, 4], dict(zip(WEIGHTS, [1, 2, 3, 4], strict=True))),
    ],
)
def test_weights_go_by_teacher_and_loss(build, given, expected):
    assert build(teacher_loss_weights=given).teacher_loss_weights == expected


# Names that disagree


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"teacher_losses": [RelativeTeacher()]},
            "teacher` must both be dicts by the names of the",
        ),
        (
            {"teacher": Teacher(abs)},
            "teacher` must both be dicts by the names of the teachers, or n",
        ),
        ({"teacher": {"a": abs, "b": abs}}, r"disagree about the teachers \['table'\]"),
        (
            {"teacher": {"a": abs, "b": abs, "table": abs, "c": abs}},
            r"`teacher` and `teacher_losses` disagree about the teachers \['c'\]",
        ),
        (
            {"teacher": {"a": abs, "b": abs, "tabel": abs}},
            r"disagree about the teachers \['tabel', 'table'\]",
        ),
        (
            {"student_projection": build_projection(4, 5)},
            "student_projection` must both be dicts by the names of the teachers, or neither",
        ),
        (
            {"student_projection": {"c": build_projection(4, 5)}},
            r"`student_projection` and `teacher_losses` disagree about the teachers \['c'\]",
        ),
        (
            {
                "teacher": abs,
                "teacher_losses": [RelativeTeacher()],
                "student_projection": {"a": build_projection(4, 5)},
            },
            "student_projection` must both be dicts",
        ),
        (
            {"teacher_loss_weights": {"relative": 1}},
            r"names \['relative'\], but the losses are \['a",
        ),
        ({"teacher_loss_weights": [1.0]}, r"=\[1.0\]` does not match the losses \['a_absolute', "),
        (
            {"teacher_losses": {"a": [RelativeTeacher()] * 2, "b": [], "table": []}},
            r"named \['triplet', 'a_relative', 'a_relative'\]; give each a name of its own",
        ),
        (
            {"task_loss": None, "teacher_losses": {"a": [], "b": []}},
            "needs a `task_loss`, or `teacher_losses",
        ),
    ],
)
def test_names_that_disagree(build, arguments, message):
    with pytest.raises(ValueError, match=message):
        build(**({"teacher_loss_weights": None} | arguments))


GIVEN = np.float32(RANDOM.normal(size=(12, 4)))
LIVE_WITH = {
    name: LIVE | {"teacher_embedding": given}
    for name, given in {
        "b": {"b": GIVEN},
        "misspelt": {"A": GIVEN, "b": GIVEN, "table": GIVEN},
        "one": GIVEN,
    }.items()
}


@pytest.mark.parametrize(
    ("teacher", "x", "message"),
    [
        (
            None,
            LIVE,
            r"losses \['a_absolute', .*but no teacher, and the batches hold no 'teacher_e",
        ),
        (None, LIVE_WITH["b"], "there is no output of the teacher 'a'; 'teacher_embedding' and"),
        (None, LIVE_WITH["misspelt"], "there is no output of the teacher 'a'"),
        (None, LIVE_WITH["one"], "there is no output of the teacher 'a'"),
        ("b", LIVE, "there is no output of the teacher 'a'"),
        ("b", LIVE_WITH["one"], "there is no output of the teacher 'a'"),
        ("single", LIVE, "there is no output of the teacher 'a'"),
    ],
)
def test_a_teacher_without_an_output_is_named(build, parts, teacher, x, message):
    distiller = build(teacher=None)
    teachers = {None: None, "b": {"b": parts["b"]}, "single": parts["a"]}
    distiller.teacher = teachers[teacher]  # as after loading
    for run in (distiller.fit, distiller.evaluate):
        with pytest.raises(ValueError, match=message):
            run(x, LABELS, verbose=0)


def test_answers_by_name_for_a_teacher_without_one(build):
    distiller = build(teacher=None, teacher_losses=[RelativeTeacher()], teacher_loss_weights=None)
    with pytest.raises(ValueError, match="there is no output of the teacher None"):
        distiller.fit(LIVE_WITH["b"], LABELS, verbose=0)


# A projection on the student's side


@pytest.fixture
def projected(build, parts):
    """A student of 4 dimensions under a teacher of 5, by way of a projection."""

    def make(**arguments):
        default = {
            "teacher": parts["b"],
            "teacher_losses": [AbsoluteTeacher(), RelativeTeacher()],
            "teacher_loss_weights": {"absolute": 0.5, "relative": 0.3},
            "student_projection": build_projection(4, 5),
        }
        return build(**default | arguments)

    return make


LARGE_ALONE = {"image": IMAGES, "teacher_image": LARGE}


def test_the_absolute_loss_sees_the_projection_and_the_relative_one_does_not(projected, parts):
    distiller = projected()
    logs = evaluate(distiller, LARGE_ALONE)
    outputs = parts["student"](IMAGES, training=False)
    given = answers(parts)["b"]
    expected = {
        "triplet": BatchHardTriplet(0.2)(LABELS, outputs),
        "absolute": AbsoluteTeacher()(given, distiller.student_projection(outputs)),
        "relative": RelativeTeacher()(given, outputs),
    }
    expected["loss"] = expected["triplet"] + 0.5 * expected["absolute"] + 0.3 * expected["relative"]
    assert logs.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(logs[name], value, rtol=1e-5)


def test_the_projection_is_trained_with_the_student(projected, parts):
    distiller = projected(
        task_loss=None, teacher_losses=[AbsoluteTeacher()], teacher_loss_weights=None
    )
    projection, student = distiller.student_projection, parts["student"]
    before = [weight.copy() for weight in [*projection.get_weights(), *student.get_weights()]]
    history = distiller.fit(LARGE_ALONE, epochs=12, batch_size=12, verbose=0).history
    assert history["absolute"][-1] < 0.9 * history["absolute"][0]
    after = [*projection.get_weights(), *student.get_weights()]
    assert all(np.any(a != b) for a, b in zip(after, before, strict=True))
    assert np.linalg.norm(distiller.predict(IMAGES, verbose=0), axis=1) == pytest.approx(1)


def test_the_gradient_reaches_the_student_through_the_projection(projected, parts):
    distiller = projected(
        task_loss=None, teacher_losses=[AbsoluteTeacher()], teacher_loss_weights=None
    )
    distiller.compile(keras.optimizers.SGD(0.1))
    student = keras.models.clone_model(parts["student"])
    student.set_weights(parts["student"].get_weights())
    projection = keras.models.clone_model(distiller.student_projection)
    projection.set_weights(distiller.student_projection.get_weights())
    with tf.GradientTape() as tape, warmed_up_momentum(student, 0):
        outputs = projection(student(IMAGES, training=True))
        loss = AbsoluteTeacher()(answers(parts)["b"], outputs)
    variables = student.trainable_variables + projection.trainable_variables
    keras.optimizers.SGD(0.1).apply(tape.gradient(loss, variables), variables)
    distiller.train_on_batch(LARGE_ALONE, LABELS)
    for trained, expected in (
        (parts["student"], student),
        (distiller.student_projection, projection),
    ):
        for weight, other in zip(trained.get_weights(), expected.get_weights(), strict=True):
            np.testing.assert_allclose(weight, other, rtol=1e-4, atol=1e-6)


def test_the_projection_is_no_part_of_the_student(projected, parts, tmp_path):
    distiller = projected()
    student = parts["student"]
    distiller.fit(LARGE_ALONE, LABELS, verbose=0)
    assert distiller.student is student
    assert len(distiller.trainable_variables) == len(student.trainable_variables) + 2
    assert not {id(v) for v in distiller.student_projection.variables} & {
        id(v) for v in student.variables
    }
    expected = student(IMAGES, training=False)
    np.testing.assert_allclose(distiller.predict(IMAGES, verbose=0), expected, atol=1e-6)
    distiller.export(tmp_path / "exported", verbose=False)
    exported = tf.saved_model.load(str(tmp_path / "exported"))
    ((_, answer),) = exported.signatures["serving_default"](tf.constant(IMAGES, "float32")).items()
    np.testing.assert_allclose(answer, expected, atol=1e-5)
    shapes = [tuple(variable.shape) for variable in exported.variables]
    assert len(shapes) == len(student.variables)
    assert (4, 5) not in shapes
    student.save(tmp_path / "student.keras")
    loaded = keras.models.load_model(tmp_path / "student.keras")
    assert [w.shape for w in loaded.weights] == [w.shape for w in student.weights]


def test_a_layer_may_be_the_projection(projected):
    layer = keras.layers.Dense(5, use_bias=False)
    distiller = projected(
        student_projection=layer,
        task_loss=None,
        teacher_losses=[AbsoluteTeacher()],
        teacher_loss_weights=None,
        optimizer=keras.optimizers.Adam(0.01),
    )
    first = distiller.fit(LARGE_ALONE, batch_size=12, verbose=0).history
    (before,) = layer.get_weights()
    assert before.shape == (4, 5)
    last = distiller.fit(LARGE_ALONE, epochs=10, batch_size=12, verbose=0).history
    assert last["absolute"][-1] < first["absolute"][0]
    assert np.abs(layer.get_weights()[0] - before).min() > 1e-3


def test_a_projection_for_one_of_several_teachers(build, parts):
    projections = {"b": build_projection(4, 5)}
    distiller = build(
        teacher={"a": parts["a"], "b": parts["b"]},
        teacher_losses={"a": [AbsoluteTeacher()], "b": [AbsoluteTeacher()]},
        teacher_loss_weights=None,
        student_projection=projections,
    )
    logs = evaluate(distiller, LIVE)
    outputs = parts["student"](IMAGES, training=False)
    given = answers(parts)
    expected = {
        "a_absolute": AbsoluteTeacher()(given["a"], outputs),
        "b_absolute": AbsoluteTeacher()(given["b"], projections["b"](outputs)),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(logs[name], value, rtol=1e-5)
    before = projections["b"].get_weights()
    distiller.fit(LIVE, LABELS, verbose=0)
    after = projections["b"].get_weights()
    assert all(np.any(a != b) for a, b in zip(after, before, strict=True))


def test_widths_that_differ_without_a_projection(projected):
    with pytest.raises(ValueError, match="teacher's embedding has width 5, the student's 4"):
        projected(student_projection=None).fit(LARGE_ALONE, LABELS, verbose=0)


# Saving


@pytest.mark.parametrize("kind", ["single", "several"])
def test_config(build, projected, kind):
    distiller = projected()
    if kind == "several":
        distiller = build(student_projection={"b": build_projection(4, 5, name="into_b")})
    config = json.dumps(distiller.get_config())
    copy = Distiller.from_config(json.loads(config))
    assert json.dumps(copy.get_config()) == config
    assert copy.teacher is None
    assert copy.teacher_loss_weights == distiller.teacher_loss_weights
    if kind == "single":
        assert [type(loss) for loss in copy.teacher_losses] == [AbsoluteTeacher, RelativeTeacher]
        assert copy.student_projection.output_shape == (None, 5)
    else:
        assert {name: len(losses) for name, losses in copy.teacher_losses.items()} == {
            "a": 2,
            "b": 1,
            "table": 1,
        }
        assert {name: layer.name for name, layer in copy.student_projection.items()} == {
            "b": "into_b"
        }


@pytest.mark.parametrize("kind", ["single", "several"])
def test_training_goes_on_after_loading(build, projected, parts, kind, tmp_path):
    x = {"single": LARGE_ALONE, "several": LIVE}[kind]
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    if kind == "single":
        distiller = projected(optimizer=optimizer)
    else:
        distiller = build(
            teacher_losses={
                "a": [AbsoluteTeacher()],
                "b": [AbsoluteTeacher()],
                "table": [AbsoluteTeacher("sum"), RelativeTeacher("mean")],
            },
            teacher_loss_weights=None,
            student_projection={
                "b": build_projection(4, 5, name="into_b"),
                "table": build_projection(4, 6, name="into_table"),
            },
            optimizer=optimizer,
        )
    distiller.fit(x, LABELS, epochs=2, verbose=0)
    distiller.save(tmp_path / "distiller.keras")
    loaded = keras.models.load_model(tmp_path / "distiller.keras")
    assert loaded.teacher is None
    for weight, saved in zip(loaded.get_weights(), distiller.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, saved)
    loaded.teacher = distiller.teacher
    histories = [
        model.fit(x, LABELS, epochs=2, shuffle=False, verbose=0).history
        for model in (distiller, loaded)
    ]
    assert histories[0].keys() == histories[1].keys()
    for name, values in histories[0].items():
        np.testing.assert_allclose(histories[1][name], values, rtol=1e-4)
    for weight, other in zip(loaded.get_weights(), distiller.get_weights(), strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-4, atol=1e-6)
