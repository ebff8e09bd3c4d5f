"""What the global FSC needs in memory, and how large its slabs and columns may be.

Also asked by methods that must hold a whole volume in one worker.
"""

from math import ceil, prod
from typing import Any

from distres.engine.cluster import Executor
from distres.engine.outputs import CHUNK_EDGE
from distres.engine.planner import USABLE, memory_needed
from distres.engine.process import PROCESS_BYTES, available_memory_bytes
from distres.engine.tiles import Shape3, TilePlan
from distres.errors import ClusterError

# Measured peaks above the idle process, per voxel of the block (docs/fsc.md).
WHOLE_BYTES_PER_VOXEL = 32.0
SURVEY_BYTES_PER_VOXEL = 32.0
SLAB_BYTES_PER_VOXEL = 48.0
COLUMN_BYTES_PER_COEFFICIENT = 64.0


def memory_per_worker(executor: Executor) -> int:
    """Bytes one worker may use: what it was given, else its share of what the machine has left."""
    if executor.memory_bytes is not None:
        return executor.memory_bytes
    return available_memory_bytes() // max(executor.workers, 1)


def fits(shape: Shape3, executor: Executor) -> bool:
    """Say whether one worker can hold the whole computation."""
    return _needed(prod(shape) * WHOLE_BYTES_PER_VOXEL) <= memory_per_worker(executor)


def require_whole(
    shape: Shape3, executor: Executor, bytes_per_voxel: float, *, what: str, instead: str = ""
) -> None:
    """Refuse a volume that one worker cannot hold, before anything is computed.

    Parameters
    ----------
    what
        Who needs which volume: ``a directional FSC needs both halves``.
    instead
        Another remedy than more memory.

    Raises
    ------
    ClusterError
        It cannot.
    """
    needed = memory_needed(TilePlan.whole(shape), bytes_per_voxel=bytes_per_voxel)
    memory = memory_per_worker(executor)
    if needed > memory:
        raise ClusterError(
            f"{what} of {prod(shape)} voxels in one worker: {needed / 1e9:.1f} GB, and it has "
            f"{memory / 1e9:.1f} GB; give --memory with fewer workers{instead}"
        )


def _needed(working_bytes: float) -> int:
    return ceil((working_bytes + PROCESS_BYTES) / USABLE)


def _room(executor: Executor, bytes_each: float) -> int:
    free = memory_per_worker(executor) * USABLE - PROCESS_BYTES
    return int(free // bytes_each)


def _refuse(executor: Executor, least_bytes: float, what: str) -> ClusterError:
    return ClusterError(
        f"{memory_per_worker(executor) / 1e6:.0f} MB of memory a worker cannot hold {what} of this "
        f"volume; raise --memory to at least {ceil(_needed(least_bytes) / 1e6)} MB"
    )


def thickness(
    length: int, bytes_per_layer: float, executor: Executor, *, tile_vox: int | None = None
) -> int:
    """Choose how many planes make a slab.

    As many as one chunk of the store or a sixteenth of the axis, fewer if memory is short. The
    number of workers plays no part, so that a run can be resumed with another number.

    Raises
    ------
    ClusterError
        Not even one plane fits.
    """
    room = _room(executor, bytes_per_layer)
    if room < 1:
        raise _refuse(executor, bytes_per_layer, "one plane")
    wanted = tile_vox or max(CHUNK_EDGE, -(-length // 16))
    return min(room, wanted, length)


def column_size(
    half_shape: Shape3, executor: Executor, *, tile_vox: int | None = None
) -> tuple[int, int]:
    """Choose rows and columns of the half space whose whole length along z makes a tile.

    Whole chunks of the store, else every tile would read its neighbours' too: all columns of x
    where they fit, and one chunk of rows.

    Raises
    ------
    ClusterError
        Not even one column fits.
    """
    nz, ny, nxh = half_shape
    room = _room(executor, nz * COLUMN_BYTES_PER_COEFFICIENT)
    if room < 1:
        raise _refuse(executor, nz * COLUMN_BYTES_PER_COEFFICIENT, "one column")
    edge = tile_vox or CHUNK_EDGE
    rows = min(edge, ny, room)
    columns = min(nxh, room // rows)
    if columns < nxh and columns > edge:
        columns -= columns % edge
    return rows, columns


def memory_estimate(
    shape: Shape3, executor: Executor, *, masked: bool, tile_vox: int | None = None
) -> dict[str, Any]:
    """Say how a volume would be computed and what that takes, as JSON values.

    Keys: ``at_once``, ``slabs`` (tiles of the first pass), ``memory_bytes`` (a worker),
    ``disk_bytes`` (intermediate transforms, before compression).
    """
    voxels = prod(shape)
    if fits(shape, executor):
        return {
            "at_once": True,
            "slabs": 1,
            "memory_bytes": _needed(voxels * WHOLE_BYTES_PER_VOXEL),
            "disk_bytes": 0,
        }
    nz, ny, nx = shape
    layer = ny * nx * SLAB_BYTES_PER_VOXEL
    thick = thickness(nz, layer, executor, tile_vox=tile_vox)
    half = nz * ny * (nx // 2 + 1)
    rows, columns = column_size((nz, ny, nx // 2 + 1), executor, tile_vox=tile_vox)
    working = max(thick * layer, nz * rows * columns * COLUMN_BYTES_PER_COEFFICIENT)
    # Two transforms of each kind: plain; with a mask also masked, turned, and turned and masked.
    return {
        "at_once": False,
        "slabs": -(-nz // thick),
        "memory_bytes": _needed(working),
        "disk_bytes": (8 if masked else 2) * 8 * half,
    }
