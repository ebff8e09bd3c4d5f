"""One job of a rehearsal: some of its tiles are computed, and what all of them take is forecast.

The time of a tile is fitted as (voxels it reads) x (a + b x share of them with something to do), a
and b not negative, from tiles whose shares differ as much as the job's do. The time of the job is
that of handing these tiles out in order, and what the job took beside its tiles.
"""

import heapq
import logging
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import zarr
from scipy.optimize import nnls

from distres.engine.cluster import Executor
from distres.engine.estimate import (
    SHORT_SECONDS,
    compute_tiles,
    describe_estimate,
    read_voxels,
)
from distres.engine.fingerprint import describe_job, digest
from distres.engine.jobs import TileJob
from distres.engine.ledger import Ledger
from distres.engine.outputs import open_output
from distres.engine.rehearsal import Rehearsal
from distres.engine.run import Run
from distres.engine.runner import check_job, compute_job
from distres.engine.tables import Table
from distres.engine.tasks import Outcome

logger = logging.getLogger(__name__)

FEWEST, MOST = 3, 8

Floats = npt.NDArray[np.float64]


def attempt(job: TileJob, run: Run, executor: Executor, rehearsal: Rehearsal) -> Table:
    """Compute some tiles of a job into the run, note what all would take, and return their rows."""
    if job.name in rehearsal.tables:
        return rehearsal.tables[job.name]
    todo = sorted(set(job.todo))
    count = min(max(FEWEST, 2 * executor.workers), MOST)
    if len(todo) <= count + 1 or job.name.startswith(rehearsal.whole):
        table = _whole(job, run, executor, rehearsal)
    else:
        table = _part(job, todo, count, run, executor, rehearsal)
    rehearsal.tables[job.name] = table
    return table


def _whole(job: TileJob, run: Run, executor: Executor, rehearsal: Rehearsal) -> Table:
    table = compute_job(job, run=run, executor=executor)
    stats, tiles = table.stats, len(set(job.todo))
    rehearsal.jobs.append(
        describe_estimate(
            job,
            executor,
            tried=tiles,
            tile_seconds=stats.tile_seconds / max(tiles, 1),
            seconds=stats.wall_seconds,
            trial_memory_bytes=max(stats.peak_memory_bytes.values(), default=0),
            disk_bytes=stored_bytes(job, run),
        )
    )
    return table


def _part(
    job: TileJob,
    todo: Sequence[int],
    count: int,
    run: Run,
    executor: Executor,
    rehearsal: Rehearsal,
) -> Table:
    began = time.perf_counter()
    check_job(job)
    fingerprint = describe_job(job)
    ledger = Ledger.open(run.ledger_directory(job.name), fingerprint, job=job.name)
    for path, spec in job.outputs.items():
        open_output(run.store, path, spec, job, digest(fingerprint))
    voxels = np.array([read_voxels(job, index) for index in todo], dtype=np.float64)
    shares = _shares(job, todo, run, rehearsal)
    order = np.argsort(voxels * (shares + 0.1), kind="stable")
    picked = sorted({int(order[int((i + 0.5) * len(todo) / count)]) for i in range(count)})
    logger.info("%s: trying %d of %d tiles", job.name, len(picked), len(todo))
    tiles = [todo[place] for place in picked]
    started = time.perf_counter()
    outcomes = compute_tiles(job, tiles, executor, run.store)
    spent, loading = time.perf_counter() - started, 0.0
    if spent < SHORT_SECONDS:
        # Again, so that loading libraries is not taken for work; it is work that is done once.
        started = time.perf_counter()
        outcomes = compute_tiles(job, tiles, executor, run.store)
        again = time.perf_counter() - started
        loading, spent = max(spent - again, 0.0), again
    known = {outcome.tile: outcome.seconds for outcome in outcomes}
    tried = np.array([known[index] for index in tiles])
    beside = max(spent - makespan(tried.tolist(), executor.workers), 0.0)
    forecast = _forecast(voxels, shares, picked, tried)
    seconds = makespan(forecast.tolist(), executor.workers) + beside + loading
    rehearsal.jobs.append(
        describe_estimate(
            job,
            executor,
            tried=len(tiles),
            tile_seconds=float(np.median(tried)),
            seconds=seconds,
            trial_memory_bytes=max(outcome.peak_memory_bytes for outcome in outcomes),
            disk_bytes=int(stored_bytes(job, run) * len(todo) / len(tiles)),
        )
    )
    best = tiles[int(np.argmax((voxels * (shares + 0.1))[picked]))]
    for path, spec in job.outputs.items():
        rehearsal.parts[path] = spec.region(job.plan.tile(best))
    table = _table(ledger, outcomes)
    rehearsal.spent_seconds += time.perf_counter() - began
    rehearsal.expected_seconds += seconds
    return table


def _table(ledger: Ledger, outcomes: Sequence[Outcome]) -> Table:
    for outcome in outcomes:
        ledger.add(outcome.tile, outcome.row)
    ledger.flush()
    return ledger.table(sorted(outcome.tile for outcome in outcomes))


def _shares(job: TileJob, todo: Sequence[int], run: Run, rehearsal: Rehearsal) -> Floats:
    """Return for each tile the share of its core where the guide is positive; 1 without one."""
    ones = np.ones(len(todo))
    if not rehearsal.guide or rehearsal.guide not in zarr.open_group(run.store, mode="r"):
        return ones
    cells = np.asarray(zarr.open_array(run.store, path=rehearsal.guide, mode="r")[...]) > 0
    divisor = rehearsal.guide_divisor
    # A level of a pyramid has one voxel for so many of the finest.
    factors = [c * divisor / n for c, n in zip(cells.shape, job.plan.shape, strict=True)]
    factor = max(1, 2 ** round(float(np.log2(np.mean(factors)))))
    for place, index in enumerate(todo):
        part = tuple(
            slice(s.start * factor // divisor, max(-(-s.stop * factor // divisor), 1))
            for s in job.plan.tile(index).core
        )
        ones[place] = cells[part].mean() if cells[part].size else 0.0
    return ones


def _forecast(
    voxels: Floats, shares: Floats, picked: Sequence[int], tried_seconds: Floats
) -> Floats:
    """Return the time of every tile from that of those that were tried."""
    terms = np.stack([voxels, voxels * shares], axis=1)
    # Relative errors count: a small tile's time is as well known as a large one's.
    weights = 1 / np.maximum(tried_seconds, 1e-6)
    scale = voxels.max()
    found, _ = nnls(terms[picked] / scale * weights[:, None], np.ones(len(picked)))
    seconds: Floats = terms / scale @ found
    return seconds


def makespan(seconds: Sequence[float], workers: int) -> float:
    """Return how long it takes to compute tiles in order, each by the worker that is free first."""
    free = [0.0] * max(workers, 1)
    for each in seconds:
        heapq.heapreplace(free, free[0] + each)
    return max(free)


def stored_bytes(job: TileJob, run: Run) -> int:
    """Return what the outputs of a job take in the run's folder."""
    return sum(
        file.stat().st_size
        for path in job.outputs
        for file in (run.store_path / path).rglob("c/**/*")
        if file.is_file()
    )
