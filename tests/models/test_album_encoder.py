import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.errors import InputError
from keras_distill.models.album_classifier import build_album_classifier
from keras_distill.models.album_encoder import AlbumEncoder
from keras_distill.models.label_names import find_labels

GOLDEN = Path(__file__).parents[1] / "golden"
SMALL = {"layers": 2, "heads": 2, "mlp_dim": 12}


def set_torch_weights(encoder, golden):
    """Gives an encoder the weights of PyTorch's modules."""
    encoder.class_token.assign(golden["w__cls_token"])
    if encoder.position_table is not None:
        encoder.position_table.assign(golden["w__pos_embed"])
    encoder.norm.set_weights(
        [golden[f"w__transformer_enc__norm__{kind}"] for kind in ("weight", "bias")]
    )
    dim, heads = golden["w__cls_token"].shape[-1], encoder.heads
    for place, block in enumerate(encoder.blocks):

        def of(name, place=place):
            return golden[f"w__transformer_enc__layers__{place}__{name}"]

        weights = []
        stacked = zip(
            np.split(of("self_attn__in_proj_weight"), 3),
            np.split(of("self_attn__in_proj_bias"), 3),
            strict=True,
        )
        for kernel, bias in stacked:
            weights += [kernel.T.reshape(dim, heads, -1), bias.reshape(heads, -1)]
        weights.append(of("self_attn__out_proj__weight").T.reshape(heads, -1, dim))
        block.attention.set_weights([*weights, of("self_attn__out_proj__bias")])
        for layer, name in ((block.hidden, "linear1"), (block.back, "linear2")):
            layer.set_weights([of(f"{name}__weight").T, of(f"{name}__bias")])
        for layer, name in ((block.attention_norm, "norm1"), (block.mlp_norm, "norm2")):
            layer.set_weights([of(f"{name}__weight"), of(f"{name}__bias")])


@pytest.mark.parametrize("positions", [0, 1])
def test_reference(positions):
    golden = np.load(GOLDEN / f"peta__taggregate_pos{positions}.npz")
    params = json.loads(str(golden["params_json"]))
    encoder = AlbumEncoder(
        params["n_layers"],
        params["nhead"],
        params["dim_feedforward"],
        positions=params["clip_length"] * positions,
    )
    x = golden["x"].reshape(-1, params["clip_length"], params["embed_dim"])
    encoder.build(x.shape)
    set_torch_weights(encoder, golden)
    for mask in (None, np.ones(x.shape[:2], bool)):
        album, attention = encoder(x, mask=mask)
        np.testing.assert_allclose(album, golden["out_f64"], rtol=1e-4, atol=1e-5)
        expected = golden["attention_f64"][:, 0, 1:]
        np.testing.assert_allclose(attention, expected, rtol=1e-4, atol=1e-6)


def test_defaults_are_those_of_the_published_code():
    config = AlbumEncoder().get_config()
    published = {"layers": 6, "heads": 8, "mlp_dim": 2048, "dropout": 0.1, "norm_first": False}
    assert published.items() <= config.items()


@pytest.fixture(params=[False, True], ids=["post", "pre"])
def encoder(request):
    keras.utils.set_random_seed(0)
    return AlbumEncoder(**SMALL, norm_first=request.param)


@pytest.fixture(scope="module")
def vectors():
    return np.float32(np.random.default_rng(0).normal(size=(3, 5, 8)))


def test_the_order_of_images_does_not_count(encoder, vectors):
    album, attention = encoder(vectors)
    order = [3, 1, 4, 0, 2]
    other, moved = encoder(vectors[:, order])
    np.testing.assert_allclose(other, album, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(moved, attention.numpy()[:, order], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_positions_tell_the_order(vectors):
    keras.utils.set_random_seed(0)
    encoder = AlbumEncoder(**SMALL, positions=6)
    album, _ = encoder(vectors)
    encoder.position_table.assign(np.random.default_rng(0).normal(size=(1, 7, 8)))
    other, _ = encoder(vectors)
    turned, _ = encoder(vectors[:, ::-1])
    assert np.abs(other - album).max() > 1e-2
    assert np.abs(other - turned).max() > 1e-2


@pytest.mark.parametrize("positions", [0, 7])
def test_masked_images_do_not_exist(encoder, vectors, positions):
    if positions:
        encoder = AlbumEncoder(**SMALL, positions=positions)
    padded = np.concatenate([vectors, np.full((3, 2, 8), np.nan, np.float32)], axis=1)
    mask = np.array([[1] * 5 + [0] * 2] * 3)
    mask[1, 3] = 0
    album, attention = encoder(padded, mask=mask)
    alone, own = encoder(vectors[[0, 2]])
    np.testing.assert_allclose(album.numpy()[[0, 2]], alone, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(attention.numpy()[[0, 2], :5], own, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(attention.numpy()[mask == 0], 0)
    if not positions:
        kept, _ = encoder(vectors[[1]][:, [0, 1, 2, 4]])
        np.testing.assert_allclose(album.numpy()[[1]], kept, rtol=1e-4, atol=1e-5)


def test_attention_and_the_class_token_add_up_to_one(encoder, vectors):
    _, attention = encoder(vectors)
    assert attention.shape == (3, 5)
    assert attention.dtype == "float32"
    assert np.all(attention > 0)
    assert np.all(np.sum(attention, axis=1) < 1)


def test_an_empty_album_is_finite(encoder, vectors):
    with tf.GradientTape() as tape:
        album, attention = encoder(vectors, mask=np.zeros((3, 5)), training=True)
        total = tf.reduce_sum(tf.square(album))
    assert np.isfinite(album).all()
    np.testing.assert_array_equal(attention, 0)
    for gradient in tape.gradient(total, encoder.trainable_variables):
        assert np.isfinite(tf.convert_to_tensor(gradient)).all()


def test_dropout_is_for_training_alone(encoder, vectors):
    same, again = encoder(vectors)[0], encoder(vectors, training=False)[0]
    np.testing.assert_array_equal(same, again)
    assert np.abs(encoder(vectors, training=True)[0] - same).max() > 1e-3


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision(vectors, dtype_policy, policy):
    keras.utils.set_random_seed(0)
    expected, _ = (encoder := AlbumEncoder(**SMALL))(vectors)
    dtype_policy(policy)
    half = AlbumEncoder(**SMALL)
    half.build(vectors.shape)
    half.set_weights(encoder.get_weights())
    mask = np.array([[1, 1, 1, 1, 0]] * 3)
    album, attention = half(vectors, mask=mask)
    assert album.dtype == policy.removeprefix("mixed_")
    assert attention.dtype == "float32"
    np.testing.assert_allclose(tf.cast(half(vectors)[0], "float32"), expected, rtol=0.1, atol=0.1)
    np.testing.assert_array_equal(attention[:, 4], 0)


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["TensorFlow", pytest.param("XLA", marks=pytest.mark.slow)])
def test_graph_of_albums_of_any_size(encoder, vectors, compiler):
    encoder.build(vectors.shape)
    signature = [tf.TensorSpec([None, None, 8]), tf.TensorSpec([None, None], tf.bool)]
    run = tf.function(
        lambda x, mask: encoder(x, mask=mask),
        input_signature=signature,
        jit_compile=compiler == "XLA",
    )
    for count in (1, 4):
        part, mask = vectors[:2, :count], np.ones((2, count), bool)
        for got, expected in zip(run(part, mask), encoder(part, mask=mask), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": 0}, "`layers=0` must be positive"),
        ({"heads": 0}, "`heads=0` must be positive"),
        ({"mlp_dim": 0}, "`mlp_dim=0` must be positive"),
        ({"dropout": 1.0}, "`dropout=1.0` must be from 0 to below 1"),
        ({"positions": -1}, "`positions=-1` must be a number of images"),
        ({"heads": 3}, "`heads=3` does not divide the width 8"),
        ({"positions": 4}, "`positions=4` are too few for albums of 5 images"),
    ],
)
def test_unusable_arguments(arguments, message, vectors):
    with pytest.raises(InputError, match=message):
        AlbumEncoder(**{**SMALL, **arguments})(vectors)


def test_vectors_without_albums():
    with pytest.raises(InputError, match=r"`vectors` of shape \(4, 8\) must be"):
        AlbumEncoder(**SMALL)(np.ones((4, 8)))


@pytest.mark.slow
@pytest.mark.parametrize("positions", [0, 9])
def test_classifier_of_albums_is_saved_and_loaded(vectors, tmp_path, run_warm_python, positions):
    model = build_album_classifier(
        ["birthday", "hiking"], 8, AlbumEncoder(**SMALL, positions=positions, norm_first=True)
    )
    inputs = {"vectors": vectors, "mask": np.array([[1, 1, 1, 1, 0]] * 3, np.float32)}
    outputs = model(inputs)
    assert {name: tuple(tensor.shape) for name, tensor in outputs.items()} == {
        "logits": (3, 2),
        "attention": (3, 5),
    }
    model.save(tmp_path / "album.keras")
    np.savez(tmp_path / "inputs.npz", **inputs)
    code = """
import sys
from pathlib import Path
import keras
import numpy as np
from keras_distill import find_labels
from keras_distill.models.loading import load_model

folder = Path(sys.argv[1])
model = load_model(folder / "album.keras")
outputs = model(dict(np.load(folder / "inputs.npz")))
assert find_labels(model).names == ("birthday", "hiking")
np.savez(folder / "outputs.npz", **{name: tensor.numpy() for name, tensor in outputs.items()})
"""
    run_warm_python(code, tmp_path)
    loaded = np.load(tmp_path / "outputs.npz")
    for name, tensor in outputs.items():
        np.testing.assert_allclose(loaded[name], tensor, rtol=1e-5, atol=1e-6)
    assert find_labels(model).activation == "sigmoid"
