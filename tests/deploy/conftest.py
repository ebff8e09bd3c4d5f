"""What `kubectl kustomize` would print, for the few features that deploy/kubernetes uses."""

from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def build(folder):
    """Return the objects of a kustomization as a list of mappings."""
    jsonpatch = pytest.importorskip("jsonpatch")
    plan = yaml.safe_load((folder / "kustomization.yaml").read_text())
    known = {"apiVersion", "kind", "resources", "patches"}
    assert set(plan) <= known, f"{folder} uses what this reader does not know"
    found = []
    for name in plan["resources"]:
        place = folder / name
        found += build(place) if place.is_dir() else list(yaml.safe_load_all(place.read_text()))
    for patch in plan.get("patches", []):
        target = patch["target"]
        chosen = [
            index
            for index, item in enumerate(found)
            if (item["kind"], item["metadata"]["name"]) == (target["kind"], target["name"])
        ]
        assert len(chosen) == 1, f"{target} must name one object"
        operations = yaml.safe_load((folder / patch["path"]).read_text())
        found[chosen[0]] = jsonpatch.apply_patch(found[chosen[0]], operations)
    return found


@pytest.fixture
def deploy():
    return DEPLOY


@pytest.fixture
def kustomize():
    """Build a variant of deploy/kubernetes/overlays."""
    return lambda variant: build(DEPLOY / "kubernetes" / "overlays" / variant)


@pytest.fixture
def operator_pods():
    """Let the operator's own code turn a DaskJob into what Kubernetes is given."""
    controller = pytest.importorskip("dask_kubernetes.operator.controller.controller")

    def render(job, namespace="lab"):
        name, cluster = job["metadata"]["name"], job["spec"]["cluster"]["spec"]
        labels = job["metadata"]["labels"]
        scheduler, worker = cluster["scheduler"], cluster["worker"]
        return {
            "scheduler": controller.build_scheduler_deployment_spec(
                name, scheduler["spec"], {}, labels
            ),
            "service": controller.build_scheduler_service_spec(
                name, scheduler["service"], {}, labels
            ),
            "worker": controller.build_worker_deployment_spec(
                f"{name}-default", namespace, name, "0a1b", worker["spec"], {}, labels
            ),
            "job": controller.build_job_pod_spec(
                name, name, namespace, job["spec"]["job"]["spec"], {}, labels
            ),
        }

    return render
