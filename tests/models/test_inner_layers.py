import keras
import pytest

from keras_distill.errors import InputError
from keras_distill.models.backbones import build_backbone
from keras_distill.models.embedder import build_embedder
from keras_distill.models.inner_layers import find_path, layer_paths, matching_stages, stage_ends

ENDS = {
    "mobilenet": {
        2: "conv_pw_1_relu",
        4: "conv_pw_3_relu",
        8: "conv_pw_5_relu",
        16: "conv_pw_11_relu",
        32: "conv_pw_13_relu",
    },
    "mobilenet_v2": {
        2: "block_1_expand_relu",
        4: "block_3_expand_relu",
        8: "block_6_expand_relu",
        16: "block_13_expand_relu",
        32: "out_relu",
    },
    "resnet50": {
        2: "conv1_relu",
        4: "conv2_block3_out",
        8: "conv3_block4_out",
        16: "conv4_block6_out",
        32: "conv5_block3_out",
    },
}


@pytest.fixture(scope="module")
def backbones():
    return {name: build_backbone(name, image_size=32, weights="none") for name in ENDS}


class Opaque(keras.Model):
    """A model of Python code, into which nobody can look."""

    def __init__(self):
        super().__init__(name="opaque")
        self.conv = keras.layers.Conv2D(2, 1, name="hidden")

    def call(self, x):
        return self.conv(x)


@pytest.fixture(scope="module")
def nested():
    """Models within a model, in which two layers are called `conv` and two `relu`."""

    def part(name):
        image = keras.Input((8, 8, 3))
        return keras.Model(image, keras.layers.Conv2D(3, 3, name="conv")(image), name=name)

    image = keras.Input((10, 10, 3), name="image")
    x = keras.layers.ZeroPadding2D(((0, 0), (0, 0)), name="padding")(image)
    x = keras.layers.Cropping2D(1, name="relu")(x)
    x = part("first")(x)
    x = keras.layers.ZeroPadding2D(1, name="pad")(x)
    sequence = [keras.Input((8, 8, 3)), part("second"), keras.layers.ReLU(name="relu")]
    x = keras.Sequential(sequence, name="sequence")(x)
    x = Opaque()(x)
    x = keras.layers.GlobalAveragePooling2D(name="pooling")(x)
    x = keras.layers.Dense(4, name="head")(x)
    x = keras.layers.Reshape((2, 2), name="matrix")(x)
    return keras.Model(image, x, name="outer")


# Ways and names


def test_ways_lead_into_the_models_within(nested):
    assert list(layer_paths(nested)) == [
        "padding",
        "relu",
        "first",
        "first/conv",
        "pad",
        "sequence",
        "sequence/second",
        "sequence/second/conv",
        "sequence/relu",
        "opaque",
        "pooling",
        "head",
    ]
    found = layer_paths(nested)["sequence/second/conv"]
    assert found is nested.get_layer("sequence").get_layer("second").get_layer("conv")


@pytest.mark.parametrize(
    ("layer", "path"),
    [
        ("head", "head"),
        ("second", "sequence/second"),
        ("second/conv", "sequence/second/conv"),
        ("sequence/second/conv", "sequence/second/conv"),
        ("first/conv", "first/conv"),
        ("relu", "relu"),  # is a path itself
        ("sequence/relu", "sequence/relu"),
    ],
)
def test_a_layer_is_found_by_its_name_or_path(nested, layer, path):
    assert find_path(nested, layer) == path


def test_ambiguous_name_lists_the_paths(nested):
    with pytest.raises(InputError) as error:
        find_path(nested, "conv")
    assert str(error.value) == (
        "`layer='conv'` is ambiguous in `model` 'outer'; give one of first/conv, "
        "sequence/second/conv."
    )


@pytest.mark.parametrize("layer", ["conv1", "onv", "", "matrix", "image", "hidden", "outer"])
def test_wrong_name_lists_the_layers(nested, layer):
    with pytest.raises(InputError) as error:
        find_path(nested, layer)
    assert str(error.value) == (
        f"`layer={layer!r}` is not a layer of `model` 'outer' with a vector or a feature map; "
        f"these are {', '.join(layer_paths(nested))}."
    )


def test_wrong_name_lists_the_last_of_many_layers(backbones):
    with pytest.raises(InputError) as error:
        find_path(backbones["mobilenet"], "top")
    last = list(layer_paths(backbones["mobilenet"]))[-20:]
    assert str(error.value).endswith(f"; its last ones are {', '.join(last)}.")


def test_a_vector_is_no_map(nested):
    find = {"maps_only": True}
    assert find_path(nested, "sequence/relu", **find) == "sequence/relu"
    with pytest.raises(InputError) as error:
        find_path(nested, "pooling", **find)
    assert "'pooling'` is not a layer of `model` 'outer' with a feature map" in str(error.value)
    assert str(error.value).endswith("sequence/relu, opaque.")


# Stages


@pytest.mark.parametrize("name", ENDS)
def test_ends_of_the_stages(backbones, name):
    assert stage_ends(backbones[name]) == ENDS[name]


@pytest.mark.parametrize(
    ("name", "strides"),
    [
        ("mobilenet_v3_small", [2, 4, 8, 16, 32]),
        ("efficientnet_v2_b0", [2, 4, 8, 16, 32]),
        ("convnext_tiny", [4, 8, 16, 32]),
    ],
)
@pytest.mark.parametrize("size", [32, 64])
def test_branches_and_padding_are_no_stages(name, strides, size):
    backbone = build_backbone(name, image_size=size, weights="none")
    ends, paths = stage_ends(backbone), layer_paths(backbone)
    assert list(ends) == strides
    order = list(paths)
    for stride, path in ends.items():
        assert paths[path].output.shape[1:3] == (size // stride, size // stride)
        later = [paths[p] for p in order[order.index(path) + 1 :]]
        sizes = [
            layer.output.shape[1]
            for layer in later
            if len(layer.output.shape) == 4 and not isinstance(layer, keras.layers.ZeroPadding2D)
        ]
        assert max(sizes, default=0) < size // stride


def test_stages_of_an_embedder_lie_in_its_backbone():
    embedder = build_embedder("mobilenet", alpha=0.25, image_size=64, backbone_weights="none")
    expected = {stride: f"trunk/{name}" for stride, name in ENDS["mobilenet"].items()}
    assert stage_ends(embedder) == expected


@pytest.mark.quick(3)
@pytest.mark.parametrize("teacher", ENDS)
@pytest.mark.parametrize("student", ENDS)
def test_stages_match_by_their_stride(backbones, teacher, student):
    assert matching_stages(backbones[teacher], backbones[student]) == [
        (ENDS[teacher][stride], ENDS[student][stride]) for stride in (2, 4, 8, 16, 32)
    ]


def test_only_common_strides_match(backbones):
    image = keras.Input((48, 48, 3))
    x = keras.layers.Conv2D(2, 3, strides=4, padding="same", name="four")(image)
    x = keras.layers.MaxPooling2D(3, name="twelve")(x)
    x = keras.layers.Conv2D(2, 3, strides=2, padding="same", name="twentyfour")(x)
    x = keras.layers.GlobalAveragePooling2D(keepdims=True, name="fortyeight")(x)
    model = keras.Model(image, x)
    assert stage_ends(model) == {4: "four"}
    assert matching_stages(backbones["resnet50"], model) == [("conv2_block3_out", "four")]


def test_no_stage_in_common(backbones):
    image = keras.Input((9, 9, 3))
    x = keras.layers.Conv2D(2, 3, strides=3)(image)
    model = keras.Model(image, keras.layers.Flatten()(x), name="threes")
    with pytest.raises(InputError) as error:
        matching_stages(backbones["resnet50"], model)
    assert str(error.value) == (
        "`teacher` 'trunk' has stages of stride [2, 4, 8, 16, 32], `student` 'threes' of []: none "
        "in common; name the layers to compare."
    )


def test_a_model_of_any_size_has_no_stages():
    image = keras.Input((None, None, 3))
    assert stage_ends(keras.Model(image, keras.layers.Conv2D(2, 3, strides=2)(image))) == {}
