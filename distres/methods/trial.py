"""Dry runs: what a chain of jobs would cost, with noise standing in for arrays not made yet."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from distres.engine.cluster import Executor
from distres.engine.estimate import Estimate, estimate_job
from distres.engine.jobs import Array, Json, TileJob
from distres.engine.progress import format_seconds
from distres.io.volume import Volume
from distres.methods.pyramid_tiles import copy_job, halving_job


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """White noise in the shape of an array that an earlier job will make.

    Attributes
    ----------
    shape
        Of the array.
    """

    shape: tuple[int, ...]

    def read(self, region: tuple[slice, ...]) -> Array:
        """Return noise for a region of the last axes; leading axes are whole."""
        sizes = (s.indices(n) for s, n in zip(region, self.shape[-len(region) :], strict=True))
        shape = (*self.shape[: -len(region)], *(len(range(*size)) for size in sizes))
        return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)

    def identity(self) -> dict[str, Json]:
        """Say that it is no data."""
        return {"kind": "noise", "shape": list(self.shape)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainEstimate:
    """What a chain of jobs would cost, job by job and in all.

    Attributes
    ----------
    jobs
        In order.
    workers
        Tiles computed at the same time.
    other_seconds
        Wall time outside of jobs: starting, what one process does alone, pictures.
    """

    jobs: tuple[Estimate, ...]
    workers: int
    other_seconds: float = 0.0

    @property
    def seconds(self) -> float:
        """Wall time."""
        return sum(job.seconds for job in self.jobs) + self.other_seconds

    @property
    def memory_bytes(self) -> int:
        """Memory one worker must have."""
        return max(job.memory_bytes for job in self.jobs)

    @property
    def disk_bytes(self) -> int:
        """Size of everything stored."""
        return sum(job.disk_bytes for job in self.jobs)

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "seconds": self.seconds,
            "memory_bytes_per_worker": self.memory_bytes,
            "disk_bytes": self.disk_bytes,
            "workers": self.workers,
            "other_seconds": self.other_seconds,
            "jobs": [asdict(job) for job in self.jobs],
        }

    def __str__(self) -> str:
        total = (
            f"in all: {format_seconds(self.seconds)}, {self.memory_bytes / 1e9:.2f} GB of memory a "
            f"worker, {self.disk_bytes / 1e9:.2f} GB of disk"
        )
        other = [f"beside jobs: {format_seconds(self.other_seconds)}"] if self.other_seconds else []
        return "\n".join([*(str(job) for job in self.jobs), *other, total])


def ingest_jobs(volume: Volume, name: str, executor: Executor, levels: int) -> list[TileJob]:
    """Return the jobs that put an input into a run: its copy, and levels 1 to `levels` - 1."""
    jobs = []
    if volume.random_access:
        jobs.append(copy_job(volume, f"inputs/{name}/0", executor=executor, outputs=True))
    return jobs + [
        halving_job(
            StandIn(shape=volume.grid.coarser(2 ** (level - 1)).shape),
            f"inputs/{name}/{level}",
            executor=executor,
            outputs=True,
        )
        for level in range(1, levels)
    ]


def estimate_chain(jobs: Sequence[TileJob], executor: Executor) -> ChainEstimate:
    """Try three tiles of every job; nothing is left behind.

    Parameters
    ----------
    jobs
        In order; a job repeated in the chain is tried once.
    """
    known: dict[str, Estimate] = {}
    for job in jobs:
        if job.name not in known:
            known[job.name] = estimate_job(job, executor=executor)
    return ChainEstimate(jobs=tuple(known[job.name] for job in jobs), workers=executor.workers)
