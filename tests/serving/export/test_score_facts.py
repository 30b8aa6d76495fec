from keras_distill import ScoreScale, build_counter, build_scorer
from keras_distill.serving.export.bundle_facts import label_facts

TINY = {"alpha": 0.25, "image_size": 32, "backbone_weights": "none"}


def test_a_score_states_its_scale_and_other_outputs_nothing():
    scorer = build_scorer("mobilenet", **TINY, scale=ScoreScale(40.0, 12.5, False))
    assert label_facts(scorer, "score") == {
        "higher_is_better": False,
        "mean": 40.0,
        "deviation": 12.5,
    }
    counter = build_counter("mobilenet", **TINY)
    for output in ("density", "count"):
        assert label_facts(counter, output) == {}
