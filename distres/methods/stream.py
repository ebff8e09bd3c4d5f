"""Inputs that can only be read from front to back are stored once, by this process."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from math import fsum, prod
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from distres.engine.fingerprint import digest
from distres.engine.tables import Table
from distres.engine.tiles import Region
from distres.errors import ResumeError
from distres.io.damage import CHECKED
from distres.io.stores import StoreLike
from distres.io.volume import Volume

logger = logging.getLogger(__name__)

CHUNK = 64
SLAB = 128
SLAB_BYTES = 1 << 29
_LOG_SECONDS = 15.0

Voxels = npt.NDArray[np.float32]
Count = Callable[[Voxels, Region, tuple[int, ...]], Mapping[str, Any]]


def slab_thickness(volume: Volume) -> int:
    """Return how many voxels to take at a time, so that a slab fits half a gigabyte."""
    plane_bytes = 4 * prod(volume.shape) // volume.shape[volume.slab_axis]
    thickness = SLAB
    while thickness > 1 and thickness * plane_bytes > SLAB_BYTES:
        thickness //= 2
    return thickness


def made_by(volume: Volume, settings: Mapping[str, Any]) -> str:
    """Return the fingerprint of what an array is filled from."""
    return digest({"input": volume.identity(), "settings": dict(settings)})


def open_streamed(store: StoreLike, path: str, volume: Volume, fingerprint: str) -> zarr.Array[Any]:
    """Open the array that a volume goes to, or create it in chunks that one slab fills.

    Raises
    ------
    ResumeError
        The array was filled from something else.
    """
    if path in zarr.open_group(store, mode="a"):
        array = zarr.open_array(store, path=path, mode="r+")
        if array.attrs.get("made_by") != fingerprint:
            raise ResumeError(
                f"{path} was stored from another input than {volume.path}; use --overwrite or "
                "another --output"
            )
        return array
    axis = volume.slab_axis
    chunks, shards = [CHUNK] * 3, [min(SLAB, -(-n // CHUNK) * CHUNK) for n in volume.shape]
    shards[axis] = min(shards[axis], slab_thickness(volume))
    chunks[axis] = min(CHUNK, shards[axis])
    return zarr.create_array(
        store,
        name=path,
        shape=volume.shape,
        chunks=tuple(chunks),
        shards=tuple(shards),
        dtype="float32",
        fill_value=float("nan"),
        compressors=CHECKED,
        attributes={"made_by": fingerprint},
    )


def stream(
    volume: Volume, array: zarr.Array[Any], *, count: Count, change: Callable[[Voxels], Voxels]
) -> Table:
    """Fill an array in one pass and return one row for the whole volume.

    Parameters
    ----------
    volume
        What to read.
    array
        Where it goes. When an earlier call filled it, nothing is read.
    count
        Makes the row of a slab.
    change
        What is stored instead of the voxels that were read.
    """
    row = array.attrs.get("row")
    if isinstance(row, Mapping):
        logger.info("%s is stored already", volume.path)
        return _table(row)
    rows = []
    told = time.monotonic()
    axis = volume.slab_axis
    for region, values in volume.slabs(slab_thickness(volume)):
        rows.append(count(values, region, volume.shape))
        array[region] = change(values)
        if time.monotonic() - told > _LOG_SECONDS:
            told = time.monotonic()
            logger.info("%s: %d of %d", volume.path, region[axis].stop, volume.shape[axis])
    merged = merge_rows(rows)
    # Only now is the array whole: a pass that was cut short leaves no row and is done again.
    array.attrs["row"] = merged
    return _table(merged)


def merge_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Merge the rows of `count_voxels` into one of the same kind, as JSON values."""
    firsts = [int(row["first_nonfinite"]) for row in rows if row["first_nonfinite"] >= 0]
    finite = [row for row in rows if np.isfinite(row["minimum"])] or [{"minimum": 0, "maximum": 0}]
    return {
        "minimum": float(min(row["minimum"] for row in finite)),
        "maximum": float(max(row["maximum"] for row in finite)),
        "sum": fsum(row["sum"] for row in rows),
        "squares": fsum(row["squares"] for row in rows),
        "nonfinite": sum(int(row["nonfinite"]) for row in rows),
        "first_nonfinite": min(firsts, default=-1),
    }


def _table(row: Mapping[str, Any]) -> Table:
    return Table(
        tiles=np.zeros(1, dtype=np.int64),
        columns={name: np.array([value]) for name, value in row.items()},
    )
