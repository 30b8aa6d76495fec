import keras
import numpy as np
import pytest

from keras_distill import (
    InputError,
    KnownSquaredError,
    ScoreScale,
    Supervised,
    add_score,
    build_counter,
    build_embedder,
    build_scorer,
    find_score_scale,
    with_open_size,
)

TINY = {"alpha": 0.25, "image_size": 64, "backbone_weights": "none"}


def images(height=64, width=64):
    return np.random.default_rng(0).integers(0, 256, (2, height, width, 3), np.uint8)


def counter():
    keras.utils.set_random_seed(0)
    return build_counter("mobilenet", **TINY, backbone_layer="conv_pw_11_relu")


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_outputs_are_float32_under_every_policy(dtype_policy, policy):
    dtype_policy(policy)
    for model in (build_scorer("mobilenet", **TINY), counter()):
        for output in model(images()).values():
            assert output.dtype == "float32"
            assert np.isfinite(output).all()


def test_a_saved_scorer_keeps_its_scale(tmp_path):
    scorer = build_scorer("mobilenet", **TINY, scale=ScoreScale(50.0, 10.0, False))
    scorer.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    scale = find_score_scale(loaded)
    assert (scale.mean, scale.deviation, scale.higher_is_better) == (50.0, 10.0, False)
    np.testing.assert_array_equal(loaded(images())["score"], scorer(images())["score"])
    assert loaded(images())["score"].shape == (2, 1)
    assert find_score_scale(counter()) is None


def test_a_scorer_on_an_embedder_shares_its_features():
    embedder = build_embedder("mobilenet", **TINY, embedding_dim=8)
    scorer = build_scorer(embedder, backbone_layer="pooling")
    scorer.get_layer("score_head").set_weights([np.ones((256, 1)), np.zeros(1)])
    pooled = keras.Model(embedder.input, embedder.get_layer("pooling").output)
    expected = np.asarray(pooled(images())).sum(1, keepdims=True)
    np.testing.assert_allclose(scorer(images())["score"], expected, rtol=1e-5)


def test_an_embedder_gets_a_score_and_keeps_its_vectors(tmp_path):
    embedder = build_embedder("mobilenet", **TINY, embedding_dim=8)
    before = embedder(images()).numpy()
    model = add_score(embedder, scale=ScoreScale(3.0))
    trained = Supervised(model, {"score": KnownSquaredError()})
    trained.compile(keras.optimizers.Adam(0.1))
    history = trained.fit(images(), np.float32([[1], [4]]), epochs=8, verbose=0).history["score"]
    assert history[-1] < history[0]
    model.save(tmp_path / "model.keras")
    found = keras.models.load_model(tmp_path / "model.keras")(images())
    np.testing.assert_array_equal(found["embedding"], before)
    assert found["score"].shape == (2, 1)
    with pytest.raises(InputError, match="is not a layer of it; it has"):
        add_score(embedder, layer="features")
    with pytest.raises(InputError, match="not an embedding alone"):
        add_score(model)


def test_the_count_is_the_sum_of_the_density():
    found = counter()(images())
    assert found["density"].shape == (2, 4, 4, 1)
    np.testing.assert_allclose(
        found["count"][:, 0], found["density"].numpy().sum((1, 2, 3)), rtol=1e-5
    )


def test_open_sizes_give_the_same_at_the_former_size_and_maps_of_any():
    model = counter()
    opened = with_open_size(model)
    for name, expected in model(images()).items():
        np.testing.assert_allclose(opened(images())[name], expected, rtol=1e-5, atol=1e-6)
    found = opened(images(96, 160))
    assert found["density"].shape == (2, 6, 10, 1)
    scorer = with_open_size(build_scorer("mobilenet", **TINY))
    assert scorer(images(96, 160))["score"].shape == (2, 1)
    model.get_layer("density").set_weights(
        [w * 0 for w in model.get_layer("density").get_weights()]
    )
    assert np.abs(opened(images())["density"]).max() > 0  # weights of its own


def test_a_model_that_flattens_is_refused():
    image = keras.Input((64, 64, 3), name="image")
    flat = keras.layers.Dense(2)(keras.layers.Flatten()(image))
    with pytest.raises(InputError, match="cannot take images of another size than 64"):
        with_open_size(keras.Model(image, {"score": flat}))


def test_unusable_arguments():
    for arguments in ((np.nan, 1.0), (0.0, 0.0), (0.0, -1.0)):
        with pytest.raises(InputError, match=r"ScoreScale: `mean=.* above 0"):
            ScoreScale(*arguments)
    embedder = build_embedder("mobilenet", **TINY, embedding_dim=8)
    with pytest.raises(InputError, match="a density map needs a feature map"):
        build_counter(embedder, backbone_layer="pooling")
