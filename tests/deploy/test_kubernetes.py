"""Manifests are valid for Kubernetes and the operator, safe, and agree with the code."""

import copy
import re
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from dask.utils import parse_bytes

from distres.engine import kubernetes
from distres.engine.cluster import open_executor
from distres.engine.kubernetes import build_cluster
from distres.engine.local import SETTINGS
from distres.engine.profiles import Profile
from distres.engine.sites import worker_environment
from distres.errors import ClusterError, InputError, UsageError

VARIANTS = ["pvc", "s3", "gpu"]
OURS = "kubernetes.dask.org/v1"


@pytest.fixture(scope="module")
def operator_schemas():
    """Schemas of the operator's own objects, by kind."""
    spec = find_spec("dask_kubernetes")
    if spec is None:
        pytest.skip("the extra 'kubernetes' is not installed")
    folder = Path(spec.origin).parent / "operator/deployment/helm/dask-kubernetes-operator/crds"
    found = {}
    for file in folder.glob("*.yaml"):
        definition = yaml.load(
            file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        )
        schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        found[definition["spec"]["names"]["kind"]] = strict(schema)
    return found


def strict(schema):
    """Make an OpenAPI schema one of JSON Schema that refuses names it does not know."""
    if isinstance(schema, list):
        return [strict(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items() if key != "nullable"}
    if made.pop("x-kubernetes-int-or-string", False):
        made.pop("anyOf", None)
        made["type"] = ["integer", "string"]
    keeps = made.get("x-kubernetes-preserve-unknown-fields", False)
    if (
        isinstance(made.get("properties"), dict)
        and "additionalProperties" not in made
        and not keeps
    ):
        made["additionalProperties"] = False
    return made


def check_object(item, schemas):
    jsonschema = pytest.importorskip("jsonschema")
    validate = pytest.importorskip("kubernetes_validate")
    if item["apiVersion"] == OURS:
        body = {key: value for key, value in item.items() if key == "spec"}
        jsonschema.validate(body, schemas[item["kind"]])
    else:
        validate.validate(item, "1.30", strict=True)


def only(items, kind):
    return next(item for item in items if item["kind"] == kind)


def pod_specs(job):
    cluster = job["spec"]["cluster"]["spec"]
    return {
        "job": job["spec"]["job"]["spec"],
        "worker": cluster["worker"]["spec"],
        "scheduler": cluster["scheduler"]["spec"],
    }


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_manifest_is_valid(variant, kustomize, operator_schemas):
    items = kustomize(variant)
    assert {item["kind"] for item in items} == {
        "ServiceAccount", "ConfigMap", "NetworkPolicy", "DaskJob", "DaskAutoscaler",
        "PersistentVolumeClaim",
    }  # fmt: skip
    for item in items:
        check_object(item, operator_schemas)


def test_a_misspelt_field_is_found(kustomize, operator_schemas):
    import jsonschema

    job = copy.deepcopy(only(kustomize("pvc"), "DaskJob"))
    pod_specs(job)["worker"]["containers"][0]["resource"] = {}
    with pytest.raises(jsonschema.ValidationError, match="resource"):
        check_object(job, operator_schemas)


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_the_operator_makes_of_them_is_valid(variant, kustomize, operator_pods):
    validate = pytest.importorskip("kubernetes_validate")
    for item in operator_pods(only(kustomize(variant), "DaskJob")).values():
        validate.validate(item, "1.30", strict=True)


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_container_has_rights_and_each_has_what_it_asks_for(variant, kustomize):
    for pod in pod_specs(only(kustomize(variant), "DaskJob")).values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            asked, most = container["resources"]["requests"], container["resources"]["limits"]
            assert asked == most
            assert {"cpu", "memory"} <= set(asked)
            assert ":latest" not in container["image"]
            assert re.search(r":[\w.-]+$", container["image"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_references_resolve(variant, kustomize):
    items = kustomize(variant)
    names = {(item["kind"], item["metadata"]["name"]) for item in items}
    job = only(items, "DaskJob")
    name = job["metadata"]["name"]
    for pod in pod_specs(job).values():
        assert ("ServiceAccount", pod["serviceAccountName"]) in names
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                claim = volume["persistentVolumeClaim"]["claimName"]
                assert ("PersistentVolumeClaim", claim) in names
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in names
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
            ports = {port["name"] for port in container.get("ports", [])}
            for probe in ("readinessProbe", "livenessProbe"):
                if probe in container:
                    assert container[probe]["httpGet"]["port"] in ports
    selector = {"dask.org/cluster-name": name}
    service = job["spec"]["cluster"]["spec"]["scheduler"]["service"]
    assert service["selector"] == {**selector, "dask.org/component": "scheduler"}
    policy = only(items, "NetworkPolicy")
    assert policy["spec"]["podSelector"]["matchLabels"] == selector
    assert only(items, "DaskAutoscaler")["spec"]["cluster"] == name
    profile = tomllib.loads(only(items, "ConfigMap")["data"]["cluster.toml"])
    assert profile["address"] == f"tcp://{name}-scheduler:8786"


def test_images_are_the_same_within_a_variant(kustomize):
    for variant, device in [("pvc", "cpu"), ("s3", "cpu"), ("gpu", "cuda")]:
        pods = pod_specs(only(kustomize(variant), "DaskJob")).values()
        images = {container["image"] for pod in pods for container in pod["containers"]}
        assert len(images) == 1
        assert images.pop().endswith(f"-{device}")


@pytest.mark.parametrize("variant", VARIANTS)
def test_workers_have_the_settings_of_local_ones_and_room_beside_them(variant, kustomize):
    worker = pod_specs(only(kustomize(variant), "DaskJob"))["worker"]["containers"][0]
    environment = {entry["name"]: entry.get("value") for entry in worker["env"]}
    assert worker_environment().items() <= environment.items()
    limit = worker["args"][worker["args"].index("--memory-limit") + 1]
    most = parse_bytes(worker["resources"]["limits"]["memory"] + "B")
    assert parse_bytes(limit) + kubernetes.BESIDE_BYTES <= most
    assert worker["args"][worker["args"].index("--nthreads") + 1] == "1"
    assert worker["args"][worker["args"].index("--name") + 1] == "$(DASK_WORKER_NAME)"


def test_the_scheduler_offers_what_the_autoscaler_asks_and_forgives_as_ours(kustomize):
    scheduler = pod_specs(only(kustomize("pvc"), "DaskJob"))["scheduler"]["containers"][0]
    environment = {entry["name"]: entry["value"] for entry in scheduler["env"]}
    routes = yaml.safe_load(environment["DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES"])
    assert {"distributed.http.scheduler.api", "distributed.http.health"} <= set(routes)
    allowed = SETTINGS["distributed.scheduler.allowed-failures"]
    assert environment["DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"] == str(allowed)


def test_only_the_cluster_and_the_operator_reach_the_scheduler(kustomize):
    policy = only(kustomize("pvc"), "NetworkPolicy")["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    for rule in [*policy["ingress"], *policy["egress"]]:
        places = rule.get("from", rule.get("to"))
        assert places
        for place in places:
            assert "ipBlock" not in place
            assert any(value for value in place.values())


def test_keys_of_an_object_store_come_from_a_secret_only(kustomize):
    items = kustomize("s3")
    pods = pod_specs(only(items, "DaskJob"))
    for role in ("job", "worker"):
        assert pods[role]["containers"][0]["envFrom"] == [{"secretRef": {"name": "distres-s3"}}]
    text = yaml.safe_dump(items)
    assert "ACCESS_KEY" not in text
    assert not any(item["kind"] == "Secret" for item in items)


def test_workers_of_an_object_store_share_no_volume(kustomize):
    pods = pod_specs(only(kustomize("s3"), "DaskJob"))
    assert not any("persistentVolumeClaim" in volume for volume in pods["worker"]["volumes"])
    words = pods["job"]["containers"][0]["args"]
    assert words[words.index("--store") + 1].startswith("s3://")


def test_a_gpu_worker_asks_for_one_device_and_offers_one(kustomize):
    job = only(kustomize("gpu"), "DaskJob")
    worker = pod_specs(job)["worker"]["containers"][0]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert worker["args"][-2:] == ["--resources", "GPU=1"]
    assert pod_specs(job)["job"]["containers"][0]["args"][-2:] == ["--device", "cuda"]


def test_the_cluster_alone_is_the_jobs_cluster(deploy, kustomize, operator_schemas):
    alone = yaml.safe_load((deploy / "kubernetes/cluster.yaml").read_text())
    check_object(alone, operator_schemas)
    assert alone["spec"] == only(kustomize("pvc"), "DaskJob")["spec"]["cluster"]["spec"]


@pytest.fixture
def profile(deploy):
    def make(*, workers=None, memory_bytes=None, **settings):
        settings = {"manifest": str(deploy / "kubernetes/cluster.yaml"), **settings}
        return Profile(
            kind="kubernetes", workers=workers, memory_bytes=memory_bytes, settings=settings
        )

    return make


def test_sizes_of_the_profile_go_into_the_manifest(profile, operator_schemas):
    built = build_cluster(profile(workers=9, memory_bytes=3 * 10**9, name="mine"))
    check_object(built, operator_schemas)
    worker = built["spec"]["worker"]
    assert worker["replicas"] == 9
    assert kubernetes.worker_memory_bytes(built) == 3 * 10**9
    resources = worker["spec"]["containers"][0]["resources"]
    assert resources["requests"] == resources["limits"]
    assert int(resources["limits"]["memory"]) == 3 * 10**9 + kubernetes.BESIDE_BYTES
    assert built["metadata"]["name"] == "mine"
    selector = built["spec"]["scheduler"]["service"]["selector"]
    assert selector["dask.org/cluster-name"] == "mine"


def test_a_manifest_that_is_no_cluster_is_refused(profile, deploy, tmp_path):
    with pytest.raises(UsageError, match="needs manifest"):
        build_cluster(profile(manifest=None))
    with pytest.raises(InputError, match="cannot be read"):
        build_cluster(profile(manifest=str(tmp_path / "none.yaml")))
    with pytest.raises(InputError, match="must hold one DaskCluster"):
        build_cluster(profile(manifest=str(deploy / "kubernetes/base/networkpolicy.yaml")))


def test_a_missing_extra_is_named_with_its_remedy(monkeypatch, profile):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ClusterError, match=r"pip install 'distres\[kubernetes\]'"):
        kubernetes.open_kubernetes(profile()).__enter__()


def use_cluster(monkeypatch, make):
    module = SimpleNamespace(KubeCluster=make)
    monkeypatch.setitem(sys.modules, "dask_kubernetes.operator", module)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())


def test_a_kubernetes_that_does_not_answer_is_named(monkeypatch, profile):
    def refuse(**settings):
        raise OSError("no route to host")

    use_cluster(monkeypatch, refuse)
    with pytest.raises(ClusterError, match=r"did not start the cluster 'distres'.*no route"):
        kubernetes.open_kubernetes(profile()).__enter__()


@pytest.mark.cluster
def test_a_cluster_is_made_as_its_manifest_says_and_used(monkeypatch, deploy, tmp_path):
    from distributed import LocalCluster

    given = {}

    def make(**settings):
        given.update(settings)
        return LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None)

    use_cluster(monkeypatch, make)
    file = tmp_path / "k.toml"
    manifest = deploy / "kubernetes/cluster.yaml"
    file.write_text(
        f'kind = "kubernetes"\nmanifest = "{manifest}"\nnamespace = "lab"\nworkers = 1\n'
    )
    with open_executor(str(file), memory_bytes=2 * 10**9) as executor:
        assert (executor.kind, executor.workers) == ("kubernetes", 1)
        assert executor.memory_bytes == 2 * 10**9
        assert executor.client.submit(len, "abc").result() == 3
    assert given["namespace"] == "lab"
    assert given["custom_cluster_spec"]["spec"]["worker"]["replicas"] == 1
