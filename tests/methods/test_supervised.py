"""`Supervised`: named losses on named outputs, trained by `fit`."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_distill.errors import InputError
from keras_distill.losses.absolute_teacher import AbsoluteTeacher
from keras_distill.losses.arc_face import ArcFace
from keras_distill.losses.batch_hard_triplet import BatchHardTriplet
from keras_distill.losses.label_distillation import LabelDistillation
from keras_distill.losses.projector import Projector
from keras_distill.losses.ranking.all_pairs_ranking_hinge import AllPairsRankingHinge
from keras_distill.losses.ranking.known_squared_error import KnownSquaredError
from keras_distill.losses.teacher_references import TeacherReferences
from keras_distill.methods.loss_scaling import CountingLossScale
from keras_distill.methods.supervised import Supervised
from keras_distill.models.album_classifier import build_album_classifier
from keras_distill.models.album_encoder import AlbumEncoder
from keras_distill.models.frozen_batch_norm import batch_norms, freeze_batch_norm, keeps_statistics
from keras_distill.models.label_names import LabelNames, find_labels
from keras_distill.teachers.teacher import Teacher

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
TARGETS = {
    "logits": RANDOM.integers(0, 2, (12, 4), dtype=np.int8),
    "score": np.linspace(-1, 1, 12, dtype=np.float32)[:, None],
    "embedding": np.arange(12) // 2,
}
LOSSES = {
    "logits": keras.losses.BinaryCrossentropy(from_logits=True),
    "score": keras.losses.MeanSquaredError(),
    "embedding": BatchHardTriplet(margin=0.2),
}
WEIGHTS = {"logits": 0.5, "score": 2.0}


def network(seed=0, outputs=("logits", "score", "embedding")):
    keras.utils.set_random_seed(seed)
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Rescaling(1 / 127.5, -1)(image)
    x = keras.layers.Conv2D(4, 3, kernel_regularizer=keras.regularizers.L2(0.1), name="conv")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    logits = keras.layers.Dense(4, dtype="float32")(x)
    unit = keras.layers.UnitNormalization(dtype="float32")
    every = {
        "logits": LabelNames(["a", "b", "c", "d"])(logits),
        "score": keras.layers.Dense(1, dtype="float32")(x),
        "embedding": unit(keras.layers.Dense(4)(x)),
    }
    return keras.Model(image, {name: every[name] for name in outputs})


def supervised(optimizer="sgd", losses=LOSSES, weights=WEIGHTS, eagerly=False, **options):
    # Keras warns of variables without gradients: all outputs have a loss.
    outputs = list(dict.fromkeys([*losses, *options.get("teacher_losses", {})]))
    model = Supervised(network(outputs=outputs), losses, loss_weights=weights, **options)
    model.compile(optimizer, run_eagerly=eagerly)
    return model


def by_hand(product, rows=slice(None), training=False, sample_weight=None):
    outputs = product(IMAGES[rows], training=training)
    values = {
        name: loss(TARGETS[name][rows], outputs[name], sample_weight)
        for name, loss in LOSSES.items()
    }
    penalty = 0.1 * ops.sum(ops.square(product.get_layer("conv").kernel))
    total = sum(WEIGHTS.get(name, 1.0) * value for name, value in values.items()) + penalty
    return values | {"loss": total}


@pytest.mark.parametrize("kind", ["arrays", "dicts"])
def test_fit(kind):
    model = supervised(keras.optimizers.Adam(0.01))
    before = model.product.get_weights()
    batches = tf.data.Dataset.from_tensor_slices((IMAGES, TARGETS)).batch(6)
    if kind == "dicts":
        batches = batches.map(lambda images, targets: ({"image": images}, targets))
    history = model.fit(batches, epochs=4, verbose=0).history
    assert sorted(history) == ["embedding", "logits", "loss", "score"]
    assert history["loss"][-1] < history["loss"][0]
    after = model.product.get_weights()
    assert all(np.any(a != b) for a, b in zip(after, before, strict=True))


def test_a_step_is_that_of_a_gradient_tape():
    model, product = supervised(keras.optimizers.SGD(0.1)), network()
    product.get_layer("norm").momentum = 0.1  # that of the first step
    logs = model.train_on_batch(IMAGES, TARGETS, return_dict=True)
    with tf.GradientTape() as tape:
        values = by_hand(product, training=True)
    gradients = tape.gradient(values["loss"], product.trainable_variables)
    keras.optimizers.SGD(0.1).apply(gradients, product.trainable_variables)
    for weight, other in zip(model.product.get_weights(), product.get_weights(), strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-4, atol=1e-5)
    for name, value in values.items():
        np.testing.assert_allclose(logs[name], value, rtol=1e-5)


def test_evaluate_reports_means_over_rows_and_changes_nothing():
    model = supervised()
    before = model.get_weights()
    logs = model.evaluate(IMAGES, TARGETS, batch_size=8, verbose=0, return_dict=True)
    first, last = by_hand(model.product, slice(8)), by_hand(model.product, slice(8, 12))
    for name, value in logs.items():
        np.testing.assert_allclose(value, (8 * first[name] + 4 * last[name]) / 12, rtol=1e-5)
    for weight, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, other)


def test_sample_weights():
    weight = np.linspace(0, 2, 12, dtype=np.float32)
    logs = supervised().test_on_batch(IMAGES, TARGETS, weight, return_dict=True)
    for name, value in by_hand(network(), sample_weight=weight).items():
        np.testing.assert_allclose(logs[name], value, rtol=1e-5)
    weighted = tf.data.Dataset.from_tensors((IMAGES, TARGETS, {"score": weight}))
    logs = supervised().evaluate(weighted, verbose=0, return_dict=True)
    plain, weighted = by_hand(network()), by_hand(network(), sample_weight=weight)
    for name, values in (("score", weighted), ("logits", plain), ("embedding", plain)):
        np.testing.assert_allclose(logs[name], values[name], rtol=1e-5)


def test_targets_of_a_single_loss_need_no_name():
    model = supervised(losses={"logits": LOSSES["logits"]}, weights=None)
    logs = model.test_on_batch(IMAGES, TARGETS["logits"], return_dict=True)
    np.testing.assert_allclose(logs["logits"], by_hand(network())["logits"], rtol=1e-5)


def test_metrics_of_keras_by_output():
    model = Supervised(network(outputs=["logits"]), {"logits": LOSSES["logits"]})
    model.compile("sgd", metrics={"logits": [keras.metrics.BinaryAccuracy(threshold=0.0)]})
    history = model.fit(IMAGES, TARGETS["logits"], epochs=2, verbose=0).history
    (name,) = set(history) - {"loss", "logits"}
    logs = model.evaluate(IMAGES, TARGETS["logits"], verbose=0, return_dict=True)
    outputs = model.product(IMAGES)["logits"]
    accuracy = np.mean((outputs.numpy() > 0) == TARGETS["logits"])
    assert logs[name] == pytest.approx(accuracy)


def test_a_product_of_one_vector():
    product = network(outputs=["embedding"])
    plain = keras.Model(product.input, product.output["embedding"])
    model = Supervised(plain, {"embedding": LOSSES["embedding"]})
    model.compile("sgd")
    logs = model.test_on_batch(IMAGES, TARGETS["embedding"], return_dict=True)
    np.testing.assert_allclose(logs["embedding"], by_hand(network())["embedding"], rtol=1e-4)
    assert model.predict(IMAGES, verbose=0).shape == (12, 4)


def test_variables_of_a_loss_are_trained_and_saved(tmp_path):
    loss = ArcFace(classes=range(6), margin=0.1, scale=4.0)
    model = Supervised(network(outputs=["embedding"]), {"embedding": loss})
    model.compile(keras.optimizers.SGD(0.5))
    (layer,) = model.loss_layers
    before = layer.get_weights()
    model.fit(IMAGES, TARGETS["embedding"], verbose=0)
    assert np.any(layer.get_weights()[0] != before[0])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for weight, other in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)


@pytest.mark.slow
def test_albums_have_two_inputs():
    keras.utils.set_random_seed(0)
    product = build_album_classifier(["a", "b"], 6, AlbumEncoder(1, 2, 8, dropout=0.0))
    x = {"vectors": RANDOM.normal(size=(8, 3, 6)), "mask": RANDOM.integers(0, 2, (8, 3))}
    model = Supervised(product, {"logits": LOSSES["logits"]})
    model.compile(keras.optimizers.Adam(0.01))
    batches = tf.data.Dataset.from_tensor_slices((x, TARGETS["logits"][:8, :2])).batch(8)
    history = model.fit(batches, epochs=30, verbose=0).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    outputs = model.predict(x, verbose=0)
    assert {name: rows.shape for name, rows in outputs.items()} == {
        "logits": (8, 2),
        "attention": (8, 3),
    }
    with pytest.raises(InputError, match="dicts with words, but the product takes "):
        model.train_on_batch({"words": IMAGES}, TARGETS["logits"][:, :2])


@pytest.mark.parametrize("source", ["model", "named", "teacher", "callable", "batch"])
def test_a_teacher_of_logits(source):
    taught = network(seed=1, outputs=["logits"])
    single = keras.Model(taught.input, taught.output["logits"])
    teacher = {
        "model": taught,
        "named": single,
        "teacher": Teacher(lambda images: single(images, training=False)),
        "callable": lambda images: {"logits": single(images), "other": images},
        "batch": None,
    }[source]
    model = supervised(
        losses={"logits": LOSSES["logits"]},
        weights={"logits_label_distillation": 3.0},
        teacher=teacher,
        teacher_losses={"logits": [LabelDistillation(2.0)]},
        eagerly=source != "model",
    )
    x = {"image": IMAGES}
    if source == "batch":
        x["teacher_logits"] = taught(IMAGES)["logits"].numpy()
    logs = model.test_on_batch(x, TARGETS["logits"], return_dict=True)
    values = by_hand(network())
    distilled = LabelDistillation(2.0)(taught(IMAGES)["logits"], network()(IMAGES)["logits"])
    np.testing.assert_allclose(logs["logits_label_distillation"], distilled, rtol=1e-4)
    penalty = 0.1 * np.sum(np.square(network().get_layer("conv").kernel))
    np.testing.assert_allclose(logs["loss"], values["logits"] + 3 * distilled + penalty, rtol=1e-5)
    before = taught.get_weights()
    model.train_on_batch(x, TARGETS["logits"])
    for weight, other in zip(taught.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, other)
    own = {id(variable) for variable in model.variables}
    assert not own & {id(variable) for variable in taught.variables}


def test_a_teacher_alone_and_of_other_images():
    taught = network(seed=1, outputs=["logits", "embedding"])
    model = Supervised(
        network(outputs=["logits", "embedding"]),
        {},
        teacher=taught,
        teacher_losses={
            "embedding": [AbsoluteTeacher(), Projector()],
            "logits": [keras.distillation.LogitsDistillation(loss=keras.losses.KLDivergence())],
        },
    )
    model.compile(keras.optimizers.SGD(0.05))
    others = IMAGES[::-1]
    x = {"image": IMAGES, "teacher_image": others}
    logs = model.test_on_batch(x, return_dict=True)
    value = AbsoluteTeacher()(taught(others)["embedding"], network()(IMAGES)["embedding"])
    np.testing.assert_allclose(logs["embedding_absolute"], value, rtol=1e-4)
    assert logs.keys() == {
        *("loss", "embedding_absolute", "embedding_projector", "logits_logits_distillation"),
    }
    for _ in range(20):
        after = model.train_on_batch(x, return_dict=True)
    assert after["embedding_absolute"] < logs["embedding_absolute"]


def test_a_teacher_can_be_replaced_and_is_not_saved(tmp_path):
    losses = {"logits": [LabelDistillation()]}
    product = network(outputs=["logits"])
    model = Supervised(product, {}, teacher=network(1, ["logits"]), teacher_losses=losses)
    model.compile("sgd")
    first = model.test_on_batch({"image": IMAGES}, return_dict=True)["loss"]
    model.teacher = network(outputs=["logits"])  # as the product
    own = model.test_on_batch({"image": IMAGES}, return_dict=True)["logits_label_distillation"]
    assert own == pytest.approx(0, abs=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    with pytest.raises(InputError, match=r"losses of logits but no teacher, .* 'teacher_logits'"):
        loaded.test_on_batch({"image": IMAGES})
    loaded.teacher = network(1, ["logits"])
    again = loaded.test_on_batch({"image": IMAGES}, return_dict=True)["loss"]
    assert again == pytest.approx(first, rel=1e-5)


def test_a_teacher_without_the_output():
    model = Supervised(
        network(),
        {},
        teacher=network(1, ["logits", "score"]),
        teacher_losses={"embedding": [AbsoluteTeacher()]},
    )
    model.compile("sgd", run_eagerly=True)
    with pytest.raises(InputError, match="`teacher` returns logits, score, and no embedding; give"):
        model.test_on_batch({"image": IMAGES})


def test_the_observer_sees_training_steps_alone():
    model, seen = supervised(), []
    model.compile("sgd", run_eagerly=True)
    model.observer = lambda labels, outputs: seen.append((labels, outputs))
    model.test_on_batch(IMAGES, TARGETS)
    assert not seen
    model.train_on_batch(IMAGES, TARGETS)
    ((labels, outputs),) = seen
    np.testing.assert_array_equal(labels["logits"], TARGETS["logits"])
    assert outputs["score"].shape == (12, 1)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(dtype_policy, policy):
    dtype_policy(policy)
    model = supervised(keras.optimizers.Adam(0.01))
    assert isinstance(model.optimizer, CountingLossScale) == (policy == "mixed_float16")
    history = model.fit(IMAGES, TARGETS, epochs=8, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert all(rows.dtype == np.float32 for rows in model.predict(IMAGES, verbose=0).values())


def test_saving_and_exporting(tmp_path):
    model = supervised(keras.optimizers.SGD(0.1, momentum=0.9))
    freeze_batch_norm(model.product)
    model.fit(IMAGES, TARGETS, batch_size=6, shuffle=False, verbose=0)
    model.save(tmp_path / "method.keras")
    loaded = keras.models.load_model(tmp_path / "method.keras")
    assert all(keeps_statistics(layer) for layer in batch_norms(loaded.product))
    assert find_labels(loaded.product).names == ("a", "b", "c", "d")
    for each in (model, loaded):
        each.fit(IMAGES, TARGETS, batch_size=6, shuffle=False, verbose=0)
    for weight, other in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)
    model.export(tmp_path / "exported", verbose=False)
    signature = tf.saved_model.load(tmp_path / "exported").signatures["serving_default"]
    assert signature(tf.constant(IMAGES, tf.float32)).keys() == {"logits", "score", "embedding"}


def test_predict_is_that_of_the_product():
    model = supervised()
    outputs, expected = model.predict(IMAGES, verbose=0), model.product(IMAGES)
    for name, value in expected.items():
        np.testing.assert_allclose(outputs[name], value, rtol=1e-5, atol=1e-6)


class OwnBatchLoss(keras.losses.Loss):
    """A loss that counts the rows of other replicas when it is called."""

    def __call__(self, targets, outputs, sample_weight=None):
        raise AssertionError("the rows are those of all replicas already")

    def batch_loss(self, targets, outputs, sample_weight=None):
        assert sample_weight is None
        return ops.sum(outputs * ops.cast(targets, "float32"))


def test_a_loss_with_a_batch_loss():
    model = Supervised(network(), {"logits": OwnBatchLoss(reduction="none")})
    model.compile("sgd", run_eagerly=True)
    logs = model.test_on_batch(IMAGES, TARGETS["logits"], return_dict=True)
    expected = np.sum(model.product(IMAGES)["logits"] * TARGETS["logits"])
    np.testing.assert_allclose(logs["logits"], expected, rtol=1e-4)


REPLICAS = """
import json
import sys
import keras
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
sys.path.insert(0, sys.argv[1])
import test_supervised as t
from keras_distill import LabelDistillation, Supervised

losses = {
    "logits": t.LOSSES["logits"],
    "score": keras.losses.MeanSquaredError(reduction="sum"),
}

def run(strategy):
    targets = {name: t.TARGETS[name] for name in losses}
    weight = np.linspace(0, 2, 12, dtype="float32")
    with strategy.scope():
        model = Supervised(
            t.network(outputs=["logits", "score"]), losses, loss_weights=t.WEIGHTS,
            teacher=t.network(1, ["logits"]), teacher_losses={"logits": [LabelDistillation()]},
        )
        for layer in t.batch_norms(model.product):
            t.freeze_batch_norm(layer)
        model.compile(keras.optimizers.SGD(0.002))
    batches = tf.data.Dataset.from_tensor_slices((t.IMAGES, targets, weight)).batch(7)
    history = model.fit(batches, epochs=2, verbose=0).history
    tested = model.evaluate(batches, verbose=0, return_dict=True)
    return history, tested, model.product.get_weights()

one = run(tf.distribute.get_strategy())
two = run(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
apart = max(float(np.abs(a - b).max()) for a, b in zip(one[2], two[2], strict=True))
print(json.dumps({"logs": [one[:2], two[:2]], "apart": apart}))
"""


@pytest.mark.slow
def test_two_replicas_train_as_one(run_python):
    result = json.loads(run_python(REPLICAS, Path(__file__).parent).splitlines()[-1])
    one, two = result["logs"]
    for first, second in zip(one, two, strict=True):
        assert first.keys() == second.keys()
        for name, value in first.items():
            np.testing.assert_allclose(second[name], value, rtol=1e-4, err_msg=name)
    assert result["apart"] < 1e-5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"product": "model.keras"}, r"`product='model.keras'` is not a Keras model"),
        ({"product": keras.Sequential([keras.layers.Dense(2)])}, "has no named outputs; it must"),
        ({"losses": LOSSES["logits"]}, "`losses` must be a dict by the names of the product's"),
        ({"losses": {"tags": LOSSES["logits"]}}, "`losses` names tags, but the product returns"),
        ({"losses": {}}, "Supervised needs `losses`, or `teacher_losses`, or both"),
        ({"losses": {"logits": "mse"}}, r"`losses\['logits'\]` is 'mse', not a loss on targets"),
        ({"losses": {"logits": LabelDistillation()}}, "not a loss on targets and outputs"),
        (
            {"losses": {"logits": keras.losses.MeanSquaredError(reduction="none")}},
            r"`losses\['logits'\]`: mean_squared_error has no reduction",
        ),
        (
            {"losses": {"embedding": TeacherReferences(BatchHardTriplet(0.2))}},
            r"needs more than an output \(batch, dim\); train it by Distiller",
        ),
        ({"loss_weights": {"tags": 1}}, r"`loss_weights={'tags': 1}` must be a dict of numbers"),
        ({"loss_weights": {"logits": np.nan}}, r"`loss_weights\['logits'\]=nan` must be a finite"),
        ({"loss_weights": {"logits": "2"}}, "must be a finite number"),
        ({"teacher": network()}, "`teacher` is given, but no `teacher_losses`: it would teach"),
        ({"teacher_losses": {"tags": []}}, "`teacher_losses` names tags, but the product"),
        ({"teacher_losses": {"logits": LabelDistillation()}}, "must be a list of losses, such as"),
        ({"teacher_losses": {"logits": [BatchHardTriplet()]}}, "not a loss against a teacher's ou"),
        (
            {"teacher_losses": {"logits": [LabelDistillation()]}, "teacher": "runs/a"},
            "`teacher='runs/a'` is neither a Keras model nor callable",
        ),
    ],
)
def test_unusable_arguments(arguments, message):
    given = {"product": network(), "losses": {"logits": LOSSES["logits"]}, **arguments}
    with pytest.raises(InputError, match=message):
        Supervised(**given)


def test_missing_targets():
    model = supervised(eagerly=True)
    for targets in (None, TARGETS["logits"], {"logits": TARGETS["logits"]}):
        with pytest.raises(InputError, match=r"no targets of .*score, embedding; give fit a dict"):
            model.test_on_batch(IMAGES, targets)


def test_compile_takes_no_loss():
    with pytest.raises(InputError, match=r"^Supervised.compile\(loss='mse'\) would not be used; c"):
        supervised().compile("sgd", "mse")
    with pytest.raises(InputError, match=r"give Supervised loss_weights={'logits': ...}\.$"):
        supervised().compile("sgd", loss_weights=[1])


def test_batches_without_rows_are_refused():
    model = supervised()
    model.compile("sgd", run_eagerly=True)
    with pytest.raises(tf.errors.InvalidArgumentError, match="a training batch has no"):
        model.train_on_batch(IMAGES[:0], {name: t[:0] for name, t in TARGETS.items()})


@pytest.mark.slow
def test_a_stream_is_a_further_loss_on_an_output(tmp_path):
    ranked = AllPairsRankingHinge(1.0)
    losses, streams = {"score": KnownSquaredError(), "ranked": ranked}, {"ranked": "score"}
    model = Supervised(
        network(outputs=["score"]), losses, loss_weights={"ranked": 3.0}, streams=streams
    )
    model.compile("sgd")
    scores = np.where(np.arange(12)[:, None] < 5, TARGETS["score"], np.nan)
    groups = np.stack([np.arange(12) % 4, np.where(np.arange(12) < 5, -1, np.arange(12) // 4)], 1)
    found = model.product(IMAGES)["score"]
    expected = {
        "score": float(np.mean((scores[:5] - found[:5]) ** 2)),
        "ranked": float(ranked(groups[:, 0], found, groups[:, 1])),
    }
    targets = {"score": scores, "ranked": groups}
    logs = model.evaluate(IMAGES, targets, batch_size=12, verbose=0, return_dict=True)
    for name, value in expected.items():
        assert logs[name] == pytest.approx(value, rel=1e-4)
    model.fit(IMAGES, targets, batch_size=12, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.streams == streams
    np.testing.assert_allclose(
        loaded.evaluate(IMAGES, targets, batch_size=12, verbose=0),
        model.evaluate(IMAGES, targets, batch_size=12, verbose=0),
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    ("streams", "message"),
    [
        ({"ranked": "scores"}, "must be a name of its own, of a loss on"),
        ({"score": "score"}, "must be a name of its own"),
        ({"other": "score"}, "has no such loss; it has score, ranked"),
        (["ranked"], "must be a dict from the name of a loss to an output"),
    ],
)
def test_unusable_streams(streams, message):
    losses = {"score": KnownSquaredError(), "ranked": AllPairsRankingHinge()}
    with pytest.raises(InputError, match=message):
        Supervised(network(outputs=["score"]), losses, streams=streams)
