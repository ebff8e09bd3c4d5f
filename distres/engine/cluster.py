"""Where tiles are computed: in this process, on local workers, or on a scheduler's workers."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypedDict

from distres.engine.process import available_cpus, available_memory_bytes
from distres.engine.profiles import Profile, read_profile
from distres.engine.progress import Watcher
from distres.errors import ClusterError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """A place to compute tiles; `client` is None when that place is this process.

    Attributes
    ----------
    client
        Dask client.
    workers
        Worker processes (or threads of them) that compute at the same time.
    memory_bytes
        What one worker may use.
    kind
        Which place it is: ``none``, ``local``, ``address`` or what a profile names.
    dashboard
        Link to Dask's dashboard, when there is one.
    cluster
        What can be told to start workers again; None for a scheduler that others manage.
    resources
        Dask resources that every tile needs, for instance ``{"GPU": 1}``.
    watcher
        Told how far a job is; None shows a bar or log lines.
    patience_seconds
        How long to wait for a first, or another, worker.
    stall_seconds
        How long workers may compute without finishing anything.
    """

    client: Any = None
    workers: int = 1
    memory_bytes: int | None = None
    kind: str = "none"
    dashboard: str | None = None
    cluster: Any = None
    resources: Mapping[str, float] | None = None
    watcher: Watcher | None = None
    patience_seconds: float = 120.0
    stall_seconds: float = 3600.0


Factory = Callable[[Profile, Watcher | None], AbstractContextManager[Executor]]


@contextmanager
def open_executor(
    spec: str = "none",
    *,
    workers: int | None = None,
    memory_bytes: int | None = None,
    watcher: Watcher | None = None,
) -> Iterator[Executor]:
    """Open ``none``, ``local``, ``tcp://...`` or a profile file, and close it at the end.

    Parameters
    ----------
    spec
        ``none`` computes in this process; ``local`` starts worker processes on this machine;
        ``slurm`` and ``kubernetes`` start them as jobs or pods, as the site's or the user's
        profile of that name says;
        ``tcp://...`` and ``tls://...`` join a running scheduler; anything else is a profile file
        (TOML, JSON or YAML) with a ``kind``.
    workers
        Worker processes; wins over a profile's.
    memory_bytes
        Memory of one worker; wins over a profile's. By default the memory that is free, shared
        by the workers.
    watcher
        Told how far each job is.

    Raises
    ------
    UsageError
        The profile cannot be understood.
    ClusterError
        The place cannot be reached or has no workers.
    """
    if spec in ("none", "local", "slurm", "kubernetes"):
        profile = Profile(kind=spec)
    elif "://" in spec:
        profile = Profile(kind="address", settings={"address": spec})
    else:
        profile = read_profile(spec)
    profile = profile.with_sizes(workers=workers, memory_bytes=memory_bytes)
    factory = FACTORIES.get(profile.kind)
    if factory is None:
        raise UsageError(
            f"cluster kind '{profile.kind}' is unknown; use one of {', '.join(sorted(FACTORIES))}"
        )
    with factory(profile, watcher) as executor:
        yield executor


class _Waits(TypedDict, total=False):
    patience_seconds: float
    stall_seconds: float


def _waits(profile: Profile) -> _Waits:
    numbers = profile.numbers("patience_seconds", "stall_seconds")
    waits: _Waits = {}
    if "patience_seconds" in numbers:
        waits["patience_seconds"] = numbers["patience_seconds"]
    if "stall_seconds" in numbers:
        waits["stall_seconds"] = numbers["stall_seconds"]
    return waits


@contextmanager
def _open_none(profile: Profile, watcher: Watcher | None) -> Iterator[Executor]:
    profile.allow()
    memory_bytes = profile.memory_bytes or int(0.9 * available_memory_bytes())
    yield Executor(workers=1, memory_bytes=memory_bytes, watcher=watcher)


@contextmanager
def _open_local(profile: Profile, watcher: Watcher | None) -> Iterator[Executor]:
    from distres.engine.local import open_local

    profile.allow("dashboard", "temporary_directory", "patience_seconds", "stall_seconds")
    waits = _waits(profile)
    workers = profile.workers or available_cpus()
    memory_bytes = profile.memory_bytes or int(0.9 * available_memory_bytes() / workers)
    with open_local(
        workers=workers,
        memory_bytes=memory_bytes,
        dashboard=profile.switch("dashboard"),
        temporary_directory=profile.text("temporary_directory"),
    ) as (client, cluster):
        yield Executor(
            client=client,
            workers=workers,
            memory_bytes=memory_bytes,
            kind="local",
            dashboard=cluster.dashboard_link if cluster.scheduler.http_server else None,
            cluster=cluster,
            watcher=watcher,
            **waits,
        )


@contextmanager
def _open_address(profile: Profile, watcher: Watcher | None) -> Iterator[Executor]:
    from distres.engine.address import join_scheduler, measure_workers

    profile.allow(
        "address", "tls_ca_file", "tls_cert", "tls_key", "resources",
        "patience_seconds", "stall_seconds",
    )  # fmt: skip
    patience = _waits(profile).get("patience_seconds", 120.0)
    with join_scheduler(profile, patience_seconds=patience) as client:
        workers, memory_bytes = measure_workers(client)
        if profile.memory_bytes and memory_bytes and profile.memory_bytes > memory_bytes:
            raise ClusterError(
                f"--memory asks for {profile.memory_bytes} bytes a worker, but the workers of "
                f"this scheduler have {memory_bytes}; ask for less or start larger workers"
            )
        yield Executor(
            client=client,
            workers=min(workers, profile.workers or workers),
            memory_bytes=profile.memory_bytes or memory_bytes,
            kind="address",
            dashboard=client.dashboard_link or None,
            resources=profile.settings.get("resources"),
            watcher=watcher,
            **_waits(profile),
        )


def executor_of(client: Any, *, watcher: Watcher | None = None) -> Executor:  # noqa: ANN401
    """Compute with the workers of a Dask client that the caller has and keeps.

    Raises
    ------
    ClusterError
        It has no workers yet.
    """
    from distres.engine.address import measure_workers

    workers, memory_bytes = measure_workers(client)
    if not workers:
        raise ClusterError(
            f"the scheduler at {client.scheduler.address} has no workers yet; start some first"
        )
    return Executor(
        client=client,
        workers=workers,
        memory_bytes=memory_bytes,
        kind="client",
        dashboard=client.dashboard_link or None,
        watcher=watcher,
    )


@contextmanager
def _open_slurm(profile: Profile, watcher: Watcher | None) -> Iterator[Executor]:
    from distres.engine.slurm import open_slurm

    with open_slurm(profile) as executor:
        yield replace(executor, watcher=watcher)


@contextmanager
def _open_kubernetes(profile: Profile, watcher: Watcher | None) -> Iterator[Executor]:
    from distres.engine.kubernetes import open_kubernetes

    with open_kubernetes(profile) as executor:
        yield replace(executor, watcher=watcher)


# Kinds of places by the name a profile uses. Schedulers of computing centres are added here.
FACTORIES: dict[str, Factory] = {
    "none": _open_none,
    "local": _open_local,
    "address": _open_address,
    "slurm": _open_slurm,
    "kubernetes": _open_kubernetes,
}
