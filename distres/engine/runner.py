"""Run a job: every tile once, a bounded number at a time, rows merged in tile order."""

import errno
import logging
import os
import time
from collections import deque
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import replace

from distres.engine.address import require_shared_store
from distres.engine.cluster import Executor
from distres.engine.fingerprint import describe_job, digest
from distres.engine.interrupt import Interrupt
from distres.engine.jobs import TileJob, ZarrSource
from distres.engine.ledger import Ledger
from distres.engine.outputs import open_output, storage_units
from distres.engine.packer import Packer
from distres.engine.pools import DaskPool, Finished, LocalPool, Pack, Pool
from distres.engine.progress import Monitor
from distres.engine.rehearsal import current
from distres.engine.run import Run
from distres.engine.tables import JobStats, Table
from distres.engine.tasks import Failure, Outcome, TileTask
from distres.engine.tiles import Tile
from distres.engine.torn import hollow_tiles
from distres.engine.watchdog import Watchdog
from distres.errors import ClusterError, RunInterrupted, TileError, UsageError

__all__ = ["Table", "output", "run_job"]

logger = logging.getLogger(__name__)

TRIES = 3
GRACE_SECONDS = 10.0
# A run ends early once this many tiles have failed for good and they are a tenth of all tried.
MANY_FAILURES = 10
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def run_job(job: TileJob, *, run: Run, executor: Executor) -> Table:
    """Compute every tile of `job` that is not done yet and return all rows.

    The same bits come out for any number of workers, any order, and any number of interruptions.

    Raises
    ------
    TileError
        A tile failed for good; everything that was done stays done.
    ResumeError
        The ledger was written by a job with other inputs or parameters.
    ClusterError
        Workers, scheduler or disk gave up; the run can be resumed.
    RunInterrupted
        Somebody asked to stop; the run can be resumed.
    """
    rehearsal = current()
    if rehearsal is not None:
        return rehearsal.attempt(job, run, executor, rehearsal)
    return compute_job(job, run=run, executor=executor)


def compute_job(job: TileJob, *, run: Run, executor: Executor) -> Table:
    """Do what `run_job` says, also in a rehearsal."""
    check_job(job)
    fingerprint = describe_job(job)
    made_by = digest(fingerprint)
    ledger = Ledger.open(run.ledger_directory(job.name), fingerprint, job=job.name)
    for path, spec in job.outputs.items():
        open_output(run.store, path, spec, job, made_by)
    wanted = sorted(set(job.todo))
    hollow = hollow_tiles(run.store, job) & ledger.done if ledger.done else set()
    if hollow:
        logger.warning(
            "%s: %d tiles were written when the machine failed; they are computed again",
            job.name,
            len(hollow),
        )
    todo = [index for index in wanted if index not in ledger.done or index in hollow]
    if len(todo) < len(wanted):
        done = len(wanted) - len(todo)
        logger.info("%s: %d of %d tiles are done already", job.name, done, len(wanted))
    started = time.perf_counter()
    monitor = Monitor(
        job=job.name,
        total=len(wanted),
        done=len(wanted) - len(todo),
        directory=run.directory,
        watcher=executor.watcher,
    )
    drive = Drive(job, ledger, monitor, todo)
    if todo:
        if executor.kind not in ("none", "local"):
            require_shared_store(executor.client, run.directory, run.store)
        task = TileTask.of(job, run.store)
        with closing(make_pool(task, job.name, executor)) as pool:
            drive.run(pool, Watchdog(executor, job.name))
    stats = JobStats(
        computed=len(todo),
        resumed=len(wanted) - len(todo),
        wall_seconds=time.perf_counter() - started,
        tile_seconds=drive.tile_seconds,
        peak_memory_bytes=dict(monitor.peaks),
    )
    return replace(ledger.table(wanted), stats=stats)


def output(run: Run, path: str) -> ZarrSource:
    """Name an output of an earlier job as the input of the next."""
    source = ZarrSource.of(run.store, path)
    rehearsal = current()
    return source if rehearsal is None else rehearsal.source(source)


def check_job(job: TileJob) -> None:
    """Refuse a job whose tiles do not exist or would share files.

    Raises
    ------
    UsageError
        Naming the tile or the output.
    """
    for spec in job.outputs.values():
        storage_units(spec, job)
    for index in job.tiles or ():
        if not 0 <= index < len(job.plan):
            raise UsageError(f"{job.name}: tile {index} is not one of the plan's {len(job.plan)}")


def make_pool(task: TileTask, name: str, executor: Executor) -> Pool:
    """Open the place where an executor computes."""
    if executor.client is None:
        return LocalPool(task)
    return DaskPool(
        executor.client,
        task,
        name=name,
        workers=executor.workers,
        resources=executor.resources,
    )


def describe_tile(tile: Tile) -> str:
    """Name a tile and the voxels it answers for."""
    z, y, x = tile.core
    return f"tile {tile.index} (z {z.start}:{z.stop}, y {y.start}:{y.stop}, x {x.start}:{x.stop})"


class Drive:
    """The loop of one job: hand out tiles, take in outcomes, keep the ledger."""

    def __init__(self, job: TileJob, ledger: Ledger, monitor: Monitor, todo: Sequence[int]) -> None:
        self.job, self.ledger, self.monitor = job, ledger, monitor
        self.tile_seconds = 0.0
        self._waiting = deque(todo)
        self._again: deque[int] = deque()
        self._suspects: deque[int] = deque()
        self._alone: int | None = None
        self._tries: dict[int, int] = {}
        self._failures: dict[int, Failure] = {}

    def run(self, pool: Pool, watchdog: Watchdog) -> None:
        """Compute all tiles, or raise with everything finished so far kept."""
        state = "failed"
        try:
            with Interrupt() as interrupt:
                self._loop(pool, watchdog, interrupt)
                if interrupt.requested:
                    state = "interrupted"
                    self._drain(pool)
                    raise RunInterrupted(
                        f"{self.job.name}: stopped with {self.monitor.done} of "
                        f"{self.monitor.total} tiles done and kept; run the same command with "
                        "--resume to go on"
                    )
            self._flush()
            self._raise_failures()
            state = "finished"
        except KeyboardInterrupt:
            state = "interrupted"
            raise RunInterrupted(
                f"{self.job.name}: stopped at once; run the same command with --resume to go on"
            ) from None
        finally:
            # An error is on its way out then: it says more than a second one would.
            with suppress(ClusterError):
                self._flush()
            self.monitor.end(state)

    def _loop(self, pool: Pool, watchdog: Watchdog, interrupt: Interrupt) -> None:
        packer = Packer(pool.workers)
        while (self._left or pool.pending) and not interrupt.requested:
            self._hand_out(pool, packer)
            finished = [*pool.wait(0.25), *watchdog.look(pool)]
            for pack in finished:
                self._take(pack, packer)
            if finished:
                watchdog.progressed()
            self.ledger_due()
            settled = self.monitor.done + self.monitor.failed
            self.monitor.in_flight = self.monitor.total - settled - self._left
            self.monitor.tick()

    @property
    def _left(self) -> int:
        return len(self._waiting) + len(self._again) + len(self._suspects)

    def _hand_out(self, pool: Pool, packer: Packer) -> None:
        while pool.pending < pool.window and (self._waiting or self._again):
            pool.submit(self._next_pack(packer))
        if self._suspects and not pool.pending:
            # With nothing beside it, a tile whose worker dies is to blame itself.
            self._alone = self._suspects.popleft()
            pool.submit((self._alone,))

    def _next_pack(self, packer: Packer) -> Pack:
        # Tiles that failed go alone: a pack with them would fail with them.
        if self._again:
            return (self._again.popleft(),)
        size = packer.size(len(self._waiting))
        return tuple(self._waiting.popleft() for _ in range(min(size, len(self._waiting))))

    def _take(self, finished: Finished, packer: Packer) -> None:
        if finished.lost is not None:
            for index in finished.pack:
                if finished.blamed and finished.pack == (self._alone,):
                    self._failed(index, finished.lost, tries=TRIES)
                elif finished.blamed:
                    # Dask blames all that a dead worker held: tried alone once the rest is done.
                    self._suspects.append(index)
                else:
                    self._failed(index, finished.lost)
            return
        for outcome in finished.outcomes:
            self._note(outcome)
            packer.note(outcome)

    def _note(self, outcome: Outcome) -> None:
        self.tile_seconds += outcome.seconds
        if outcome.failure is not None:
            self._failed(outcome.tile, outcome.failure)
            return
        facts = {
            "seconds": round(outcome.seconds, 4),
            "bytes": outcome.written_bytes,
            "process": outcome.process,
        }
        try:
            self.ledger.add(outcome.tile, outcome.row, facts)
        except ClusterError as error:
            self._failed(outcome.tile, Failure.of(error))
            return
        self.monitor.tile_done(outcome.process, outcome.peak_memory_bytes)

    def _failed(self, index: int, failure: Failure, tries: int = 1) -> None:
        if failure.number in _DISK_FULL:
            raise ClusterError(
                f"{self.job.name}: {describe_tile(self.job.plan.tile(index))} could not be "
                f"written: {os.strerror(failure.number or 0)}; free some space and go on with "
                "--resume"
            )
        self._tries[index] = self._tries.get(index, 0) + tries
        if self._tries[index] < TRIES and not failure.final:
            logger.debug("tile %d is tried again: %s", index, failure.cause)
            self._again.append(index)
            return
        self._failures[index] = failure
        self.ledger.fail(index, failure.trace or failure.cause)
        self.monitor.failed += 1
        failed = len(self._failures)
        if failed >= MANY_FAILURES and failed * 10 >= failed + self.monitor.done:
            self._raise_failures()

    def _raise_failures(self) -> None:
        if not self._failures:
            return
        first = min(self._failures)
        failure = self._failures[first]
        others = f" and {len(self._failures) - 1} more" if len(self._failures) > 1 else ""
        raise TileError(
            f"{self.job.name}: {describe_tile(self.job.plan.tile(first))}{others} failed after "
            f"{self._tries[first]} tries: {failure.cause}; {self.monitor.done} of "
            f"{self.monitor.total} tiles are done and kept, go on with --resume once the cause is "
            f"gone (traceback in {self.ledger.directory / 'tiles.jsonl'})"
        )

    def _drain(self, pool: Pool) -> None:
        """Give tiles that are being computed a short time to end."""
        logger.info("%s: stopping", self.job.name)
        packer = Packer(1)
        pool.withdraw()
        end = time.monotonic() + GRACE_SECONDS
        while pool.pending and time.monotonic() < end:
            for pack in pool.wait(0.25):
                self._take(pack, packer)

    def _flush(self) -> None:
        try:
            self.ledger.flush()
        except OSError as error:
            raise ClusterError(
                f"{self.job.name}: the ledger in {self.ledger.directory} could not be written: "
                f"{error.strerror}; go on with --resume once that is mended"
            ) from error

    def ledger_due(self) -> None:
        """Write the ledger when enough has gathered."""
        if self.ledger.is_due:
            self._flush()
