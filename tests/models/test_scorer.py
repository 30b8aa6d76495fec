import keras
import numpy as np
import pytest

from keras_distill import (
    InputError,
    KnownSquaredError,
    ScoreScale,
    Supervised,
    add_score,
    build_embedder,
    build_scorer,
    find_score_scale,
)

TINY = {"alpha": 0.25, "image_size": 64, "backbone_weights": "none"}


def images(height=64, width=64):
    return np.random.default_rng(0).integers(0, 256, (2, height, width, 3), np.uint8)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_outputs_are_float32_under_every_policy(dtype_policy, policy):
    dtype_policy(policy)
    output = build_scorer("mobilenet", **TINY)(images())["score"]
    assert output.dtype == "float32"
    assert np.isfinite(output).all()


@pytest.mark.slow
def test_a_saved_scorer_keeps_its_scale(tmp_path):
    scorer = build_scorer("mobilenet", **TINY, scale=ScoreScale(50.0, 10.0, False))
    scorer.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    scale = find_score_scale(loaded)
    assert (scale.mean, scale.deviation, scale.higher_is_better) == (50.0, 10.0, False)
    np.testing.assert_array_equal(loaded(images())["score"], scorer(images())["score"])
    assert loaded(images())["score"].shape == (2, 1)
    assert find_score_scale(build_embedder("mobilenet", **TINY, embedding_dim=8)) is None


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


def test_unusable_scales():
    for arguments in ((np.nan, 1.0), (0.0, 0.0), (0.0, -1.0)):
        with pytest.raises(InputError, match=r"ScoreScale: `mean=.* above 0"):
            ScoreScale(*arguments)
