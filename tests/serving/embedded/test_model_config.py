from pathlib import Path

import pytest

from keras_distill.errors import InputError
from keras_distill.serving.embedded.model_config import read_config

OPERATORS = Path(__file__).parents[3] / "serving" / "config" / "models.config"


@pytest.fixture
def models(tmp_path):
    (tmp_path / "models" / "photos" / "1").mkdir(parents=True)
    return tmp_path / "models"


def test_the_operators_file_serves_a_folder_on_this_machine(models):
    (config,) = read_config(OPERATORS, models)
    assert (config.name, config.base_path) == ("photos", models / "photos")
    assert (config.versions, config.labels) == (frozenset({1}), {"stable": 1})
    assert config.folders() == {1: models / "photos" / "1"}


@pytest.mark.parametrize(
    ("policy", "newest", "versions"),
    [
        ("", 1, set()),
        ("latest {}", 1, set()),
        ("latest { num_versions: 3 }", 3, set()),
        ("all {}", None, set()),
        ("specific { versions: 2 versions: 5 }", 1, {2, 5}),
    ],
)
def test_policies(models, tmp_path, policy, newest, versions):
    file = tmp_path / "models.config"
    file.write_text(
        f'model_config_list {{ config {{ name: "birds" base_path: "{models}/photos" '
        f"model_version_policy {{ {policy} }} }} }}"
    )
    (config,) = read_config(file, None)
    assert (config.newest, config.versions) == (newest, versions)
    assert config.base_path == models / "photos"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no model_config_list"),
        ("nonsense", "ModelServerConfig"),
        ('model_config_list { config { base_path: "/x/photos" } }', "a config has no name"),
        (
            'model_config_list { config { name: "a" base_path: "/models/other" } }',
            "other' of 'a' is no absolute folder",
        ),
        ('model_config_list { config { name: "a" } }', "of 'a' is no absolute folder"),
        ('model_config_list { config { name: "a" base_path: "/x/.." } }', "names no folder"),
        ('model_config_list { config { name: "a" base_path: "/" } }', "names no folder"),
        (
            'model_config_list { config { name: "a" base_path: "photos" model_platform: "x" } }',
            "model_platform: 'x' is not 'tensorflow'",
        ),
        (
            'model_config_list { config { name: "a" base_path: "photos" '
            "model_version_policy { specific {} } } }",
            "specific of 'a' has no versions",
        ),
        (
            'model_config_list { config { name: "a" base_path: "photos" } '
            'config { name: "a" base_path: "photos" } }',
            "name: 'a' occurs twice",
        ),
    ],
)
def test_unusable_files(models, tmp_path, text, message):
    file = tmp_path / "models.config"
    file.write_text(text)
    with pytest.raises(InputError, match=rf"`file=.*` cannot be used: .*{message}"):
        read_config(file, models)


def test_relative_paths_need_a_folder(models, tmp_path, monkeypatch):
    monkeypatch.chdir(models)
    file = tmp_path / "models.config"
    file.write_text('model_config_list { config { name: "a" base_path: "photos" } }')
    with pytest.raises(InputError, match="no absolute folder"):
        read_config(file, None)
