"""Descriptions of clusters: what Ray's launcher and KubeRay would make of them, as far as that is known."""

from __future__ import annotations

import copy
import functools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from raytune_gp.execution.placement import Node, fits
from raytune_gp.execution.resources import check_resources
from raytune_gp.runfile.plan import read_plan

ROOT = Path(__file__).parent.parent
KUBERAY = ROOT / "deploy" / "kuberay"


@pytest.fixture
def cluster() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    return found


def pinned(package: str) -> str:
    [version] = re.findall(rf"^{package}==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M)
    return str(version)


# --- Ray's cluster launcher ---


def test_ray_takes_the_cluster_file(cluster: dict[str, Any]) -> None:
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(copy.deepcopy(cluster)))
    with pytest.raises(ValidationError):
        validate_config(prepare_config({**cluster, "max_worker": 2}))
    kinds = cluster["available_node_types"]
    least = sum(kind.get("min_workers", 0) for kind in kinds.values())
    most = sum(kind.get("max_workers", 0) for kind in kinds.values())
    assert least <= cluster["max_workers"] <= most


def test_ray_takes_what_is_other_on_google_cloud(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    [block] = re.findall(
        r"```yaml\n(provider:.*?)```", (ROOT / "docs" / "clusters.md").read_text(), re.DOTALL
    )
    other = yaml.safe_load(block)
    assert other["available_node_types"].keys() == cluster["available_node_types"].keys()
    kinds = {
        name: {**kind, **other["available_node_types"][name]}
        for name, kind in cluster["available_node_types"].items()
    }
    validate_config(prepare_config({**cluster, **other, "available_node_types": kinds}))


@pytest.mark.parametrize(
    ("resources", "kind"),
    [
        ({"cpu": 1}, "cpu_worker"),
        ({"cpu": 8, "gpu": 1}, "gpu_worker"),
        ({"cpu": 4, "gpu": 0.5}, "gpu_worker"),
        ({"cpu": 8, "gpu": 1, "spot": 1}, "spot_gpu_worker"),
    ],
)
def test_which_nodes_ray_would_start(cluster: dict[str, Any], resources: dict[str, Any], kind: str) -> None:
    """Two trials that wait; by the function that Ray's autoscaler asks."""
    from ray.autoscaler._private import resource_demand_scheduler as ray_scheduler
    from ray.autoscaler._private.node_provider_availability_tracker import NodeAvailabilitySummary

    names = {"cpu": "CPU", "gpu": "GPU"}
    asked = {names.get(name, name): amount for name, amount in check_resources(resources).items()}
    scorer = functools.partial(
        ray_scheduler._default_utilization_scorer, node_availability_summary=NodeAvailabilitySummary({})
    )
    started, unmet = ray_scheduler.get_nodes_for(
        cluster["available_node_types"], {}, "head", cluster["max_workers"], [asked] * 2, scorer
    )
    assert set(started) == {kind}
    assert not unmet


def test_no_trial_fits_on_the_head_and_spot_nodes_are_known_as_such(cluster: dict[str, Any]) -> None:
    kinds = cluster["available_node_types"]
    assert fits({"cpu": 1}, Node(kinds["head"]["resources"])) == 0
    spot = {name for name, kind in kinds.items() if "InstanceMarketOptions" in kind["node_config"]}
    labelled = {n for n, k in kinds.items() if k.get("labels", {}).get("ray.io/market-type") == "spot"}
    assert spot == labelled == {"spot_gpu_worker"}


def test_every_node_has_the_token_and_the_pinned_versions(cluster: dict[str, Any]) -> None:
    starts = [
        command
        for key in ("head_start_ray_commands", "worker_start_ray_commands")
        for command in cluster[key]
        if "ray start" in command
    ]
    assert len(starts) == 2
    assert all(command.startswith("RAY_AUTH_MODE=token ") for command in starts)
    assert "~/.ray/auth_token" in cluster["file_mounts"]
    assert any("-c ~/raytune-gp/constraints.txt" in command for command in cluster["setup_commands"])


# --- KubeRay ---


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((KUBERAY / name).read_text()))


def spec_of_cluster(name: str) -> dict[str, Any]:
    [found] = [d for d in documents(name) if d["apiVersion"] == "ray.io/v1"]
    spec: dict[str, Any] = found["spec"]
    return spec if found["kind"] == "RayCluster" else spec["rayClusterSpec"]


@pytest.mark.parametrize("name", ["raycluster.yaml", "rayjob.yaml"])
def test_a_manifest_holds_together(name: str) -> None:
    """What the pods need of each other and of this version.

    Fields are not checked here. Both files were held against the CRDs of KubeRay 1.6.2 and 1.7.0 (unknown
    fields refused), which are too large to be kept; do so again when fields change, with jsonschema and
    `ray-operator/config/crd/bases` of github.com/ray-project/kuberay.
    """
    spec = spec_of_cluster(name)
    claims = {d["metadata"]["name"] for d in documents("storage.yaml")}
    assert spec["rayVersion"] == pinned("ray")
    assert spec["authOptions"] == {"mode": "token", "secretName": "raytune-gp-token"}
    assert spec["enableInTreeAutoscaling"]
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0", "trials belong on the workers"
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        [container] = pod["containers"]
        assert container["image"] == "REGISTRY/raytune-gp:0.1.0"
        assert container["resources"]["requests"] == container["resources"]["limits"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts["storage"] == "/storage", "checkpoints must be where every pod finds them"
        assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}
        for volume in pod["volumes"]:
            assert (
                volume.get("persistentVolumeClaim", {"claimName": "raytune-gp-storage"})["claimName"]
                in claims
            )
    for group in spec["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        pod = group["template"]["spec"]
        environment = {e["name"]: e["value"] for e in pod["containers"][0]["env"]}
        drained = float(environment["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
        assert drained < pod["terminationGracePeriodSeconds"], "before Kubernetes kills the pod"
    [head] = spec["headGroupSpec"]["template"]["spec"]["containers"]
    assert head["env"] == [{"name": "RAYTUNE_JOURNAL", "value": "sqlite:////journal/journal.db"}]
    assert "/journal" in [mount["mountPath"] for mount in head["volumeMounts"]]


def test_the_image_is_of_the_versions_here() -> None:
    text = (KUBERAY / "Dockerfile").read_text()
    assert f"rayproject/ray:{pinned('ray')}-py311-gpu" in text
    [version] = re.findall(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.M)
    assert f"REGISTRY/raytune-gp:{version}" in text


def test_the_run_of_the_job_is_a_run_file_that_any_pod_can_take(tmp_path: Path) -> None:
    [config] = [d for d in documents("rayjob.yaml") if d["kind"] == "ConfigMap"]
    [(name, text)] = config["data"].items()
    (tmp_path / name).write_text(text)
    plan = read_plan(tmp_path / name)
    assert plan.storage_path.startswith("/storage/")
    [gpu] = spec_of_cluster("rayjob.yaml")["workerGroupSpecs"]
    limits = gpu["template"]["spec"]["containers"][0]["resources"]["limits"]
    node = {"CPU": float(limits["cpu"]), "GPU": float(limits["nvidia.com/gpu"])}
    assert fits(check_resources(plan.file.resources_per_trial or {}), Node(node)) == 1
    [job] = [d for d in documents("rayjob.yaml") if d["kind"] == "RayJob"]
    assert f"/etc/raytune-gp/{name}" in job["spec"]["entrypoint"]
    assert f"status {plan.name} " in job["spec"]["entrypoint"]
