"""Workers as pods: a DaskCluster manifest, given to the Dask operator through dask-kubernetes."""

import importlib.util
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from distres.engine.cluster import Executor
from distres.engine.profiles import Profile
from distres.engine.sites import complete_profile
from distres.errors import ClusterError, InputError, UsageError

logger = logging.getLogger(__name__)

# What the nanny and the container's own files take beside the worker.
BESIDE_BYTES = 500_000_000
NO_EXTRA = (
    "--cluster kubernetes needs dask-kubernetes; install it with pip install 'distres[kubernetes]'"
)


def build_cluster(profile: Profile) -> dict[str, Any]:
    """Return the DaskCluster of a profile: its manifest with the profile's sizes in it.

    Raises
    ------
    UsageError
        The profile names no manifest, or the sizes are missing.
    InputError
        The manifest cannot be read or is no DaskCluster.
    """
    profile = complete_profile(profile)
    profile.allow("manifest", "name", "namespace", "patience_seconds", "stall_seconds")
    manifest = _read(profile)
    name = profile.text("name")
    if name:
        _rename(manifest, manifest["metadata"]["name"], name)
    worker = manifest["spec"]["worker"]
    if profile.workers:
        worker["replicas"] = profile.workers
    if profile.memory_bytes:
        _set_memory(worker, profile.memory_bytes)
    return manifest


def _read(profile: Profile) -> dict[str, Any]:
    import yaml

    named = profile.text("manifest")
    if not named:
        raise UsageError(
            'a Kubernetes profile needs manifest = "cluster.yaml", the full path of a DaskCluster '
            "(deploy/kubernetes/cluster.yaml is one)"
        )
    file = Path(named).expanduser()
    try:
        manifest: dict[str, Any] = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"the manifest {file.absolute()} cannot be read: {error}") from error
    try:
        kind = manifest["kind"]
        container = manifest["spec"]["worker"]["spec"]["containers"][0]
        container["args"], manifest["metadata"]["name"]
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"the manifest {file} must hold one DaskCluster whose worker has a container with args"
        ) from error
    if kind != "DaskCluster":
        raise InputError(f"the manifest {file} must be a DaskCluster, not a {kind}")
    return manifest


def _rename(manifest: dict[str, Any], old: str, new: str) -> None:
    manifest["metadata"]["name"] = new
    selector = manifest["spec"]["scheduler"]["service"]["selector"]
    if selector.get("dask.org/cluster-name") == old:
        selector["dask.org/cluster-name"] = new


def _arguments(worker: dict[str, Any]) -> list[str]:
    arguments: list[str] = worker["spec"]["containers"][0]["args"]
    return arguments


def _set_memory(worker: dict[str, Any], memory_bytes: int) -> None:
    arguments = _arguments(worker)
    if "--memory-limit" in arguments:
        arguments[arguments.index("--memory-limit") + 1] = str(memory_bytes)
    else:
        arguments += ["--memory-limit", str(memory_bytes)]
    resources = worker["spec"]["containers"][0].setdefault("resources", {})
    for part in ("requests", "limits"):
        resources.setdefault(part, {})["memory"] = str(memory_bytes + BESIDE_BYTES)


def worker_memory_bytes(manifest: dict[str, Any]) -> int | None:
    """Return the `--memory-limit` of a manifest's workers."""
    from dask.utils import parse_bytes

    arguments = _arguments(manifest["spec"]["worker"])
    if "--memory-limit" not in arguments:
        return None
    return int(parse_bytes(arguments[arguments.index("--memory-limit") + 1]))


def render_cluster(profile: Profile) -> str:
    """Return the manifest as text."""
    import yaml

    text: str = yaml.safe_dump(build_cluster(profile), sort_keys=False)
    return text


@contextmanager
def open_kubernetes(profile: Profile) -> Iterator[Executor]:
    """Make a DaskCluster, wait for its first worker, and remove it at the end.

    Pods that end are started again by Kubernetes, so that nothing is left to heal from here.

    Raises
    ------
    ClusterError
        dask-kubernetes is not installed, or Kubernetes does not give what is asked for.
    """
    if importlib.util.find_spec("dask_kubernetes") is None:
        raise ClusterError(NO_EXTRA)
    profile = complete_profile(profile)
    manifest = build_cluster(profile)
    waits = profile.numbers("patience_seconds", "stall_seconds")
    patience = waits.get("patience_seconds", 600.0)
    workers = int(manifest["spec"]["worker"].get("replicas") or 1)
    with ExitStack() as stack:
        client = stack.enter_context(_connect(manifest, profile, patience))
        try:
            client.wait_for_workers(1, timeout=patience)
        except TimeoutError as error:
            raise ClusterError(
                f"no worker pod of '{manifest['metadata']['name']}' was ready after {patience:g} "
                "s; 'kubectl get pods' says what they wait for, or raise patience_seconds"
            ) from error
        yield Executor(
            client=client,
            workers=workers,
            memory_bytes=worker_memory_bytes(manifest),
            kind="kubernetes",
            dashboard=client.dashboard_link or None,
            patience_seconds=patience,
            stall_seconds=waits.get("stall_seconds", 3600.0),
        )


@contextmanager
def _connect(manifest: dict[str, Any], profile: Profile, patience: float) -> Iterator[Any]:
    from dask_kubernetes.operator import KubeCluster
    from distributed import Client

    try:
        cluster = KubeCluster(
            custom_cluster_spec=manifest,
            namespace=profile.text("namespace"),
            resource_timeout=int(patience),
            quiet=True,
        )
    except Exception as error:
        # Whatever the network, the account or the operator have against it.
        raise ClusterError(
            f"Kubernetes did not start the cluster '{manifest['metadata']['name']}' "
            f"({type(error).__name__}: {error}); check 'kubectl get daskclusters' and that the "
            "Dask operator is installed"
        ) from error
    with cluster, Client(cluster, set_as_default=False) as client:
        yield client
