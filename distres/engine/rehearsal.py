"""Rehearsals: a command runs for real, but every long job computes a few of its tiles only.

While one goes on, `distres.engine.runner.run_job` hands each job to `Rehearsal.attempt`, and
outputs of which only some tiles exist are read as if one of them were repeated all over the volume.
So methods need no plan of their own for a forecast: what is not sampled is measured.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from distres.engine.jobs import Array, TileJob, ZarrSource
from distres.engine.tables import Table
from distres.engine.tiles import Region

if TYPE_CHECKING:
    from distres.engine.cluster import Executor
    from distres.engine.estimate import Estimate
    from distres.engine.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated(ZarrSource):
    """An array of which one part was computed, read as if that part went on for ever.

    Attributes
    ----------
    part
        Start and stop along z, y, x.
    """

    part: tuple[tuple[int, int], ...]

    def read(self, region: tuple[slice, ...]) -> Array:
        """Read the voxels of `region` from the part, wrapped around."""
        lead, space = region[:-3], region[-3:]
        known = tuple(slice(*ends) for ends in self.part)
        # Slots leave no zero-argument super() in a dataclass.
        values = ZarrSource.read(self, (*lead, *known))
        ends = zip(space, self.part, self.shape[-3:], strict=True)
        for axis, (wanted, (start, stop), n) in enumerate(ends, start=-3):
            place = np.arange(*wanted.indices(n))
            values = np.take(values, (place - start) % (stop - start), axis=axis)
        return values


Attempt = Callable[[TileJob, "Run", "Executor", "Rehearsal"], Table]


@dataclass(slots=True, kw_only=True)
class Rehearsal:
    """What was tried so far, and what it says of the whole run.

    Attributes
    ----------
    attempt
        Computes some tiles of a job, or all, and notes what all of them would take.
    whole
        How names of jobs begin that are computed whole, because what they find decides which tiles
        others have.
    guide, guide_divisor
        Path of the array that says where tiles have something to do (positive), and voxels of the
        finest grid along its cells.
    jobs
        What each job would take.
    spent_seconds, expected_seconds
        What the parts that were tried took here, and what the whole of them would take.
    parts
        Per output the region that was computed, where that is not all.
    tables
        Rows by job.
    """

    attempt: Attempt
    whole: tuple[str, ...] = ()
    guide: str = ""
    guide_divisor: int = 1
    jobs: list["Estimate"] = field(default_factory=list)
    spent_seconds: float = 0.0
    expected_seconds: float = 0.0
    parts: dict[str, Region] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)

    def source(self, source: ZarrSource) -> ZarrSource:
        """Return an output as later jobs read it."""
        part = self.parts.get(source.path)
        if part is None:
            return source
        return Repeated(
            store=source.store,
            path=source.path,
            shape=source.shape,
            made_by=source.made_by,
            part=tuple((s.start, s.stop) for s in part),
        )

    @contextmanager
    def scaled(self, scale: float) -> Iterator[None]:
        """Take what is done inside for one part in `scale` of what the whole run does there."""
        started = time.perf_counter()
        yield
        seconds = time.perf_counter() - started
        self.spent_seconds += seconds
        self.expected_seconds += scale * seconds


_current: list[Rehearsal] = []


def current() -> Rehearsal | None:
    """Return the rehearsal that is going on in this process, if one is."""
    return _current[-1] if _current else None


@contextmanager
def rehearsing(rehearsal: Rehearsal) -> Iterator[Rehearsal]:
    """Make a rehearsal of what runs inside."""
    _current.append(rehearsal)
    try:
        yield rehearsal
    finally:
        _current.remove(rehearsal)
