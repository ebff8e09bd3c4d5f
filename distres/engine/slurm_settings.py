"""What a profile of kind ``slurm`` says, and what dask-jobqueue is told of each job."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distres.engine.profiles import Profile
from distres.engine.security import TLS_FILES
from distres.engine.sites import worker_environment
from distres.errors import UsageError

# What Dask's nanny beside each worker takes, so that SLURM does not end a job that its own
# worker keeps within bounds.
NANNY_BYTES = 300_000_000
MARGIN_SECONDS = 300.0
LOCAL_DIRECTORY = "${SLURM_TMPDIR:-${TMPDIR:-/tmp}}"
TEXTS = (
    "partition", "account", "walltime", "gpu_type", "local_directory", "interface",
    "scheduler_interface", "log_directory", "shared_directory", "python", *TLS_FILES,
)  # fmt: skip
LISTS = ("job_extra_directives", "prologue")
NUMBERS = ("gpus", "cpus", "patience_seconds", "stall_seconds")


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
    gpus = profile.whole("gpus", 0)
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
        lists={name: profile.lines(name) for name in LISTS},
        gpus=gpus,
        cpus=profile.whole("cpus", 1),
        tls=profile.switch("tls"),
        dashboard=profile.switch("dashboard"),
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
