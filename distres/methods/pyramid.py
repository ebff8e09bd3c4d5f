"""Pyramids: every input at x1, x2, x4, ... so that a band is measured on the level where it lives.

Level 0 is the input as float32. Level l + 1 is level l halved by `distres.kernels.resample`, so
that voxel i of level l lies exactly on voxel i 2^l of the input.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from distres.engine.cluster import Executor
from distres.engine.jobs import OutputSpec, Source, TileInputs, TileJob, TileResult
from distres.engine.run import Run
from distres.engine.runner import Table, output, run_job
from distres.engine.tiles import Region, Shape3, Tile, TilePlan
from distres.errors import InputError
from distres.io.omezarr import OWN, OmeZarrVolume, describe
from distres.io.volume import Volume
from distres.kernels.resample import HALVING_HALO, HALVING_NAME, halve
from distres.methods.stream import made_by, open_streamed, stream

logger = logging.getLogger(__name__)

# Copies go in tiles that are long where the file is: a read is then one run a section, not a row.
COPY_CORE = 128
COPY_LENGTH = 2048
HALVING_CORE: Shape3 = (128, 256, 256)
COPY_BYTES_PER_VOXEL = 16.0
HALVING_BYTES_PER_VOXEL = 16.0
LONGEST_SIDE_VOX = 512
FEWEST_LEVELS = 3
THINNEST_SIDE_VOX = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class InputStatistics:
    """What reading an input counted. Moments are of finite values."""

    minimum: float
    maximum: float
    mean: float
    rms: float
    nonfinite: int


def default_levels(shape: Shape3) -> int:
    """Return how many levels to make: to 512 voxels or three, while no side gets thin."""
    levels, sides = 1, shape
    while min(sides) >= 2 * THINNEST_SIDE_VOX and (
        max(sides) > LONGEST_SIDE_VOX or levels < FEWEST_LEVELS
    ):
        levels += 1
        sides = (-(-sides[0] // 2), -(-sides[1] // 2), -(-sides[2] // 2))
    return levels


def ingest(
    volume: Volume,
    run: Run,
    name: str,
    executor: Executor,
    levels: int = 1,
    *,
    replace_nonfinite: float | None = None,
) -> list[Source]:
    """Put an input into a run, levels 0 to `levels` - 1, under ``inputs/<name>/<level>``.

    An OME-Zarr image whose levels came from our own filter is used where it lies. Compressed files
    and arrays are read once by this process; everything else is read tile by tile.

    Parameters
    ----------
    volume
        The input.
    run, executor
        Where it goes and where it is computed. Levels that are done are not computed again.
    name
        Role of the input: half1, half2, mask.
    levels
        Levels wanted.
    replace_nonfinite
        Value for NaN and infinite voxels; None refuses them.

    Returns
    -------
    One source a level, the finest first.

    Raises
    ------
    InputError
        The input holds NaN or infinite voxels: how many, and where the first one is.
    """
    found: list[Source] = [*_made_by_us(volume, levels)]
    if not found:
        found = [_ingest_finest(volume, run, name, executor, replace_nonfinite)]
    for level in range(len(found), levels):
        path = f"inputs/{name}/{level}"
        run_job(halving_job(found[-1], path, outputs=True), run=run, executor=executor)
        _annotate(run, path, volume, level)
        found.append(output(run, path))
    return found


def halving_job(
    fine: Source,
    path: str,
    *,
    outputs: bool,
    core: Shape3 = HALVING_CORE,
    target: Mapping[str, str] | None = None,
) -> TileJob:
    """Return the job that makes one level from the level before it.

    Parameters
    ----------
    fine
        Level to halve.
    path
        Array of the run's store that receives it, and name of the job.
    outputs
        Whether the run's store receives it; if not, `target` names the array that does.
    """
    z, y, x = fine.shape
    return TileJob(
        name=f"halve {path}",
        plan=TilePlan(shape=(z, y, x), core=_clipped(core, (z, y, x)), halo=(HALVING_HALO,) * 3),
        function=halve_tile,
        inputs={"fine": fine},
        outputs={path: OutputSpec(divisor=2)} if outputs else {},
        parameters={"output": path, "target": dict(target) if target else None},
        bytes_per_voxel=HALVING_BYTES_PER_VOXEL,
    )


def copy_job(
    volume: Volume,
    path: str,
    *,
    outputs: bool,
    replace_nonfinite: float | None = None,
    target: Mapping[str, str] | None = None,
) -> TileJob:
    """Return the job that copies a volume and counts what it holds."""
    core = [COPY_CORE] * 3
    core[volume.contiguous_axis] = COPY_LENGTH
    plan_core = _clipped((core[0], core[1], core[2]), volume.shape)
    return TileJob(
        name=f"copy {path}",
        plan=TilePlan(shape=volume.shape, core=plan_core, halo=(0, 0, 0)),
        function=copy_tile,
        inputs={"volume": volume},
        outputs={path: OutputSpec()} if outputs else {},
        parameters={
            "output": path,
            "target": dict(target) if target else None,
            "replace_nonfinite": replace_nonfinite,
        },
        bytes_per_voxel=COPY_BYTES_PER_VOXEL,
    )


def copy_tile(inputs: TileInputs, parameters: Mapping[str, Any]) -> TileResult:
    """Copy one core as float32 and count what it holds."""
    values = inputs.core("volume")
    row = count_voxels(values, inputs.tile.core, inputs.sources["volume"].shape)
    values = replaced(values, parameters["replace_nonfinite"])
    return _deliver(values, inputs.tile.core, parameters, row)


def halve_tile(inputs: TileInputs, parameters: Mapping[str, Any]) -> TileResult:
    """Halve one core."""
    tile: Tile = inputs.tile
    coarse = halve(inputs.block("fine"), missing=tile.missing)
    place = OutputSpec(divisor=2).region(tile)
    return _deliver(coarse, place, parameters, {})


def count_voxels(
    values: npt.NDArray[np.float32], region: Region, shape: tuple[int, ...]
) -> dict[str, Any]:
    """Return the row of one block: extremes and moments of finite voxels, and the others' count."""
    finite = np.isfinite(values)
    bad = values.size - int(finite.sum())
    first = -1
    if bad:
        place = np.unravel_index(int(np.argmin(finite)), values.shape)
        where = [int(i) + s.start for i, s in zip(place, region, strict=True)]
        first = int(np.ravel_multi_index(where, shape))
        values = values[finite]
    wide = values.astype(np.float64).ravel()
    return {
        "minimum": np.float64(wide.min(initial=np.inf)),
        "maximum": np.float64(wide.max(initial=-np.inf)),
        "sum": np.float64(wide.sum()),
        "squares": np.float64(np.dot(wide, wide)),
        "nonfinite": np.int64(bad),
        "first_nonfinite": np.int64(first),
    }


def replaced(values: npt.NDArray[np.float32], replacement: float | None) -> npt.NDArray[np.float32]:
    """Put `replacement` where values are not finite; None leaves them."""
    if replacement is None:
        return values
    return np.where(np.isfinite(values), values, np.float32(replacement))


def summarise(table: Table, volume: Volume, *, replace_nonfinite: float | None) -> InputStatistics:
    """Merge the rows of a copy, and refuse what cannot be computed with.

    Raises
    ------
    InputError
        There are NaN or infinite voxels and nothing to replace them with.
    """
    bad = int(table.sum("nonfinite"))
    count = prod(volume.shape) - bad
    if bad and replace_nonfinite is None:
        firsts = table.columns["first_nonfinite"]
        z, y, x = np.unravel_index(int(firsts[firsts >= 0].min()), volume.shape)
        raise InputError(
            f"{volume.path} holds {bad} NaN or infinite voxels, the first at x, y, z = {x}, {y}, "
            f"{z} (counted from 0); mend the file, or replace them (distres convert "
            "--replace-nonfinite 0)"
        )
    if bad:
        logger.warning("%s: %d NaN or infinite voxels are replaced", volume.path, bad)
    mean = float(table.sum("sum")) / max(count, 1)
    variance = float(table.sum("squares")) / max(count, 1) - mean * mean
    return InputStatistics(
        minimum=float(table.columns["minimum"].min()),
        maximum=float(table.columns["maximum"].max()),
        mean=mean,
        rms=sqrt(max(variance, 0.0)),
        nonfinite=bad,
    )


def _ingest_finest(
    volume: Volume, run: Run, name: str, executor: Executor, replace_nonfinite: float | None
) -> Source:
    path = f"inputs/{name}/0"
    if not volume.random_access:
        fingerprint = made_by(volume, {"replace_nonfinite": replace_nonfinite})
        array = open_streamed(run.store, path, volume, fingerprint)
        table = stream(
            volume,
            array,
            count=count_voxels,
            change=lambda values: replaced(values, replace_nonfinite),
        )
    else:
        job = copy_job(volume, path, outputs=True, replace_nonfinite=replace_nonfinite)
        table = run_job(job, run=run, executor=executor)
    statistics = summarise(table, volume, replace_nonfinite=replace_nonfinite)
    _annotate(run, path, volume, 0, statistics)
    return output(run, path)


def _made_by_us(volume: Volume, levels: int) -> Sequence[Source]:
    """Return the levels of an image that our own filter made; none when anything is in doubt."""
    if not isinstance(volume, OmeZarrVolume) or volume.halving != HALVING_NAME:
        return ()
    if dict(volume.statistics).get("nonfinite", 1.0) != 0.0:
        return ()
    last = min(volume.level + levels, len(volume.levels))
    return [volume.at_level(level) for level in range(volume.level, last)]


def _deliver(
    values: npt.NDArray[np.float32],
    place: Region,
    parameters: Mapping[str, Any],
    row: Mapping[str, Any],
) -> TileResult:
    """Give values to the engine, or write them to the array of another store that is named."""
    target = parameters["target"]
    if target is None:
        return TileResult(arrays={parameters["output"]: values}, row=row)
    zarr.open_array(target["store"], path=target["path"], mode="r+")[place] = values
    return TileResult(row=row)


def _annotate(
    run: Run, path: str, volume: Volume, level: int, statistics: InputStatistics | None = None
) -> None:
    """Say on the array where it lies, so that it can be opened and exported by itself."""
    own = describe(volume.grid.coarser(2**level), volume.header)
    own["halving"] = HALVING_NAME
    if statistics is not None:
        own["statistics"] = asdict(statistics)
    zarr.open_array(run.store, path=path, mode="r+").attrs[OWN] = own


def _clipped(core: Shape3, shape: Shape3) -> Shape3:
    """Keep cores no larger than the volume needs, in whole chunks."""
    z, y, x = (min(c, -(-n // 64) * 64) for c, n in zip(core, shape, strict=True))
    return z, y, x
