import re

import yaml


def test_kustomization_names_files_that_exist(serving):
    text = (serving / "kustomization.yaml").read_text()
    named = re.findall(r"^  (?:# )?- (kubernetes/\S+)$", text, re.M)
    assert sorted(named) == sorted(
        str(path.relative_to(serving)) for path in (serving / "kubernetes").iterdir()
    )
    # A label that moves must not restart the servers.
    assert yaml.safe_load(text)["generatorOptions"] == {"disableNameSuffixHash": True}


def test_objects_find_each_other(kubernetes, pod):
    labels = kubernetes["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert kubernetes["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert kubernetes["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert kubernetes["Service"]["spec"]["selector"] == labels
    (spread,) = pod["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == labels
    target = kubernetes["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert target["name"] == kubernetes["Deployment"]["metadata"]["name"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = pod["containers"][0]["volumeMounts"]
    assert {mount["name"] for mount in mounts} == volumes.keys()
    claim = volumes["models"]["persistentVolumeClaim"]["claimName"]
    assert claim == kubernetes["PersistentVolumeClaim"]["metadata"]["name"]


def test_ready_is_a_stable_version_that_is_available(pod, models):
    (container,) = pod["containers"]
    (model,) = models
    assert "stable" in models[model].version_labels
    for probe in ("startupProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        assert asked == {"path": f"/v1/models/{model}/labels/stable/metadata", "port": "rest"}


def test_clients_have_left_before_the_server_is_stopped(pod, flags):
    asleep = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    (age,) = re.findall(r"max_connection_age_ms=(\d+)", flags["grpc_channel_arguments"])
    assert int(age) / 1000 * 1.1 < asleep < pod["terminationGracePeriodSeconds"]


def test_the_server_may_do_little(pod):
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    writable = [mount for mount in container["volumeMounts"] if not mount.get("readOnly")]
    assert [mount["mountPath"] for mount in writable] == ["/tmp"]
    assert "memory" in container["resources"]["limits"]


def test_image_is_the_one_of_compose(pod, compose):
    assert pod["containers"][0]["image"] == compose["services"]["serving"]["image"]
