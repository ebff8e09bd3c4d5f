"""Worker jobs in SLURM's queue: which wait, which ended, and what to ask for again.

dask-jobqueue submits and cancels jobs but never looks at the queue: a job that was refused, or
ended before its worker connected, stays on its list for ever and is never asked for again.
"""

import asyncio
import getpass
import logging
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from distributed.core import Status

from distres.errors import ClusterError

# dask-jobqueue takes Ctrl-C for itself when it is imported, and cannot be imported outside the main
# thread for the same reason.
_signal, signal.signal = signal.signal, lambda *_: None
try:
    from dask_jobqueue.slurm import SLURMCluster, SLURMJob
finally:
    signal.signal = _signal

__all__ = ["Jobs", "SLURMCluster", "SLURMJob", "WorkerJob"]

logger = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
# SLURM may show a job late, and a worker that ended leaves the scheduler a moment before its job
# leaves the queue.
SETTLE_SECONDS = 15.0
FRUITLESS = 3
# sbatch and scancel at the same time: hundreds at once would make the controller refuse some.
CALLS = 8
_gates: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


def _gate() -> asyncio.Semaphore:
    return _gates.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(CALLS))


class WorkerJob(SLURMJob):  # type: ignore[misc]
    """A job that keeps the reason when SLURM refuses it; Dask would only log it."""

    refusal: str | None = None
    submitted_at = 0.0

    async def start(self) -> None:
        """Submit."""
        try:
            async with _gate():
                await super().start()
        except (RuntimeError, ValueError, OSError) as error:
            self.refusal = _said(str(error))
        self.submitted_at = time.monotonic()

    async def close(self) -> None:
        """Cancel, if it was submitted."""
        async with _gate():
            await super().close()
        self.status = Status.closed


def _said(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in lines if line.startswith("sbatch:")), (lines or ["nothing"])[-1])


def ask_queue() -> dict[str, tuple[str, str]]:
    """Return state and reason of the user's jobs by their number.

    Raises
    ------
    OSError, subprocess.SubprocessError
        The queue does not answer.
    """
    command = ["squeue", "--noheader", f"--user={getpass.getuser()}", "--format=%i|%T|%r"]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    rows = (line.strip().split("|", 2) for line in text.splitlines() if line.count("|") >= 2)
    return {number: (state, reason) for number, state, reason in rows}


class Jobs:
    """The worker jobs of one cluster, as the watchdog sees them."""

    def __init__(
        self,
        cluster: Any,  # noqa: ANN401
        log_directory: Path,
        *,
        queue: Callable[[], dict[str, tuple[str, str]]] = ask_queue,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._log_directory = log_directory
        self._queue = queue
        self._clock = clock
        self._looked_at = -LOOK_SECONDS
        self._states: dict[str, tuple[str, str]] = {}
        self._connected: set[str] = set()
        self._fruitless = 0
        self._coming = 0
        self._warned: set[str] = set()

    @property
    def coming(self) -> int:
        """Jobs that wait in the queue, or run and have not reached the scheduler yet.

        Raises
        ------
        ClusterError
            Jobs are refused, or end before they reach the scheduler, time after time.
        """
        self.look()
        return self._coming

    @property
    def waiting(self) -> dict[str, int]:
        """Jobs that wait in the queue, counted by SLURM's reason."""
        found = (self._states.get(str(job.job_id)) for job in self._jobs().values())
        return dict(Counter(entry[1] for entry in found if entry and entry[0] == "PENDING"))

    @property
    def running(self) -> int:
        """Jobs that run, as the queue says."""
        found = (self._states.get(str(job.job_id)) for job in self._jobs().values())
        return sum(1 for entry in found if entry and entry[0] == "RUNNING")

    def scale(self, n: int) -> None:
        """Ask for `n` jobs, those that have ended among them."""
        self.look(now=True)
        self._cluster.scale(jobs=n)

    def look(self, *, now: bool = False) -> None:
        """Look at the queue, at most every few seconds, and forget jobs that have ended."""
        reached = self._reached()
        jobs = self._jobs()
        before = len(self._connected)
        self._connected |= {str(job.job_id) for name, job in jobs.items() if name in reached}
        if len(self._connected) > before:
            self._fruitless = 0
        if now or self._clock() - self._looked_at >= LOOK_SECONDS:
            self._looked_at = self._clock()
            try:
                self._states = self._queue()
            except (OSError, subprocess.SubprocessError) as error:
                # Controllers of large clusters are away now and then; the last answer stands.
                logger.debug("squeue did not answer: %s", error)
                return
            self._forget_ended(jobs, reached)
        self._coming = sum(
            1 for name, job in jobs.items() if name not in reached and self._alive(job)
        )

    def _alive(self, job: WorkerJob) -> bool:
        if job.refusal is not None:
            return False
        young = self._clock() - job.submitted_at < SETTLE_SECONDS
        return young or str(job.job_id) in self._states

    def _forget_ended(self, jobs: Mapping[str, WorkerJob], reached: set[str]) -> None:
        ended = {
            name: job for name, job in jobs.items() if name not in reached and not self._alive(job)
        }
        if not ended:
            return
        for name, job in ended.items():
            # Its name stays wanted, so that the next scaling submits it again.
            self._cluster.workers.pop(name, None)
            job.status = Status.closed
            if str(job.job_id) not in self._connected:
                self._fruitless += 1
            if job.refusal is not None and job.refusal not in self._warned:
                self._warned.add(job.refusal)
                logger.warning("SLURM refused a worker job: %s", job.refusal)
        last = list(ended.values())[-1]
        # Jobs beyond a limit of the site may be refused while others compute.
        others = len(ended) < len(jobs)
        if not others and (last.refusal is not None or self._fruitless >= FRUITLESS):
            raise ClusterError(self._blame(last))

    def _blame(self, job: WorkerJob) -> str:
        if job.refusal is not None:
            return f"SLURM refuses the worker jobs: {job.refusal}; change the cluster profile"
        log = next(iter(sorted(self._log_directory.glob(f"*-{job.job_id}*.err"))), None)
        lines = log.read_text(errors="replace").splitlines() if log else []
        last = next(
            (line.strip() for line in reversed(lines) if line.strip()), "nothing was logged"
        )
        return (
            f"{self._fruitless} worker jobs ended before they reached the scheduler at "
            f"{self._cluster.scheduler.address}; the log of job {job.job_id} ends with "
            f"'{last[:200]}' ({log or self._log_directory}); check prologue, interface and memory "
            "of the cluster profile"
        )

    def _jobs(self) -> dict[str, WorkerJob]:
        # The event loop's thread may change it meanwhile; a copy is one step.
        return dict(self._cluster.workers)

    def _reached(self) -> set[str]:
        return {str(worker.name) for worker in list(self._cluster.scheduler.workers.values())}
