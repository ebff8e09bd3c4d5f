"""Arrays that tiles fill: one shard a tile, so that no two tiles ever write one file."""

from math import log, prod

import numpy as np
import zarr

from distres.engine.jobs import Array, OutputSpec, TileJob
from distres.engine.tiles import Tile
from distres.engine.torn import remove_shards
from distres.errors import ClusterError, ResumeError, UsageError
from distres.io.damage import CHECKED
from distres.io.stores import StoreLike

CHUNK_EDGE = 64
# Axes before z, y, x share a file while it stays this small, else each step gets its own file:
# a shard is built in memory before it is written.
SHARD_BYTES = 64 * 2**20


def inner_edge(shard_edge: int) -> int:
    """Return the divisor of a shard's edge that lies nearest to the read unit we want."""
    divisors = [d for d in range(1, shard_edge + 1) if shard_edge % d == 0]
    return min(divisors, key=lambda d: abs(log(d / CHUNK_EDGE)))


def stored_shape(spec: OutputSpec, job: TileJob) -> tuple[int, ...]:
    """Return the shape of one output's array."""
    return (*spec.lead, *(-(-n // spec.divisor) for n in job.plan.shape))


def storage_units(spec: OutputSpec, job: TileJob) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return (chunks, shards) of one output.

    Raises
    ------
    UsageError
        A tile's core is no whole number of stored voxels, so two tiles would share a shard.
    """
    d = spec.divisor
    chunks, shards = [], []
    for n, core in zip(job.plan.shape, job.plan.core, strict=True):
        if core < n and core % d:
            raise UsageError(
                f"{job.name}: a tile core of {core} voxels is no multiple of {d}, the step of the "
                f"output grid, so two tiles would write one file; use a core of {core - core % d} "
                f"or {core + d - core % d}"
            )
        edge = core // d if core < n else -(-n // d)
        if core >= n and edge > CHUNK_EDGE:
            # Nobody writes beside this tile: the shard may reach past the volume.
            edge = -(-edge // CHUNK_EDGE) * CHUNK_EDGE
        shards.append(edge)
        chunks.append(inner_edge(edge))
    whole = prod(spec.lead) * prod(shards) * np.dtype(spec.dtype).itemsize <= SHARD_BYTES
    lead = spec.lead if whole else (1,) * len(spec.lead)
    return (*(1 for _ in spec.lead), *chunks), (*lead, *shards)


def open_output(store: StoreLike, path: str, spec: OutputSpec, job: TileJob, made_by: str) -> None:
    """Create the array of one output, or check that the one on disk is the same.

    Parameters
    ----------
    made_by
        Fingerprint of the job, kept with the array: jobs that read it inherit the binding.

    Raises
    ------
    ResumeError
        The array exists and differs, or another job made it.
    """
    chunks, shards = storage_units(spec, job)
    shape = stored_shape(spec, job)
    group = zarr.open_group(store, mode="a")
    if path not in group:
        zarr.create_array(
            store,
            name=path,
            shape=shape,
            chunks=chunks,
            shards=shards,
            dtype=spec.dtype,
            fill_value=_fill_value(spec),
            compressors=CHECKED,
            attributes={"made_by": made_by, "job": job.name},
        )
        return
    array = zarr.open_array(store, path=path, mode="r")
    _compare(job, path, "shape", array.shape, shape)
    _compare(job, path, "type", str(array.dtype), spec.dtype)
    _compare(job, path, "shards", array.shards, shards)
    _compare(job, path, "job", array.attrs.get("job"), job.name)
    _compare(job, path, "fingerprint", array.attrs.get("made_by"), made_by)


def _fill_value(spec: OutputSpec) -> float | int | bool:
    if np.issubdtype(np.dtype(spec.dtype), np.floating):
        return spec.fill_value
    # NaN, the default, has no integer.
    return 0 if np.isnan(spec.fill_value) else int(spec.fill_value)


def _compare(job: TileJob, path: str, what: str, stored: object, given: object) -> None:
    if stored != given:
        raise ResumeError(
            f"{job.name}: the output {path} exists with {what} {stored}, but this run needs "
            f"{given}; use --overwrite or another --output"
        )


def write_part(store: StoreLike, path: str, spec: OutputSpec, tile: Tile, values: Array) -> int:
    """Write one tile's part of an output and return its size in bytes.

    Raises
    ------
    ClusterError
        The part does not fit its place.
    """
    region = spec.region(tile)
    wanted = (*spec.lead, *(s.stop - s.start for s in region))
    dtype = np.dtype(spec.dtype)
    if values.shape != wanted:
        raise ClusterError(f"output {path}: the tile gave shape {values.shape} instead of {wanted}")
    if not np.can_cast(values.dtype, dtype, "same_kind"):
        raise ClusterError(f"output {path}: the tile gave {values.dtype}, which is no {dtype}")
    array = zarr.open_array(store, path=path, mode="r+")
    part = values.astype(dtype, copy=False)
    try:
        array[(..., *region)] = part
    except (ValueError, RuntimeError):
        # Zarr reads the shard that lies there, and it is damaged; all of it is this tile's own.
        remove_shards(array, region)
        array[(..., *region)] = part
    return int(prod(wanted)) * dtype.itemsize
