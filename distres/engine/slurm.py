"""Workers as SLURM jobs: one process and one thread a job, submitted through dask-jobqueue."""

import importlib.util
import logging
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distres.engine.cluster import Executor
from distres.engine.interrupt import Interrupt
from distres.engine.profiles import Profile
from distres.engine.security import security_of, temporary_security
from distres.engine.sites import complete_profile
from distres.engine.slurm_settings import SlurmSettings, job_settings, read_settings
from distres.errors import ClusterError, RunInterrupted, UsageError

if TYPE_CHECKING:
    from distres.engine.slurm_jobs import Jobs

logger = logging.getLogger(__name__)

ASK_SECONDS, TELL_SECONDS = 5.0, 60.0
NO_EXTRA = "--cluster slurm needs dask-jobqueue; install it with pip install 'distres[slurm]'"


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
