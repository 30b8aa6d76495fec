import inspect

import pytest

from keras_distill import build_embedder
from keras_distill.models.former_arguments import former_arguments


def test_a_former_name_is_taken_with_a_warning():
    small = {"image_size": 32, "alpha": 0.25}
    with pytest.warns(FutureWarning) as warned:
        embedder = build_embedder(
            trunk="mobilenet", trunk_weights="none", trunk_layer="conv_pw_1_relu", **small
        )
    assert [str(each.message) for each in warned] == [
        f"build_embedder: trunk{end} is called backbone{end} now."
        for end in ("", "_weights", "_layer")
    ]
    assert embedder.get_layer("trunk").output_shape == (None, 16, 16, 16)
    assert "backbone_weights" in inspect.signature(build_embedder).parameters


def test_present_names_do_not_warn():
    @former_arguments(old="new")
    def double(new):
        return 2 * new

    assert (double(3), double(new=4)) == (6, 8)
    with pytest.raises(TypeError):
        double(3, unknown=4)
