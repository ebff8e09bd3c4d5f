"""Workers as SLURM jobs: one process and one thread a job, submitted through dask-jobqueue."""

import importlib.util
import logging
import math
import os
import re
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distres.engine.cluster import Executor
from distres.engine.interrupt import Interrupt
from distres.engine.profiles import Profile
from distres.engine.security import TLS_FILES, security_of, temporary_security
from distres.engine.sites import complete_profile, worker_environment
from distres.errors import ClusterError, RunInterrupted, UsageError

if TYPE_CHECKING:
    from distres.engine.slurm_jobs import Jobs

logger = logging.getLogger(__name__)

# What Dask's nanny beside each worker takes, so that SLURM does not end a job that its own
# worker keeps within bounds.
NANNY_BYTES = 300_000_000
MARGIN_SECONDS = 300.0
ASK_SECONDS, TELL_SECONDS = 5.0, 60.0
LOCAL_DIRECTORY = "${SLURM_TMPDIR:-${TMPDIR:-/tmp}}"
TEXTS = (
    "partition", "account", "walltime", "gpu_type", "local_directory", "interface",
    "scheduler_interface", "log_directory", "shared_directory", "python", *TLS_FILES,
)  # fmt: skip
LISTS = ("job_extra_directives", "prologue")
NUMBERS = ("gpus", "cpus", "patience_seconds", "stall_seconds")
NO_EXTRA = "--cluster slurm needs dask-jobqueue; install it with pip install 'distres[slurm]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmSettings:
    """A checked profile of kind ``slurm``; docs/clusters.md says what each entry means."""

    workers: int
    memory_bytes: int
    walltime: str
    texts: dict[str, str | None]
    lists: dict[str, list[str]]
    gpus: int = 0
    cpus: int = 1
    tls: bool = True
    dashboard: bool = True
    patience_seconds: float = 300.0
    stall_seconds: float = 3600.0

    @property
    def log_directory(self) -> Path:
        """Where SLURM writes what workers say."""
        return Path(self.texts["log_directory"] or "distres-slurm").expanduser().absolute()

    @property
    def lifetime_seconds(self) -> tuple[int, int]:
        """When workers end by themselves, and by how much that differs between them."""
        wall = parse_walltime(self.walltime)
        stagger = min(MARGIN_SECONDS, wall / 10)
        return int(wall - 2 * stagger), int(stagger)


def read_settings(profile: Profile) -> SlurmSettings:
    """Check a profile.

    Raises
    ------
    UsageError
        Naming the setting.
    """
    profile.allow(*TEXTS, *LISTS, *NUMBERS, "tls", "dashboard")
    texts = {name: profile.text(name) for name in TEXTS}
    if not profile.workers:
        raise UsageError("a SLURM cluster needs a number of jobs: workers = 8, or --workers 8")
    if not profile.memory_bytes:
        raise UsageError('a SLURM cluster needs memory = "8GB" in its profile, or --memory 8GB')
    if not texts["walltime"]:
        raise UsageError('a SLURM profile needs walltime = "04:00:00"')
    if parse_walltime(texts["walltime"]) < 60:
        raise UsageError(f"walltime '{texts['walltime']}' is too short; SLURM counts minutes")
    gpus = _whole(profile, "gpus", 0)
    if gpus > 1:
        raise UsageError(
            f"gpus = {gpus}, but each worker uses one device; write gpus = 1 and ask for "
            f"{gpus} times as many workers"
        )
    waits = profile.numbers("patience_seconds", "stall_seconds")
    return SlurmSettings(
        workers=profile.workers,
        memory_bytes=profile.memory_bytes,
        walltime=texts["walltime"],
        texts=texts,
        lists={name: _lines(profile, name) for name in LISTS},
        gpus=gpus,
        cpus=_whole(profile, "cpus", 1),
        tls=_switch(profile, "tls"),
        dashboard=_switch(profile, "dashboard"),
        **waits,
    )


def parse_walltime(text: str) -> float:
    """Return the seconds of SLURM's time: minutes, [hours:]minutes:seconds or days-hours[:m[:s]].

    Raises
    ------
    UsageError
        It is none of these.
    """
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text.strip())
    if match is None:
        raise UsageError(f"walltime '{text}' is not understood; write for instance 04:00:00")
    days, *fields = match.groups()
    parts = [int(field) for field in fields if field is not None]
    if days is not None:
        units = (3600, 60, 1)
    else:
        units = {1: (60,), 2: (60, 1), 3: (3600, 60, 1)}[len(parts)]  # type: ignore[assignment]
    return float(int(days or 0) * 86400 + sum(p * u for p, u in zip(parts, units, strict=False)))


def _whole(profile: Profile, name: str, default: int) -> int:
    value = profile.settings.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < default:
        raise UsageError(
            f"the cluster profile's '{name}' must be a whole number of {default} or more, "
            f"not {value!r}"
        )
    return value


def _switch(profile: Profile, name: str) -> bool:
    value = profile.settings.get(name, True)
    if not isinstance(value, bool):
        raise UsageError(f"the cluster profile's '{name}' must be true or false, not {value!r}")
    return value


def _lines(profile: Profile, name: str) -> list[str]:
    value = profile.settings.get(name, [])
    if not isinstance(value, list) or not all(isinstance(line, str) for line in value):
        raise UsageError(f"the cluster profile's '{name}' must be a list of texts, not {value!r}")
    return value


def job_settings(settings: SlurmSettings) -> dict[str, Any]:
    """Return what dask-jobqueue is told of each job."""
    lifetime, stagger = settings.lifetime_seconds
    # Each worker's own dashboard would listen on its node, open to everybody there.
    extra = ["--no-dashboard", "--lifetime", f"{lifetime}s", "--lifetime-stagger", f"{stagger}s"]
    directives = list(settings.lists["job_extra_directives"])
    if settings.gpus:
        kind = settings.texts["gpu_type"]
        directives.insert(0, f"--gres=gpu:{kind}:1" if kind else "--gres=gpu:1")
        extra += ["--resources", "GPU=1"]
    exports = [f"export {name}={shlex.quote(v)}" for name, v in worker_environment().items()]
    megabytes = -(-(settings.memory_bytes + NANNY_BYTES) // 2**20)
    return {
        "queue": settings.texts["partition"],
        "account": settings.texts["account"],
        "walltime": settings.walltime,
        "cores": 1,
        "processes": 1,
        "memory": f"{settings.memory_bytes}B",
        "job_cpu": settings.cpus,
        "job_mem": f"{megabytes}M",
        "job_name": "distres-worker",
        "interface": settings.texts["interface"],
        # A worker whose client is gone ends its job.
        "death_timeout": int(settings.patience_seconds),
        "local_directory": f'"{settings.texts["local_directory"] or LOCAL_DIRECTORY}"',
        "log_directory": str(settings.log_directory),
        "python": settings.texts["python"],
        "worker_extra_args": extra,
        "job_extra_directives": directives,
        "job_script_prologue": [*exports, *settings.lists["prologue"]],
        "job_directives_skip": [],
    }


def render_job(profile: Profile, *, scheduler: str = "tcp://scheduler:8786") -> str:
    """Return the job script of one worker as SLURM would get it, TLS files apart.

    Raises
    ------
    ClusterError
        dask-jobqueue is not installed.
    """
    settings = read_settings(complete_profile(profile))
    _require_extra()
    from distres.engine.slurm_jobs import SLURMJob

    given = job_settings(settings)
    # The job would make the folder it logs to.
    folder = given.pop("log_directory")
    script: str = SLURMJob(scheduler, name="distres-0", **given).job_script()
    head = f"#SBATCH -J {given['job_name']}\n"
    logs = f"{folder}/{given['job_name']}-%J"
    return script.replace(head, f"{head}#SBATCH -e {logs}.err\n#SBATCH -o {logs}.out\n")


def _require_extra() -> None:
    if importlib.util.find_spec("dask_jobqueue") is None:
        raise ClusterError(NO_EXTRA)


@contextmanager
def open_slurm(profile: Profile) -> Iterator[Executor]:
    """Submit worker jobs, wait for the first to connect, and cancel them all at the end.

    Raises
    ------
    UsageError
        The profile cannot be used.
    ClusterError
        SLURM or dask-jobqueue is not here, jobs are refused, or none reaches this process.
    """
    settings = read_settings(complete_profile(profile))
    _require_slurm()
    _require_interfaces(settings)
    import dask
    from distributed import Client

    from distres.engine.local import SETTINGS
    from distres.engine.slurm_jobs import Jobs

    with ExitStack() as stack:
        stack.enter_context(dask.config.set(SETTINGS))
        cluster = stack.enter_context(_start(settings, _security(settings, profile, stack)))
        jobs = Jobs(cluster, settings.log_directory)
        jobs.scale(settings.workers)
        _wait_for_worker(jobs, cluster, settings)
        client = stack.enter_context(Client(cluster, set_as_default=False))
        show = cluster.scheduler.http_server is not None and settings.dashboard
        yield Executor(
            client=client,
            workers=settings.workers,
            memory_bytes=settings.memory_bytes,
            kind="slurm",
            dashboard=cluster.dashboard_link if show else None,
            cluster=jobs,
            resources={"GPU": 1} if settings.gpus else None,
            patience_seconds=settings.patience_seconds,
            stall_seconds=settings.stall_seconds,
        )


def _require_slurm() -> None:
    _require_extra()
    for command in ("sbatch", "squeue", "scancel"):
        if shutil.which(command) is None:
            raise ClusterError(
                f"the command {command} was not found; start distres where SLURM's commands work "
                "(a login node, or inside a job), or use --cluster local"
            )


def _require_interfaces(settings: SlurmSettings) -> None:
    import psutil

    # Workers' interfaces are those of other machines; only the scheduler's can be looked up.
    name = settings.texts["scheduler_interface"] or settings.texts["interface"]
    here = psutil.net_if_addrs()
    if name and name not in here:
        raise UsageError(
            f"this machine has no network interface '{name}' but {', '.join(sorted(here))}; set "
            "interface, or scheduler_interface if it has another name here than on the nodes"
        )


def _security(settings: SlurmSettings, profile: Profile, stack: ExitStack) -> Any:  # noqa: ANN401
    if not settings.tls:
        return None
    named = security_of(profile)
    if named is not None:
        return named
    shared = Path(settings.texts["shared_directory"] or "~/.distres").expanduser().absolute()
    try:
        shared.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="keys-", dir=shared))
    except OSError as error:
        raise ClusterError(
            f"keys for TLS cannot be written to {shared}: {error.strerror}; name a private folder "
            "that all nodes see as shared_directory in the profile"
        ) from error
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return temporary_security(folder)


def _start(settings: SlurmSettings, security: Any) -> Any:  # noqa: ANN401
    from distres.engine.slurm_jobs import SLURMCluster, WorkerJob

    show = settings.dashboard and importlib.util.find_spec("bokeh") is not None
    options: dict[str, Any] = {"dashboard_address": "127.0.0.1:0" if show else None}
    options["dashboard"] = show
    if settings.texts["scheduler_interface"]:
        options["interface"] = settings.texts["scheduler_interface"]
    try:
        settings.log_directory.mkdir(parents=True, exist_ok=True)
        return SLURMCluster(
            job_cls=WorkerJob,
            name=f"distres-{os.getpid()}",
            security=security,
            scheduler_options=options,
            silence_logs=logging.ERROR,
            **job_settings(settings),
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise ClusterError(f"no scheduler could be started for SLURM's workers: {error}") from error


def _wait_for_worker(jobs: "Jobs", cluster: Any, settings: SlurmSettings) -> None:  # noqa: ANN401
    """Wait for the first worker: as long as jobs wait in the queue, and then with patience."""
    running_since: float | None = None
    asked, told = time.monotonic(), -math.inf
    with Interrupt() as interrupt:
        while not cluster.scheduler.workers:
            if interrupt.requested:
                raise RunInterrupted("stopped while worker jobs waited in SLURM's queue")
            time.sleep(0.5)
            now = time.monotonic()
            coming, waiting = jobs.coming, jobs.waiting
            if waiting and now - told >= TELL_SECONDS:
                told = now
                reasons = ", ".join(f"{count} for {reason}" for reason, count in waiting.items())
                logger.info("worker jobs wait in SLURM's queue: %s", reasons)
            if not coming and now - asked > ASK_SECONDS:
                asked = now
                jobs.scale(settings.workers)
            running_since = (running_since or now) if jobs.running else None
            if running_since is not None and now - running_since > settings.patience_seconds:
                raise ClusterError(_unreached(cluster, settings))


def _unreached(cluster: Any, settings: SlurmSettings) -> str:  # noqa: ANN401
    return (
        f"worker jobs run for {settings.patience_seconds:g} s, but none has reached the scheduler "
        f"at {cluster.scheduler.address}; set interface in the profile to a network that nodes "
        f"and this machine share, and look at {settings.log_directory}"
    )
