"""What a job would cost: counted from its plan, timed on a few tiles, nothing left behind."""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from math import prod
from statistics import median

import numpy as np

from distres.engine.cluster import Executor
from distres.engine.jobs import TileJob
from distres.engine.outputs import stored_shape
from distres.engine.planner import memory_needed
from distres.engine.progress import format_seconds
from distres.engine.runner import check_job, describe_tile, make_pool
from distres.engine.tasks import Outcome, TileTask
from distres.engine.tiles import Shape3
from distres.engine.watchdog import Watchdog
from distres.errors import TileError
from distres.io.stores import StoreLike

# A trial shorter than this is done twice, so that loading libraries is not taken for work.
SHORT_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a job would cost.

    Attributes
    ----------
    tiles
        Tiles to compute; the plan may have more, without mask.
    core_vox, halo_vox, shape_vox
        Full core, halo and volume (z, y, x).
    overhead
        Voxels read for one voxel of the volume.
    workers
        Tiles computed at the same time.
    memory_bytes
        What a worker must have for a tile, by the job's own statement.
    trial_memory_bytes
        Largest resident memory seen in the trial.
    disk_bytes
        Size of the outputs, from the compression seen in the trial when there was one.
    trial_tiles, tile_seconds
        Tiles tried and their median time.
    seconds
        Wall time of all tiles.
    """

    job: str
    tiles: int
    core_vox: Shape3
    halo_vox: Shape3
    shape_vox: Shape3
    overhead: float
    workers: int
    memory_bytes: int
    trial_memory_bytes: int
    disk_bytes: int
    trial_tiles: int
    tile_seconds: float
    seconds: float

    def __str__(self) -> str:
        return "\n".join(
            [
                f"{self.job}: {self.tiles} tiles of {_edges(self.core_vox)} voxels "
                f"(x, y, z) in {_edges(self.shape_vox)}",
                f"  halo    {_edges(self.halo_vox)} voxels, {self.overhead:.2f} voxels read "
                "for each",
                f"  memory  {_size(self.memory_bytes)} a worker "
                f"(trial used {_size(self.trial_memory_bytes)})",
                f"  disk    {_size(self.disk_bytes)}",
                f"  time    {format_seconds(self.seconds)} on {self.workers} "
                f"worker{'s' if self.workers != 1 else ''} "
                f"({format_seconds(self.tile_seconds)} a tile, from {self.trial_tiles})",
            ]
        )


def estimate_job(job: TileJob, *, executor: Executor, sample: int = 3) -> Estimate:
    """Try a few tiles without writing and say what the whole job would cost.

    Parameters
    ----------
    job
        Its inputs must exist: of a chain of jobs the first can be tried.
    sample
        Tiles to try, spread over the job's.

    Raises
    ------
    TileError
        A tried tile raised.
    """
    check_job(job)
    todo = job.todo
    picked = sorted(
        {todo[int((i + 0.5) * len(todo) / sample)] for i in range(sample)} if todo else ()
    )
    return _extrapolate(job, executor, _try(job, picked, executor))


def _try(job: TileJob, tiles: Sequence[int], executor: Executor) -> list[Outcome]:
    started = time.perf_counter()
    outcomes = compute_tiles(job, tiles, executor, None)
    if time.perf_counter() - started < SHORT_SECONDS:
        outcomes = compute_tiles(job, tiles, executor, None)
    return outcomes


def compute_tiles(
    job: TileJob, tiles: Sequence[int], executor: Executor, store: StoreLike | None
) -> list[Outcome]:
    """Compute some tiles of a job, into a store whose arrays exist or into nothing.

    Raises
    ------
    TileError
        One of them raised.
    """
    outcomes: list[Outcome] = []
    with closing(make_pool(TileTask.of(job, store), job.name, executor)) as pool:
        watchdog = Watchdog(executor, job.name)
        for index in tiles:
            pool.submit((index,))
        while pool.pending:
            for finished in [*pool.wait(0.25), *watchdog.look(pool)]:
                failure = finished.lost or finished.outcomes[0].failure
                if failure is not None:
                    tile = job.plan.tile(finished.pack[0])
                    raise TileError(
                        f"{job.name}: {describe_tile(tile)} failed in the trial: {failure.cause}"
                    )
                outcomes += finished.outcomes
    return outcomes


def read_voxels(job: TileJob, index: int) -> int:
    """Return the voxels that a tile reads, halo and all."""
    return prod(s.stop - s.start for s in job.plan.tile(index).read)


def _extrapolate(job: TileJob, executor: Executor, outcomes: Sequence[Outcome]) -> Estimate:
    todo = job.todo
    read = np.array([read_voxels(job, index) for index in todo], dtype=np.int64)
    pace = median([o.seconds / read_voxels(job, o.tile) for o in outcomes] or [0.0])
    # Tiles cannot be shared out more finely than one by one.
    total = max(pace * float(read.sum()) / executor.workers, pace * float(read.max(initial=0)))
    raw = sum(
        prod(stored_shape(spec, job)) * np.dtype(spec.dtype).itemsize
        for spec in job.outputs.values()
    ) * (len(todo) / len(job.plan))
    return describe_estimate(
        job,
        executor,
        tried=len(outcomes),
        tile_seconds=median([o.seconds for o in outcomes] or [0.0]),
        seconds=total,
        trial_memory_bytes=max((o.peak_memory_bytes for o in outcomes), default=0),
        disk_bytes=int(raw),
    )


def describe_estimate(
    job: TileJob,
    executor: Executor,
    *,
    tried: int,
    tile_seconds: float,
    seconds: float,
    trial_memory_bytes: int,
    disk_bytes: int,
) -> Estimate:
    """Put what was found beside what the plan says; see `Estimate` for the arguments."""
    return Estimate(
        job=job.name,
        tiles=len(job.todo),
        core_vox=job.plan.core,
        halo_vox=job.plan.halo,
        shape_vox=job.plan.shape,
        overhead=job.plan.overhead,
        workers=executor.workers,
        memory_bytes=memory_needed(job.plan, bytes_per_voxel=job.bytes_per_voxel),
        trial_memory_bytes=trial_memory_bytes,
        disk_bytes=disk_bytes,
        trial_tiles=tried,
        tile_seconds=tile_seconds,
        seconds=seconds,
    )


def _edges(shape: Shape3) -> str:
    return " x ".join(str(n) for n in reversed(shape))


def _size(amount: int) -> str:
    return f"{amount / 1e9:.2f} GB" if amount >= 1e9 else f"{amount / 1e6:.0f} MB"
