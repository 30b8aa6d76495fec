import re

import yaml
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelServerConfig


def assert_labels_are_of_versions(model):
    versions = set(model.model_version_policy.specific.versions)
    assert set(model.version_labels.values()) <= versions
    assert "stable" in model.version_labels


def test_models_config(models):
    (model,) = models.values()
    assert model.name == "photos"  # as in the README
    assert model.base_path == f"/models/{model.name}"
    assert model.model_platform == "tensorflow"
    assert_labels_are_of_versions(model)


def readme_block(serving, language, word):
    blocks = re.findall(
        rf"^ *```{language}\n(.*?)^ *```", (serving / "README.md").read_text(), re.S | re.M
    )
    (block,) = (block for block in blocks if word in block)
    return block


def test_canary_of_the_readme(serving):
    model = text_format.Parse(readme_block(serving, "textproto", "canary"), ModelConfig())
    assert_labels_are_of_versions(model)
    assert dict(model.version_labels) == {"stable": 1, "canary": 2}


def test_label_is_moved_by_the_command_of_the_readme(serving, tmp_path, run_shell):
    config = tmp_path / "serving" / "config" / "models.config"
    config.parent.mkdir(parents=True)
    policy = "model_version_policy { specific { versions: 1 } }"
    text = (serving / "config" / "models.config").read_text()
    assert policy in text
    label = 'version_labels { key: "stable" value: 1 }'
    config.write_text(
        text.replace(policy, "").replace(label, readme_block(serving, "textproto", "canary"))
    )
    run_shell(readme_block(serving, "sh", "sed "), tmp_path)
    (model,) = text_format.Parse(config.read_text(), ModelServerConfig()).model_config_list.config
    assert dict(model.version_labels) == {"stable": 2, "canary": 2}
    assert_labels_are_of_versions(model)
    assert list(config.parent.iterdir()) == [config]


def test_monitoring_config(serving, read_text_proto, kubernetes):
    config = read_text_proto(serving / "config" / "monitoring.config", "MonitoringConfig")
    assert config.prometheus_config.enable
    scraped = yaml.safe_load((serving / "monitoring" / "prometheus.yml").read_text())
    (job,) = scraped["scrape_configs"]
    annotations = kubernetes["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert job["metrics_path"] == config.prometheus_config.path
    assert annotations["prometheus.io/path"] == config.prometheus_config.path


def test_batching_config(serving, read_text_proto):
    config = read_text_proto(serving / "config" / "batching.config", "BatchingParameters")
    sizes = list(config.allowed_batch_sizes)
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == config.max_batch_size.value
    assert config.num_batch_threads.value >= 1
