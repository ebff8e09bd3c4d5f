"""Convert any volume to an OME-Zarr image, tile by tile, with its pyramid."""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import zarr
from zarr.codecs import BloscCodec

from distres import __version__
from distres.engine.cluster import Executor
from distres.engine.jobs import ZarrSource
from distres.engine.run import Run
from distres.engine.runner import run_job
from distres.engine.tiles import Shape3
from distres.errors import ResumeError, UsageError
from distres.io.grid import Grid
from distres.io.omezarr import OWN, describe
from distres.io.volume import Volume
from distres.kernels.resample import HALVING_HALO, HALVING_NAME
from distres.methods.image_place import ImagePlace
from distres.methods.pyramid import (
    InputStatistics,
    NonFiniteError,
    default_levels,
    summarise,
)
from distres.methods.pyramid_tiles import (
    copy_job,
    count_voxels,
    halving_job,
    replaced,
    require_memory,
)
from distres.methods.stream import made_by, slab_thickness, stream

logger = logging.getLogger(__name__)

NGFF_VERSIONS = ("0.4", "0.5")
FILE_EDGE = 128  # edge of what lies in one file: a chunk of 0.4, a shard of 0.5
CHUNK_EDGE = 64  # read unit of 0.5
HALVING_CORES: tuple[Shape3, ...] = ((2 * FILE_EDGE,) * 3,)  # tiles then write whole files


def convert(
    volume: Volume,
    path: str | Path,
    executor: Executor,
    *,
    ngff: str = "0.4",
    levels: int | None = None,
    replace_nonfinite: float | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> InputStatistics:
    """Write a volume as an OME-Zarr image (z, y, x) float32 in angstrom.

    The image's metadata are written last: what was cut short is no image yet, and `resume` goes
    on with it. Voxel size and position become scale and translation; the MRC header, the source's
    fingerprint and the filter of the levels are kept under the attribute ``distres``.

    Parameters
    ----------
    volume
        What to convert.
    path
        Folder to make, or ``s3://bucket/place``; by custom it ends in ``.zarr``.
    executor
        Where tiles are computed.
    ngff
        ``0.4`` (Zarr 2, read by ChimeraX, copick and the CryoET portal) or ``0.5`` (Zarr 3,
        sharded).
    levels
        Levels of the pyramid; None for `default_levels`.
    replace_nonfinite
        Value for NaN and infinite voxels; None refuses them.
    resume, overwrite
        Go on with, or replace, what lies at `path`.

    Raises
    ------
    OutputExistsError
        Something lies at `path` and neither was asked for.
    NonFiniteError
        The volume holds NaN or infinite voxels; the output is then removed again.
    """
    if ngff not in NGFF_VERSIONS:
        raise UsageError(f"OME-Zarr {ngff} is not written; use {' or '.join(NGFF_VERSIONS)}")
    target = ImagePlace.of(path)
    count = levels or default_levels(volume.shape)
    grids = [volume.grid.coarser(2**level) for level in range(count)]
    require_memory(volume, executor, levels=count, cores=HALVING_CORES)
    target.prepare(resume=resume, overwrite=overwrite)
    try:
        statistics = _write_levels(volume, target, executor, grids, ngff, replace_nonfinite)
    except NonFiniteError:
        if not resume:  # made by this call, and nothing that other options could go on with
            target.remove()
        raise
    group = zarr.open_group(target.store, mode="r+")
    group.attrs.update(image_attributes(volume, grids, ngff, statistics, name=target.name))
    target.finish()
    return statistics


def _write_levels(
    volume: Volume,
    target: ImagePlace,
    executor: Executor,
    grids: list[Grid],
    ngff: str,
    replace_nonfinite: float | None,
) -> InputStatistics:
    with target.open_run() as run:
        zarr.open_group(target.store, mode="a", zarr_format=2 if ngff == "0.4" else 3)
        fingerprint = made_by(volume, {"replace_nonfinite": replace_nonfinite, "ngff": ngff})
        for level, grid in enumerate(grids):
            _open_level(target, level, grid, volume if level == 0 else None, ngff, fingerprint)
        statistics = _write_finest(volume, target, run, executor, replace_nonfinite)
        for level in range(1, len(grids)):
            fine = ZarrSource.of(target.address, str(level - 1))
            place = {"store": target.address, "path": str(level)}
            job = halving_job(
                fine,
                f"level {level}",
                outputs=False,
                executor=executor,
                cores=HALVING_CORES,
                target=place,
            )
            run_job(job, run=run, executor=executor)
    return statistics


def image_attributes(
    volume: Volume, grids: list[Grid], ngff: str, statistics: InputStatistics, *, name: str
) -> dict[str, Any]:
    """Return the attributes of the image group: OME-NGFF, and what only we need."""
    axes = [{"name": axis, "type": "space", "unit": "angstrom"} for axis in "zyx"]
    image: dict[str, Any] = {
        "name": name,
        "axes": axes,
        "datasets": [
            {"path": str(level), "coordinateTransformations": _transformations(grid)}
            for level, grid in enumerate(grids)
        ],
        "type": HALVING_NAME,
        "metadata": {
            "description": "half-band sinc under a Kaiser window, "
            f"{2 * HALVING_HALO + 1} taps an axis; voxel i of a level lies on voxel 2 i of the "
            "level before",
            "method": "distres.kernels.resample.halve",
            "version": __version__,
        },
    }
    own = {
        **describe(volume.grid, volume.header),
        "source": volume.identity(),
        "halving": HALVING_NAME,
        "statistics": asdict(statistics),
        "version": __version__,
    }
    if ngff == "0.4":
        return {"multiscales": [{"version": "0.4", **image}], OWN: own}
    return {"ome": {"version": "0.5", "multiscales": [image]}, OWN: own}


def _transformations(grid: Grid) -> list[dict[str, Any]]:
    scale = {"type": "scale", "scale": list(grid.voxel_size_angstrom)}
    if not any(grid.origin_angstrom):
        return [scale]
    return [scale, {"type": "translation", "translation": list(grid.origin_angstrom)}]


def _write_finest(
    volume: Volume,
    target: ImagePlace,
    run: Run,
    executor: Executor,
    replace_nonfinite: float | None,
) -> InputStatistics:
    if volume.random_access:
        place = {"store": target.address, "path": "0"}
        job = copy_job(
            volume,
            "level 0",
            outputs=False,
            executor=executor,
            replace_nonfinite=replace_nonfinite,
            target=place,
        )
        table = run_job(job, run=run, executor=executor)
    else:
        table = stream(
            volume,
            zarr.open_array(target.store, path="0", mode="r+"),
            count=count_voxels,
            change=lambda values: replaced(values, replace_nonfinite),
        )
    return summarise(table, volume, replace_nonfinite=replace_nonfinite)


def _open_level(
    target: ImagePlace, level: int, grid: Grid, streamed: Volume | None, ngff: str, fingerprint: str
) -> None:
    """Create the array of one level, or check that the one there belongs to this conversion."""
    if str(level) in zarr.open_group(target.store, mode="r"):
        array = zarr.open_array(target.store, path=str(level), mode="r")
        if array.attrs.get("made_by") != fingerprint or array.shape != grid.shape:
            raise ResumeError(
                f"{target.address} was begun from another input or with other options; use "
                "--overwrite"
            )
        return
    files = [min(FILE_EDGE, n) for n in grid.shape]
    if streamed is not None and not streamed.random_access:
        axis = streamed.slab_axis
        files[axis] = min(files[axis], slab_thickness(streamed))
    zarr.create_array(
        target.store,
        name=str(level),
        shape=grid.shape,
        dtype="float32",
        fill_value=0.0,
        attributes={"made_by": fingerprint},
        **_layout(ngff, files),
    )


def _layout(ngff: str, files: list[int]) -> Mapping[str, Any]:
    if ngff == "0.4":
        return {
            "zarr_format": 2,
            "chunks": tuple(files),
            "chunk_key_encoding": {"name": "v2", "separator": "/"},
            "compressors": {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1},
        }
    chunks = [CHUNK_EDGE if n % CHUNK_EDGE == 0 else n for n in files]
    return {
        "zarr_format": 3,
        "chunks": tuple(chunks),
        "shards": tuple(files),
        "dimension_names": ("z", "y", "x"),
        "compressors": BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"),
    }
