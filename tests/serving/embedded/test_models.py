import grpc
import pytest
from tensorflow_serving.apis import model_pb2

from keras_distill.errors import InputError
from keras_distill.serving.embedded.model_config import ModelConfig, scan_models
from keras_distill.serving.embedded.models import Models
from keras_distill.serving.embedded.refusal import Refusal

CODES = grpc.StatusCode


class Version:
    def __init__(self, folder, name, version):
        self.place = (name, version)
        self.content = (folder / "saved_model.pb").read_text()


class World:
    """A folder of models, and what was loaded from it, in order."""

    def __init__(self, folder):
        self.folder = folder
        self.loads = []
        self.while_loading = lambda: None
        self.config = {}

    def put(self, version, name="birds", content="good"):
        folder = self.folder / name / str(version)
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_text(content)

    def remove(self, version, name="birds"):
        folder = self.folder / name / str(version)
        (folder / "saved_model.pb").unlink()
        folder.rmdir()

    def wanted(self):
        if not self.config:
            return scan_models(self.folder)
        return [ModelConfig("birds", self.folder / "birds", **self.config)]

    def load(self, folder, name, version):
        self.loads.append(version)
        self.while_loading()
        found = Version(folder, name, version)
        if found.content != "good":
            raise Refusal(CODES.INVALID_ARGUMENT, found.content)
        return found


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture
def models(world):
    return Models(world.wanted, world.load)


def version(models, name="birds", **choice):
    return models.find(model_pb2.ModelSpec(name=name, **choice)).place[1]


def states(models, name="birds"):
    return {number: state.state for number, state in models.states(name).items()}


def test_the_newest_version_is_served_and_the_new_is_loaded_before_the_old_goes(world, models):
    world.put(1)
    world.put("0006")
    world.put(".tmp-7-x")
    world.put("seven")
    models.refresh()
    assert models.available() == {"birds": [6]}
    seen = []
    world.while_loading = lambda: seen.append((states(models), version(models)))
    world.put(7)
    models.refresh()
    assert seen == [({6: "AVAILABLE", 7: "LOADING"}, 6)]
    assert states(models) == {6: "END", 7: "AVAILABLE"}
    models.refresh()
    assert world.loads == [6, 7]


def test_a_version_that_fails_ends_with_its_error_and_the_older_one_stays(world, models):
    world.put(1)
    models.refresh()
    world.put(2, content="no warm-up")
    for _ in range(3):
        models.refresh()
    failed = models.states("birds")[2]
    assert (failed.state, failed.code, failed.message) == ("END", 3, "no warm-up")
    assert version(models) == 1
    (world.folder / "birds" / "2" / "saved_model.pb").write_text("good")
    models.refresh()
    assert world.loads == [1, 2]  # a number that failed is not tried again
    world.put(3)
    models.refresh()
    assert states(models) == {1: "END", 2: "END", 3: "AVAILABLE"}
    world.remove(2)
    models.refresh()
    world.put(2)
    world.config = {"newest": 2}
    models.refresh()
    assert states(models) == {1: "END", 2: "AVAILABLE", 3: "AVAILABLE"}


def test_deleted_versions(world, models):
    world.put(1)
    world.put(2)
    models.refresh()
    world.remove(2)
    models.refresh()
    assert states(models) == {1: "AVAILABLE", 2: "END"}
    world.remove(1)
    models.refresh()
    assert states(models) == {1: "END", 2: "END"}
    with pytest.raises(Refusal, match=r"Servable not found for request: Latest\(birds\)"):
        version(models)


@pytest.mark.parametrize(
    ("config", "served"),
    [
        ({}, [4]),
        ({"newest": 2}, [3, 4]),
        ({"newest": None}, [1, 2, 3, 4]),
        ({"versions": frozenset({2, 3, 9})}, [2, 3]),
    ],
)
def test_policies(world, models, config, served):
    for number in range(1, 5):
        world.put(number)
    world.config = config
    models.refresh()
    assert models.available() == {"birds": served}
    assert version(models) == max(served)
    assert version(models, version={"value": served[0]}) == served[0]


def test_labels(world, models):
    for number in (1, 2):
        world.put(number)
    world.put(3, content="broken")
    world.config = {"newest": None, "labels": {"stable": 1, "canary": 2}}
    models.refresh()
    assert version(models, version_label="stable") == 1
    assert version(models, version_label="canary") == 2
    world.config["labels"] = {"stable": 2}
    models.refresh()
    assert version(models, version_label="stable") == 2
    with pytest.raises(Refusal, match="Unrecognized servable version label: canary"):
        version(models, version_label="canary")
    world.config["labels"] = {"stable": 3, "canary": 3}
    models.refresh()
    assert version(models, version_label="stable") == 2  # in use, and 3 is not available
    with pytest.raises(Refusal, match=r"Specific\(birds, 3\)") as refusal:
        version(models, version_label="canary")
    assert refusal.value.code is CODES.NOT_FOUND


def test_models_come_and_go(world, models):
    world.put(1)
    models.refresh()
    world.put(5, "fish")
    (world.folder / "notes").mkdir()
    models.refresh()
    assert models.available() == {"birds": [1], "fish": [5]}
    models.refresh(lambda: [ModelConfig("fish", world.folder / "fish")])
    models.refresh()
    assert models.available() == {"birds": [], "fish": [5]}
    assert states(models) == {1: "END"}
    with pytest.raises(Refusal, match=r"Latest\(birds\)"):
        version(models)


def test_a_configuration_that_cannot_be_used_changes_nothing(world, models):
    world.put(1)
    models.refresh()

    def broken():
        raise InputError("a typing error")

    with pytest.raises(InputError, match="a typing error"):
        models.refresh(broken)
    models.refresh()
    assert models.available() == {"birds": [1]}


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        ({}, CODES.INVALID_ARGUMENT, "ModelSpec has no name specified."),
        ({"name": "x"}, CODES.NOT_FOUND, "Servable not found for request: Latest(x)"),
        (
            {"name": "x", "version": {"value": 7}},
            CODES.NOT_FOUND,
            "Servable not found for request: Specific(x, 7)",
        ),
        (
            {"name": "x", "version_label": "y"},
            CODES.INVALID_ARGUMENT,
            "Unrecognized servable version label: y",
        ),
    ],
)
def test_missing_models_and_versions(models, spec, code, message):
    with pytest.raises(Refusal) as refusal:
        models.find(model_pb2.ModelSpec(**spec))
    assert (refusal.value.code, refusal.value.message) == (code, message)
