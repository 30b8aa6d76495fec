import itertools

import pytest
import yaml

# What `tensorflow_model_server --help` lists, as far as an embedder may want it.
KNOWN = {
    "allow_version_labels_for_unavailable_models",
    "enable_grpc_healthcheck_service",
    "file_system_poll_wait_seconds",
    "grpc_channel_arguments",
    "grpc_max_threads",
    "max_num_load_retries",
    "model_config_file",
    "model_config_file_poll_wait_seconds",
    "monitoring_config_file",
    "port",
    "rest_api_port",
    "rest_api_timeout_in_ms",
    "ssl_config_file",
    "tensorflow_intra_op_parallelism",
    "xla_cpu_compilation_enabled",
}
# REST reads `float_val` whether it is filled or not: it answered 200 with uninitialised memory, and
# 200 images ended the process.
FORBIDDEN = "enable_serialization_as_tensor_content"


@pytest.mark.parametrize("where", ["kubernetes", "systemd"])
def test_one_set_of_flags(flag_lists, where):
    assert flag_lists[where] == flag_lists["compose"]


def test_flags_are_the_servers(flag_lists, flags):
    assert flags.keys() <= KNOWN
    assert len(flags) == len(flag_lists["compose"])


def test_no_file_sets_the_flag_that_leaks_memory(serving, flags):
    assert FORBIDDEN not in flags
    for file in serving.rglob("*"):
        if file.is_file():
            lines = file.read_text().splitlines()
            settings = [line.partition("#")[0] for line in lines if file.suffix != ".md"]
            assert FORBIDDEN not in "\n".join(settings), file
            assert f"{FORBIDDEN}=true" not in "\n".join(lines), file
    assert f"# Never --{FORBIDDEN}" in (serving / "docker-compose.yml").read_text()


def test_flags_that_observation_asks_for(flags):
    assert flags["max_num_load_retries"] == "0"  # else a bad version blocks those after it
    assert int(flags["grpc_max_threads"]) >= 256  # else bursts are refused
    assert flags["allow_version_labels_for_unavailable_models"] == "true"  # else no start
    assert int(flags["model_config_file_poll_wait_seconds"]) > 0  # else no label moves
    assert not any("batching" in name for name in flags)


def test_each_flag_is_explained_or_plain(serving):
    """In docker-compose.yml, by a comment above or beside."""
    lines = [line.strip() for line in (serving / "docker-compose.yml").read_text().splitlines()]
    for above, line in itertools.pairwise(lines):
        if line.startswith("- --") and "config_file=" not in line and "timeout" not in line:
            assert " # " in line or above.startswith("#"), line


def test_config_files_are_there_wherever_the_server_runs(serving, flags, compose, pod, unit):
    named = {value for name, value in flags.items() if name.endswith("_file")}
    assert named == {"/config/models.config", "/config/monitoring.config"}
    for path in named:
        assert (serving / path.removeprefix("/")).is_file()
    mounted = {
        "compose": {mount["target"] for mount in compose["services"]["serving"]["volumes"]},
        "kubernetes": {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]},
        "systemd": {pair.split(":")[1] for pair in unit["BindReadOnlyPaths"][0].split()},
    }
    for targets in mounted.values():
        assert {"/config", "/models"} <= targets
    kustomization = yaml.safe_load((serving / "kustomization.yaml").read_text())
    (generated,) = kustomization["configMapGenerator"]
    assert {f"/{file}" for file in generated["files"]} == named
    assert {volume.get("configMap", {}).get("name") for volume in pod["volumes"]} >= {
        generated["name"]
    }


def test_ports_agree(flags, compose, pod, kubernetes):
    ports = {"grpc": int(flags["port"]), "rest": int(flags["rest_api_port"])}
    (container,) = pod["containers"]
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == ports
    service = kubernetes["Service"]["spec"]["ports"]
    assert {port["targetPort"]: port["port"] for port in service} == ports
    assert container["livenessProbe"]["grpc"]["port"] == ports["grpc"]
    assert compose["services"]["serving"]["ports"] == [
        f"127.0.0.1:{port}:{port}" for port in ports.values()
    ]
