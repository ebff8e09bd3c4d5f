"""Choose the tile: the largest that fits the memory and still feeds all workers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import ceil, lcm, prod

from scipy.fft import next_fast_len

from distres.engine.fingerprint import digest
from distres.engine.process import PROCESS_BYTES, available_memory_bytes
from distres.engine.run import Run
from distres.engine.tiles import Region, Shape3, TilePlan
from distres.errors import ClusterError, UsageError

# Volumes up to this many voxels are one tile if memory allows, whatever the workers: seconds of
# work, and the answer then owes nothing to halos.
WHOLE_VOXELS = 160**3
# What a tile costs before its first voxel (opening stores, tables, a row in the ledger), as voxels:
# without it, passes that have no halo would be cut into crumbs.
TILE_VOXELS = 64**3
# Left free of a worker's memory, so that it never comes near the limit where Dask pauses it.
USABLE = 0.8
SMALLEST_CORE = 32
STEP = 8
MANY = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Focus:
    """A small part of a volume that tiles are planned around.

    Attributes
    ----------
    window
        Box that holds all voxels wanted; it may reach past the volume.
    count
        Says how many tiles of a plan have a voxel wanted: only these are computed.
    """

    window: Region
    count: Callable[[TilePlan], int]

    def aligned(self, shape: Shape3, multiple: int) -> Region:
        """Return the window inside a volume, its ends on multiples or on the volume's faces."""
        z, y, x = (
            slice(
                max(part.start, 0) // multiple * multiple,
                min(-(-part.stop // multiple) * multiple, n),
            )
            for part, n in zip(self.window, shape, strict=True)
        )
        return z, y, x


def plan_tiles(
    shape: Shape3,
    *,
    halo: Shape3,
    bytes_per_voxel: float,
    memory_bytes: int | None = None,
    workers: int = 1,
    tile: int | None = None,
    multiple: int = 1,
    process_bytes: int = PROCESS_BYTES,
    run: Run | None = None,
    focus: Focus | None = None,
) -> TilePlan:
    """Plan the tiles of one pass.

    A small volume is one tile. Otherwise, among the tiles that fit, the plan has the least time
    that list scheduling guarantees:
    (voxels read by one tile + `TILE_VOXELS`) x (tiles / workers + 1 - 1 / workers).
    With one worker that is the largest tile; with more, tiles shrink until the halo and the
    overhead of a tile eat the gain. With a `focus`, cores are cut to its window and only the tiles
    that are computed count, so that tiles close around what is wanted.

    Parameters
    ----------
    shape
        Volume (z, y, x) in voxels.
    halo
        Voxels a tile reads around its core.
    bytes_per_voxel
        Working memory per voxel of the block read.
    memory_bytes
        What one worker may use; None takes what the machine has.
    workers
        Workers to feed.
    tile
        Core edge in voxels, which overrides the choice.
    multiple
        The core is a multiple of this (coarser output grids need it).
    process_bytes
        What a process takes before it reads anything.
    run
        Remembers the plan: a run that is resumed with other workers or memory keeps its tiles.
    focus
        The part of the volume that is wanted, where that is small; None where it is most of it.

    Raises
    ------
    ClusterError
        No tile fits; the message names the smallest memory that works.
    """
    if memory_bytes is None:
        memory_bytes = available_memory_bytes() // max(workers, 1)
    key = digest([shape, halo, bytes_per_voxel, tile, multiple, *(["focus"] if focus else [])])
    remembered = run.remembered("plans").get(key) if run is not None else None
    if remembered is not None:
        z, y, x = remembered
        plans = [TilePlan(shape=shape, core=(z, y, x), halo=halo)]
    elif tile is not None:
        if tile < 1:
            raise UsageError(f"a tile edge of {tile} voxels is too small; use 16 or more")
        edge = ceil(tile / multiple) * multiple
        plans = [_plan(shape, (edge, edge, edge), halo, multiple)]
    else:
        plans = list(_candidates(shape, halo, multiple))
    if focus is not None:
        plans = [replace(plan, window=focus.aligned(shape, multiple)) for plan in plans]

    def needed(plan: TilePlan) -> int:
        return memory_needed(plan, bytes_per_voxel=bytes_per_voxel, process_bytes=process_bytes)

    fitting = [plan for plan in plans if needed(plan) <= memory_bytes]
    if not fitting:
        best = min(plans, key=needed)
        raise ClusterError(_too_little(memory_bytes, best, needed(best), tile, remembered))
    chosen = fitting[0]
    if focus is not None or len(chosen) > 1 or prod(shape) > WHOLE_VOXELS:
        count = focus.count if focus is not None else len
        chosen = min(fitting, key=lambda plan: (_time(plan, workers, count(plan)), len(plan)))
    if run is not None and remembered is None:
        run.remember("plans", key, list(chosen.core))
    return chosen


def _too_little(
    memory_bytes: int, best: TilePlan, needed: int, tile: int | None, remembered: object
) -> str:
    core = " x ".join(str(n) for n in reversed(best.core))
    if remembered is not None:
        what, remedy = "the tile this run was begun with", "or use --overwrite to plan anew"
    elif tile is not None:
        what, remedy = "the tile of --tile", "or lower --tile"
    else:
        what, remedy = "the smallest tile", "or use fewer workers"
    return (
        f"{_megabytes(memory_bytes)} of memory a worker is too little: {what}, {core} voxels with "
        f"a halo of {max(best.halo)}, needs {_megabytes(needed)}; give --memory "
        f"{_megabytes(needed).replace(' ', '')} {remedy}"
    )


def memory_needed(
    plan: TilePlan, *, bytes_per_voxel: float, process_bytes: int = PROCESS_BYTES
) -> int:
    """Return the memory that one worker must have for the tiles of a plan."""
    return ceil((process_bytes + bytes_per_voxel * padded_voxels(plan)) / USABLE)


def padded_voxels(plan: TilePlan) -> int:
    """Return the voxels of the largest block a tile reads, padded to fast transform lengths."""
    return prod(next_fast_len(n, real=True) for n in plan.read_shape)


def _time(plan: TilePlan, workers: int, tiles: int) -> float:
    return (padded_voxels(plan) + TILE_VOXELS) * (tiles / workers + 1 - 1 / workers)


def _candidates(shape: Shape3, halo: Shape3, multiple: int) -> Iterator[TilePlan]:
    """Yield plans worth comparing, the whole volume first."""
    smallest = ceil(SMALLEST_CORE / multiple) * multiple
    most = tuple(max(1, n // smallest) for n in shape)
    seen: set[tuple[int, ...]] = set()
    few = product(*(range(1, min(m, MANY) + 1) for m in most))
    edges = range(max(shape), smallest - 1, -STEP)
    cubes = (tuple(min(m, ceil(n / e)) for n, m in zip(shape, most, strict=True)) for e in edges)
    for counts in (*few, *cubes, most):
        if counts not in seen:
            seen.add(counts)
            core = tuple(
                _core(n, c, h, multiple) for n, c, h in zip(shape, counts, halo, strict=True)
            )
            yield _plan(shape, (core[0], core[1], core[2]), halo, multiple)


def _core(n: int, count: int, halo: int, multiple: int) -> int:
    """Cut `n` voxels into `count` cores that are even and read a fast transform length."""
    if count == 1:
        return n
    step = lcm(multiple, STEP)
    even = ceil(n / count)
    core = ceil(even / step) * step
    read = next_fast_len(core + 2 * halo, real=True)
    larger = (read - 2 * halo) // step * step
    # Grow into the padding, unless the last tile would starve for it.
    return larger if ceil(n / larger) == ceil(n / core) else core


def _plan(shape: Shape3, core: Shape3, halo: Shape3, multiple: int) -> TilePlan:
    z, y, x = (ceil(min(c, n) / multiple) * multiple for c, n in zip(core, shape, strict=True))
    return TilePlan(shape=shape, core=(z, y, x), halo=halo)


def _megabytes(amount: int) -> str:
    return f"{ceil(amount / 1e6)} MB"
