import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.losses.attention_maps import AttentionMaps
from keras_distill.losses.batch_hard_triplet import BatchHardTriplet
from keras_distill.losses.hint import Hint
from keras_distill.losses.relative_teacher import RelativeTeacher
from keras_distill.methods.distiller import Distiller
from keras_distill.models.batch_norm_momentum import warmed_up_momentum
from keras_distill.models.inner_layers import layer_paths
from keras_distill.teachers.projected_teacher import fit_pca, project
from keras_distill.teachers.teacher import Teacher, as_teacher
from keras_distill.teachers.vector_table import VectorTable

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
LABELS = np.arange(12) % 4
ROW_WEIGHTS = RANDOM.uniform(0, 2, 12).astype("float32")
ATTENTION = [("early", "early"), ("late", "trunk/late")]
HINT = [("trunk/late", "early")]
WEIGHTS = {"relative": 0.3, "attention": 100.0, "hint": 2.0}
LAYERS = ("early", "late", "trunk/late")


def net(channels, dim, seed):
    """A network with a map `early` of 8 x 8 and, in its model `trunk`, `late` of 4 x 4."""
    keras.utils.set_random_seed(seed)
    features = keras.Input((8, 8, channels), name="features")
    x = keras.layers.Conv2D(2 * channels, 3, strides=2, padding="same")(features)
    x = keras.layers.BatchNormalization(momentum=0.5)(x)
    backbone = keras.Model(features, keras.layers.ReLU(name="late")(x), name="trunk")
    image = keras.Input((16, 16, 3), name="image")
    x = keras.layers.Rescaling(1 / 127.5, -1, dtype="float32")(image)
    x = keras.layers.Conv2D(channels, 3, strides=2, padding="same", name="conv")(x)
    x = keras.layers.BatchNormalization(momentum=0.5)(x)
    x = backbone(keras.layers.ReLU(name="early")(x))
    x = keras.layers.Dense(dim)(keras.layers.GlobalAveragePooling2D(name="pooling")(x))
    return keras.Model(image, keras.layers.UnitNormalization(dtype="float32")(x), name="net")


@pytest.fixture
def student():
    return net(4, 3, seed=1)


@pytest.fixture
def teacher():
    return net(6, 5, seed=2)


@pytest.fixture
def build(student, teacher):
    def build(*, optimizer=None, run_eagerly=True, **arguments):
        keras.utils.set_random_seed(3)  # of the regressors
        default = {
            "teacher": teacher,
            "task_loss": BatchHardTriplet(0.2),
            "teacher_losses": [RelativeTeacher(), AttentionMaps(ATTENTION), Hint(HINT)],
            "teacher_loss_weights": WEIGHTS,
        }
        distiller = Distiller(student, **(default | arguments))
        distiller.compile(optimizer or keras.optimizers.SGD(0.01), run_eagerly=run_eagerly)
        return distiller

    return build


def answers(model, *, training=False):
    """Embeddings and maps of the images, by a model with these outputs."""
    tensors = [model.output, model.get_layer("early").output, model.get_layer("pooling").input]
    outputs = keras.Model(model.input, tensors)(IMAGES, training=training)
    embedding, early, late = (tf.cast(output, "float32") for output in outputs)
    return embedding, dict(zip(LAYERS, (early, late, late), strict=True))


def mean(squares, rows):
    return tf.reduce_mean(rows * tf.reduce_mean(squares, list(range(1, len(squares.shape)))))


def attention(features):
    return tf.math.l2_normalize(tf.reshape(tf.reduce_mean(features**2, -1), [12, -1]), axis=1)


def by_hand(of_teacher, of_student, regressor, row_weights=None, *, training=False):
    (target, goals), (embedding, maps) = of_teacher, of_student
    rows = tf.ones(12) if row_weights is None else row_weights
    values = {
        "triplet": BatchHardTriplet(0.2)(LABELS, embedding, row_weights),
        "relative": RelativeTeacher()(target, embedding, row_weights),
        "attention": sum(
            mean((attention(maps[s]) - attention(goals[t])) ** 2, rows) for t, s in ATTENTION
        ),
        "hint": mean((regressor(maps["early"], training=training) - goals["late"]) ** 2, rows),
    }
    total = values["triplet"] + sum(weight * values[name] for name, weight in WEIGHTS.items())
    return {**values, "loss": total}


def evaluate(distiller, x=IMAGES, row_weights=None):
    return distiller.test_on_batch(x, LABELS, row_weights, return_dict=True)


def check(logs, expected, rtol=1e-4):
    assert logs.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(logs[name], value, rtol=rtol, err_msg=name)


def same(weights, others):
    return all(np.array_equal(a, b) for a, b in zip(weights, others, strict=True))


# Values and steps


@pytest.mark.parametrize("row_weights", [None, ROW_WEIGHTS], ids=["", "weighted"])
def test_each_loss_is_reported_and_weighed(build, student, teacher, row_weights):
    distiller = build()
    logs = evaluate(distiller, row_weights=row_weights)
    (regressor,) = distiller.feature_loss_layers
    expected = by_hand(answers(teacher), answers(student), regressor, row_weights)
    check(logs, expected)
    assert min(float(value) for value in expected.values()) > 1e-4


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_a_step_is_that_of_a_single_forward_pass(build, student, teacher, run_eagerly):
    distiller = build(run_eagerly=run_eagerly)
    (regressor,) = distiller.feature_loss_layers
    plain, copy = net(4, 3, seed=1), keras.models.clone_model(regressor)
    copy.set_weights(regressor.get_weights())
    of_teacher = answers(teacher)
    frozen, before = teacher.get_weights(), distiller.get_weights()
    with tf.GradientTape() as tape, warmed_up_momentum(plain, 0), warmed_up_momentum(copy, 0):
        expected = by_hand(of_teacher, answers(plain, training=True), copy, training=True)
    variables = [*plain.trainable_variables, *copy.trainable_variables]
    gradients = tape.gradient(expected["loss"], [v.value for v in variables])
    keras.optimizers.SGD(0.01).apply(gradients, variables)
    check(distiller.train_on_batch(IMAGES, LABELS, return_dict=True), expected)
    weights = [*student.get_weights(), *regressor.get_weights()]
    for weight, other in zip(weights, [*plain.get_weights(), *copy.get_weights()], strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-4, atol=1e-5)  # and statistics
    assert not any(same([a], [b]) for a, b in zip(distiller.get_weights(), before, strict=True))
    assert same(teacher.get_weights(), frozen)


def test_student_and_teacher_run_once_a_step(build, student, teacher):
    distiller = build(run_eagerly=True)
    ran = []

    def spied(name, original):
        return lambda *args, **options: ran.append(name) or original(*args, **options)

    object.__setattr__(student, "call", spied("student", student.call))
    conv = student.get_layer("conv")
    object.__setattr__(conv, "call", spied("conv", conv.call))
    distiller.teacher.features = spied("teacher", distiller.teacher.features)
    for run in (distiller.train_on_batch, distiller.test_on_batch):
        ran.clear()
        run(IMAGES, LABELS)
        assert ran == ["teacher", "student", "conv"]


def test_evaluation_and_prediction_change_no_weight(build, student, teacher):
    distiller = build(run_eagerly=False)
    before = distiller.get_weights(), teacher.get_weights()
    distiller.evaluate(IMAGES, LABELS, verbose=0)
    np.testing.assert_allclose(
        distiller.predict(IMAGES, verbose=0), student(IMAGES, training=False), atol=1e-5
    )
    assert same(distiller.get_weights(), before[0])
    assert same(teacher.get_weights(), before[1])


# What belongs to the student


def test_regressors_are_trained_but_no_part_of_the_student(build, student, tmp_path):
    before, layers = student.count_params(), list(layer_paths(student))
    distiller = build()
    (regressor,) = distiller.feature_loss_layers
    trained = {id(variable) for variable in distiller.trainable_variables}
    own = {id(variable) for variable in regressor.trainable_variables}
    assert trained == own | {id(variable) for variable in student.trainable_variables}
    assert distiller.student.count_params() == before
    distiller.train_on_batch(IMAGES, LABELS)
    distiller.student.save(tmp_path / "student.keras")
    loaded = keras.models.load_model(tmp_path / "student.keras")
    assert list(layer_paths(loaded)) == layers
    assert same(loaded.get_weights(), student.get_weights())
    expected = student(IMAGES, training=False)
    distiller.export(tmp_path / "exported", verbose=False)
    exported = tf.saved_model.load(str(tmp_path / "exported"))
    assert len(exported.variables) == len(student.weights)
    ((_, answer),) = exported.signatures["serving_default"](tf.constant(IMAGES, "float32")).items()
    np.testing.assert_allclose(answer, expected, atol=1e-5)


def test_training_goes_on_after_loading(build, teacher, tmp_path):
    distiller = build(optimizer=keras.optimizers.SGD(0.01, momentum=0.9))
    distiller.train_on_batch(IMAGES, LABELS)
    distiller.save(tmp_path / "distiller.keras")
    loaded = keras.models.load_model(tmp_path / "distiller.keras")
    assert loaded.teacher is None
    assert same(loaded.get_weights(), distiller.get_weights())
    assert json.dumps(loaded.get_config()) == json.dumps(distiller.get_config())
    with pytest.raises(ValueError, match=r"'hint'\] but no teacher, .* no 'teacher_embedding'"):
        loaded.train_on_batch(IMAGES, LABELS)
    loaded.teacher = teacher
    for model in (loaded, distiller):
        for _ in range(2):
            model.train_on_batch(IMAGES, LABELS)
    for weight, other in zip(loaded.get_weights(), distiller.get_weights(), strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-4, atol=1e-6)


# Where the maps come from


def test_maps_may_be_given(build, student, teacher, monkeypatch):
    def unreachable(*arguments):
        raise AssertionError("The teacher was asked.")

    embedding, maps = answers(teacher)
    maps = {name: maps[name].numpy() for name in LAYERS}
    given = {"image": IMAGES, "teacher_embedding": embedding.numpy(), "teacher_features": maps}
    distiller = build()
    expected = by_hand((embedding, maps), answers(student), distiller.feature_loss_layers[0])
    with monkeypatch.context() as patched:
        patched.setattr(Teacher, "__call__", unreachable)
        patched.setattr(Teacher, "features", unreachable)
        check(evaluate(distiller, given), expected)
    distiller.teacher = None
    check(evaluate(distiller, given), expected)
    without = {key: value for key, value in given.items() if key != "teacher_features"}
    with pytest.raises(ValueError, match="no teacher, and the batches hold no 'teacher_features'"):
        evaluate(distiller, without)
    distiller.teacher = teacher
    check(evaluate(distiller, without), expected)
    other = {"image": IMAGES, "teacher_features": {n: 0 * m for n, m in maps.items()}}
    expected = by_hand(
        (embedding, other["teacher_features"]), answers(student), distiller.feature_loss_layers[0]
    )
    check(evaluate(distiller, other), expected)


def test_maps_may_be_given_to_a_distiller_that_never_had_a_teacher(build, student, teacher):
    shapes = [((None, 4, 4, 12), (None, 8, 8, 4))]
    embedding, maps = answers(teacher)
    losses = [RelativeTeacher(), AttentionMaps(ATTENTION), Hint(HINT, shapes=shapes)]
    distiller = build(teacher=None, teacher_losses=losses)
    x = {"image": IMAGES, "teacher_embedding": embedding, "teacher_features": maps}
    expected = by_hand((embedding, maps), answers(student), distiller.feature_loss_layers[0])
    check(evaluate(distiller, x), expected)
    with pytest.raises(ValueError, match=r"'trunk/late' is not known; give `teacher`, or Hint"):
        build(teacher=None)


def test_another_teacher_is_tapped_as_well(build, student):
    distiller = build()
    evaluate(distiller)
    distiller.teacher = other = net(6, 5, seed=9)
    expected = by_hand(answers(other), answers(student), distiller.feature_loss_layers[0])
    check(evaluate(distiller), expected)


def test_several_teachers_have_maps_of_their_own(build, student, teacher, tmp_path):
    other = net(2, 7, seed=4)
    distiller = build(
        teacher={"a": teacher, "b": other},
        teacher_losses={"a": [RelativeTeacher(), Hint(HINT)], "b": [AttentionMaps(ATTENTION)]},
        teacher_loss_weights={"a_relative": 0.3, "a_hint": 2, "b_attention": 100},
    )
    mine, (regressor,) = answers(student), distiller.feature_loss_layers
    of_a, of_b = by_hand(answers(teacher), mine, regressor), answers(other)
    own = attention(mine[1]["early"]), attention(mine[1]["late"])
    goals = attention(of_b[1]["early"]), attention(of_b[1]["late"])
    expected = {
        "triplet": of_a["triplet"],
        "a_relative": of_a["relative"],
        "a_hint": of_a["hint"],
        "b_attention": sum(mean((x - y) ** 2, 1.0) for x, y in zip(own, goals, strict=True)),
    }
    expected["loss"] = (
        expected["triplet"]
        + 0.3 * expected["a_relative"]
        + 2 * expected["a_hint"]
        + 100 * expected["b_attention"]
    )
    check(evaluate(distiller), expected)
    maps = {name: value.numpy() for name, value in of_b[1].items()}
    distiller.teacher["b"].features = None  # is not asked
    given = {"image": IMAGES, "teacher_features": {"b": maps}}
    check(evaluate(distiller, given), expected)


def test_hints_of_several_teachers_are_saved(build, teacher, tmp_path):
    distiller = build(
        teacher={"a": teacher, "b": net(2, 7, seed=4)},
        teacher_losses={"a": [Hint(HINT)], "b": [Hint(HINT)]},
        teacher_loss_weights=None,
    )
    distiller.train_on_batch(IMAGES, LABELS)
    assert [layer.output_shape[-1] for layer in distiller.feature_loss_layers] == [12, 4]
    distiller.save(tmp_path / "distiller.keras")
    loaded = keras.models.load_model(tmp_path / "distiller.keras")
    assert same(loaded.get_weights(), distiller.get_weights())
    loaded.teacher = dict(distiller.teacher)
    check(evaluate(loaded), evaluate(distiller))


def test_distillers_may_share_a_teacher(build, student, teacher):
    shared = as_teacher(teacher)
    first = build(teacher=shared)
    conv = AttentionMaps([("conv", "conv")])
    second = build(teacher=shared, teacher_losses=[conv], teacher_loss_weights=None)
    expected = by_hand(answers(teacher), answers(student), first.feature_loss_layers[0])
    check(evaluate(first), expected)
    assert evaluate(second)["attention"] > 0


def test_a_projected_teacher_shows_its_maps(build, student, teacher):
    pca = fit_pca(RANDOM.normal(size=(20, 5)), 3)
    distiller = build(teacher=project(as_teacher(teacher), pca))
    embedding, maps = answers(teacher)
    of_teacher = pca(embedding), maps
    expected = by_hand(of_teacher, answers(student), distiller.feature_loss_layers[0])
    check(evaluate(distiller), expected)


@pytest.mark.parametrize("kind", ["function", "table"])
def test_a_teacher_without_layers(build, kind):
    others = {
        "function": lambda images: tf.reduce_mean(tf.cast(images, "float32"), [1, 2]),
        "table": VectorTable(np.arange(2), np.eye(2)),
    }
    with pytest.raises(InputError) as error:
        build(teacher=others[kind])
    assert "`layers=early, late, trunk/late`: only a teacher that is a Keras" in str(error.value)


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        (("top", "early"), "`layer='top'` is not a layer of `teacher` 'net' with a feature m"),
        (("early", "top"), "`layer='top'` is not a layer of `student` 'net' with a feature m"),
        (("pooling", "early"), "`layer='pooling'` is not a layer of `teacher` 'net' with a f"),
    ],
)
def test_a_layer_that_is_not_there(build, pair, said):
    with pytest.raises(InputError) as error:
        build(teacher_losses=[AttentionMaps([pair])], teacher_loss_weights=None)
    assert said in str(error.value)
    assert "trunk/late" in str(error.value)


# Precision and devices


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(build, dtype_policy, policy):
    reference = evaluate(build())
    dtype_policy(policy)
    student, teacher = net(4, 3, seed=1), net(6, 5, seed=2)
    losses = [RelativeTeacher(), AttentionMaps(ATTENTION), Hint(HINT)]
    keras.utils.set_random_seed(3)
    distiller = Distiller(
        student,
        teacher=teacher,
        task_loss=BatchHardTriplet(0.2),
        teacher_losses=losses,
        teacher_loss_weights=WEIGHTS,
    )
    distiller.compile(keras.optimizers.Adam(1e-2), run_eagerly=True)
    loss_is_scaled = isinstance(distiller.optimizer, keras.optimizers.LossScaleOptimizer)
    assert loss_is_scaled == (policy == "mixed_float16")
    assert distiller.student.get_layer("early").compute_dtype == policy.removeprefix("mixed_")
    check(evaluate(distiller), reference, rtol=0.05)
    totals = []
    for _ in range(5):
        distiller.reset_metrics()
        logs = distiller.train_on_batch(IMAGES, LABELS, return_dict=True)
        assert np.isfinite(list(logs.values())).all()
        totals.append(logs["loss"])
    assert totals[-1] < totals[0]
    assert {weight.dtype for weight in distiller.weights} == {"float32"}
    assert all(np.isfinite(weight).all() for weight in distiller.get_weights())


DEVICES = """
import json

import keras
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from keras_distill import Distiller, RelativeTeacher
from keras_distill.losses.attention_maps import AttentionMaps
from keras_distill.losses.hint import Hint

random = np.random.default_rng(0)
images = random.integers(0, 256, (32, 8, 8, 3), dtype="uint8")
batches = tf.data.Dataset.from_tensor_slices((images, np.arange(32) % 4)).batch(16)


def net(seed):
    keras.utils.set_random_seed(seed)
    image = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(image)
    x = keras.layers.Conv2D(4, 3, strides=2, activation="tanh", name="conv")(x)
    return keras.Model(image, keras.layers.Dense(4)(keras.layers.Flatten()(x)))


def train(strategy, **options):
    pairs = [("conv", "conv")]
    with strategy.scope():
        student = net(0)
        distiller = Distiller(
            student,
            teacher=net(1),
            teacher_losses=[AttentionMaps(pairs), RelativeTeacher(), Hint(pairs)],
            teacher_loss_weights={"relative": 0, "hint": 0},  # are no means over rows
        )
        distiller.compile(keras.optimizers.SGD(0.1, momentum=0.9), **options)
    (regressor,) = distiller.feature_loss_layers
    before = regressor.get_weights()
    history = distiller.fit(batches, epochs=2, shuffle=False, verbose=0).history
    moved = [bool((a != b).any()) for a, b in zip(regressor.get_weights(), before)]
    return student.get_weights(), history, moved


two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
expected, history, _ = train(tf.distribute.get_strategy(), run_eagerly=True)
weights, two_history, statistics = train(two)
moved = float(np.abs(expected[0] - net(0).get_weights()[0]).max())
apart = float(max(np.abs(w - e).max() for w, e in zip(weights, expected)))
print(json.dumps([two.num_replicas_in_sync, moved, apart, statistics]))
print(json.dumps([history, two_history]))
"""


def test_two_replicas(run_warm_python):
    sizes, histories = map(json.loads, run_warm_python(DEVICES).splitlines()[-2:])
    replicas, moved, apart, statistics = sizes
    assert replicas == 2
    # With the mean over rows, two replicas of 8 take the step of one of 16.
    assert apart < 1e-6 < 1e-4 < moved
    assert statistics == [False, False, False, True, True]
    alone, mirrored = histories
    assert sorted(mirrored) == ["attention", "hint", "loss", "relative"]
    for name in ("loss", "attention"):
        np.testing.assert_allclose(mirrored[name], alone[name], rtol=1e-5)
    assert np.isfinite([*mirrored["hint"], *mirrored["relative"]]).all()
    np.testing.assert_allclose(mirrored["hint"], alone["hint"], rtol=0.3)
