"""The Kubernetes example and the `ray up` example: valid by their schemas, and consistent across files."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from impasto_server.gateway import settings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "server" / "kubernetes"
RAY_CLUSTER = json.loads(Path(__file__).with_name("raycluster.schema.json").read_text("utf-8"))
KUBERNETES = "1.31"
"""The oldest version of Kubernetes for which the example is checked."""

Manifest = dict[str, Any]
Key = tuple[str, str]


def manifests() -> dict[Key, Manifest]:
    """All objects of the example by kind and name."""
    found: dict[Key, Manifest] = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        for manifest in yaml.safe_load_all(path.read_text("utf-8")):
            if manifest["kind"] == "Kustomization":
                continue
            key = (manifest["kind"], manifest["metadata"]["name"])
            assert key not in found, key
            found[key] = manifest
    return found


MANIFESTS = manifests()


def validate(manifest: Manifest) -> None:
    """Checks an object.

    Raises:
        jsonschema.ValidationError: a key is unknown or missing, or a value has the wrong type.
    """
    if manifest["kind"] != "RayCluster":
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        return
    jsonschema.Draft202012Validator(RAY_CLUSTER).validate(manifest)
    for group in groups(manifest):
        validate({"apiVersion": "v1", "kind": "PodTemplate", "template": group["template"]})
    options = manifest["spec"].get("autoscalerOptions", {})
    container = {"name": "autoscaler"} | {
        key: options[key] for key in ("resources", "securityContext", "env") if key in options
    }
    validate({"apiVersion": "v1", "kind": "PodTemplate", "template": {"spec": {"containers": [container]}}})


def groups(ray_cluster: Manifest) -> list[Manifest]:
    """The head and the groups of workers."""
    spec = ray_cluster["spec"]
    return [spec["headGroupSpec"], *spec.get("workerGroupSpecs", [])]


def pod_templates() -> Iterator[Manifest]:
    """The templates of all pods."""
    for (kind, _), manifest in MANIFESTS.items():
        if kind == "Deployment":
            yield manifest["spec"]["template"]
        if kind == "RayCluster":
            yield from (group["template"] for group in groups(manifest))


def gateway_pod() -> Manifest:
    """The pod of the gateway."""
    pod: Manifest = MANIFESTS["Deployment", "impasto-gateway"]["spec"]["template"]["spec"]
    return pod


def environment() -> dict[str, Any]:
    """The gateway's variables; None for one that a Secret gives."""
    return {entry["name"]: entry.get("value") for entry in gateway_pod()["containers"][0]["env"]}


def every(node: Any, key: str) -> Iterator[Any]:
    """All values of a key, at any depth."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == key:
                yield value
            yield from every(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from every(value, key)


@pytest.mark.parametrize("key", MANIFESTS, ids="/".join)
def test_every_object_is_valid(key: Key) -> None:
    validate(MANIFESTS[key])


HEAD = ("spec", "headGroupSpec", "template", "spec", "containers", 0)
WORKERS = ("spec", "workerGroupSpecs", 0)
GATEWAY = ("spec", "template", "spec", "containers", 0)


@pytest.mark.parametrize(
    ("key", "path", "value"),
    [
        pytest.param(("Deployment", "impasto-gateway"), (*GATEWAY, "livenesProbe"), {}, id="misspelt key"),
        pytest.param(("Deployment", "impasto-gateway"), (*GATEWAY, "image"), 1, id="wrong type"),
        pytest.param(("Deployment", "impasto-gateway"), (*GATEWAY, "name"), None, id="missing key"),
        pytest.param(
            ("RayCluster", "impasto-ray"), (*HEAD, "volumeMount"), [], id="misspelt key in Ray's pod"
        ),
        pytest.param(("RayCluster", "impasto-ray"), (*HEAD, "ports"), "6379", id="wrong type in Ray's pod"),
        pytest.param(("RayCluster", "impasto-ray"), (*HEAD, "name"), None, id="missing key in Ray's pod"),
        pytest.param(
            ("RayCluster", "impasto-ray"),
            ("spec", "autoscalerOptions", "resources", "request"),
            {},
            id="misspelt key of the autoscaler's container",
        ),
        pytest.param(("RayCluster", "impasto-ray"), (*WORKERS, "minReplica"), 1, id="misspelt key of Ray"),
        pytest.param(("RayCluster", "impasto-ray"), (*WORKERS, "maxReplicas"), "8", id="wrong type of Ray"),
        pytest.param(
            ("RayCluster", "impasto-ray"),
            (*WORKERS, "rayStartParams", "num-cpus"),
            4,
            id="number where Ray takes text",
        ),
        pytest.param(("RayCluster", "impasto-ray"), (*WORKERS, "groupName"), None, id="missing key of Ray"),
        pytest.param(("NetworkPolicy", "impasto-ray"), ("spec", "podSelectors"), {}, id="misspelt selector"),
        pytest.param(
            ("PersistentVolumeClaim", "impasto-data"), ("spec", "accessModes"), "x", id="text, not a list"
        ),
        pytest.param(("Service", "impasto"), ("spec", "ports", 0, "port"), None, id="port without a number"),
    ],
)
def test_an_object_with_a_mistake_is_refused(key: Key, path: tuple[str | int, ...], value: object) -> None:
    manifest = copy.deepcopy(MANIFESTS[key])
    node: Any = manifest
    for step in path[:-1]:
        node = node[step]
    if value is None:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        validate(manifest)


def test_every_secret_and_claim_that_is_named_exists() -> None:
    (ray_cluster,) = (name for kind, name in MANIFESTS if kind == "RayCluster")
    made_by_kuberay = {ray_cluster: {"auth_token"}}
    secrets = {
        name: set(manifest["stringData"]) for (kind, name), manifest in MANIFESTS.items() if kind == "Secret"
    } | made_by_kuberay
    everything = list(MANIFESTS.values())
    volumes = {name for volume in every(everything, "secret") for name in every(volume, "secretName")}
    assert volumes == {"impasto-tls", "impasto-tokens"}
    assert volumes <= set(secrets)
    for reference in every(everything, "secretKeyRef"):
        assert reference["key"] in secrets[reference["name"]]
    for claim in every(everything, "persistentVolumeClaim"):
        assert ("PersistentVolumeClaim", claim["claimName"]) in MANIFESTS


def test_files_of_settings_are_in_secrets_that_are_mounted() -> None:
    pod = gateway_pod()
    container = pod["containers"][0]
    mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    sources = {volume["name"]: volume.get("secret", {}).get("secretName") for volume in pod["volumes"]}
    for variable in ("IMPASTO_TLS_CERT", "IMPASTO_TLS_KEY", "IMPASTO_TOKENS_FILE"):
        path = Path(environment()[variable])
        secret = sources[mounted[str(path.parent)]]
        assert path.name in MANIFESTS["Secret", secret]["stringData"]


def test_every_mounted_volume_exists() -> None:
    for template in pod_templates():
        volumes = {volume["name"] for volume in template["spec"].get("volumes", [])}
        for container in template["spec"]["containers"]:
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes


def test_every_port_that_is_named_exists() -> None:
    for template in pod_templates():
        for container in template["spec"]["containers"]:
            ports = {port["name"] for port in container.get("ports", [])}
            for probe in every(container, "tcpSocket"):
                assert probe["port"] in ports
    ports = {port["name"] for port in gateway_pod()["containers"][0]["ports"]}
    assert {port["targetPort"] for port in MANIFESTS["Service", "impasto"]["spec"]["ports"]} <= ports
    policy = MANIFESTS["NetworkPolicy", "impasto-gateway"]["spec"]["ingress"]
    assert {port["port"] for rule in policy for port in rule["ports"]} <= ports


def test_every_selector_finds_pods() -> None:
    labels = [template["metadata"]["labels"] for template in pod_templates()]
    selectors = [MANIFESTS["Service", "impasto"]["spec"]["selector"]]
    selectors += every(list(MANIFESTS.values()), "matchLabels")
    assert len(selectors) > 4
    for selector in selectors:
        assert any(selector.items() <= of_pod.items() for of_pod in labels), selector


def test_all_pods_of_ray_and_the_gateway_have_a_network_policy() -> None:
    policies = [
        manifest["spec"]["podSelector"]["matchLabels"]
        for (kind, _), manifest in MANIFESTS.items()
        if kind == "NetworkPolicy"
    ]
    for template in pod_templates():
        assert any(policy.items() <= template["metadata"]["labels"].items() for policy in policies)


def test_every_setting_is_one_of_the_server_with_a_valid_value() -> None:
    given = {name: value for name, value in environment().items() if name.startswith("IMPASTO_")}
    known = {settings.variable(field) for field in settings.fields() if not field.metadata["hidden"]}
    assert given.keys() <= known
    settings.gather({}, given)


def test_ports_and_addresses_agree() -> None:
    port = gateway_pod()["containers"][0]["ports"][0]["containerPort"]
    assert port == settings.DEFAULT_PORT == MANIFESTS["Service", "impasto"]["spec"]["ports"][0]["port"]
    address = re.fullmatch(r"ray://(.+)-head-svc:(\d+)", environment()["IMPASTO_RAY"])
    assert address
    head = MANIFESTS["RayCluster", address[1]]["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert {"name": "client", "containerPort": int(address[2])} in head["ports"]
    workers = MANIFESTS["RayCluster", address[1]]["spec"]["workerGroupSpecs"][0]
    (raylet,) = workers["template"]["spec"]["containers"][0]["ports"]
    assert workers["rayStartParams"]["node-manager-port"] == str(raylet["containerPort"])


def test_a_machine_has_room_for_the_worker_and_there_are_as_many_machines_as_workers() -> None:
    given = settings.gather({}, {name: value for name, value in environment().items() if value is not None})
    assert given.ray_worker is not None
    group = MANIFESTS["RayCluster", "impasto-ray"]["spec"]["workerGroupSpecs"][0]
    resources = group["template"]["spec"]["containers"][0]["resources"]
    assert given.ray_worker.gpu <= float(resources["limits"]["nvidia.com/gpu"])
    assert given.ray_worker.cpu <= float(resources["requests"]["cpu"])
    assert given.ray_min_workers <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    assert given.ray_max_workers == group["maxReplicas"]


def test_a_pod_has_more_time_to_end_than_its_work_needs() -> None:
    given = settings.gather({}, {"IMPASTO_DRAIN": environment()["IMPASTO_DRAIN"]})
    assert gateway_pod()["terminationGracePeriodSeconds"] > given.drain + 10
    pod = MANIFESTS["RayCluster", "impasto-ray"]["spec"]["workerGroupSpecs"][0]["template"]["spec"]
    command = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1]
    deadline = re.search(r"--deadline-remaining-seconds (\d+)", command)
    assert deadline
    assert pod["terminationGracePeriodSeconds"] > int(deadline[1]) + 10


def test_all_pods_use_one_image_and_no_root() -> None:
    for template in pod_templates():
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True
        for container in template["spec"]["containers"]:
            assert container["image"] == "impasto"
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    user = re.search(r"--uid (\d+)", (ROOT / "server" / "Dockerfile").read_text("utf-8"))
    assert user
    assert {template["spec"]["securityContext"]["runAsUser"] for template in pod_templates()} == {
        int(user[1])
    }


def test_only_one_gateway_uses_the_data_folder() -> None:
    deployment = MANIFESTS["Deployment", "impasto-gateway"]["spec"]
    assert deployment["replicas"] == 1
    assert deployment["strategy"] == {"type": "Recreate"}


def test_the_service_sets_no_setting_in_any_pod() -> None:
    # Kubernetes sets IMPASTO_PORT for a service named "impasto", unless a pod declines.
    for template in pod_templates():
        assert template["spec"]["enableServiceLinks"] is False


def test_the_version_of_ray_is_the_same_everywhere() -> None:
    version = MANIFESTS["RayCluster", "impasto-ray"]["spec"]["rayVersion"]
    for path in (ROOT / "server" / "Dockerfile", FOLDER / "README.md"):
        assert re.findall(r"--build-arg RAY=(\S+)", path.read_text("utf-8")) == [version]


def test_kustomize_applies_every_file_but_the_secrets() -> None:
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text("utf-8"))
    assert kustomization.keys() == {"apiVersion", "kind", "namespace", "resources", "images"}
    files = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml", "secrets.example.yaml"}
    assert set(kustomization["resources"]) == files
    assert ("Namespace", kustomization["namespace"]) in MANIFESTS
    assert kustomization["images"][0]["name"] == "impasto"


def test_the_example_for_ray_up_is_valid() -> None:
    example = yaml.safe_load((ROOT / "server" / "ray-cluster.yaml").read_text("utf-8"))
    util = pytest.importorskip("ray.autoscaler._private.util", reason="Ray is not installed")
    util.validate_config(util.prepare_config(copy.deepcopy(example)))
    with pytest.raises(jsonschema.ValidationError):
        util.validate_config(util.prepare_config(example | {"head_start_ray_command": []}))
