"""Pyramids: every input at x1, x2, x4, ... so that a band is measured on the level where it lives.

Level 0 is the input as float32. Level l + 1 is level l halved by `distres.kernels.resample`, so
that voxel i of level l lies exactly on voxel i 2^l of the input.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod, sqrt

import numpy as np
import zarr

from distres.engine.cluster import Executor
from distres.engine.jobs import Source
from distres.engine.run import Run
from distres.engine.runner import Table, output, run_job
from distres.engine.tiles import Shape3
from distres.errors import InputError
from distres.io.omezarr import OWN, OmeZarrVolume, describe
from distres.io.volume import Volume
from distres.kernels.resample import HALVING_NAME
from distres.methods.pyramid_tiles import (
    copy_job,
    count_voxels,
    halving_job,
    replaced,
    require_memory,
)
from distres.methods.stream import made_by, open_streamed, stream

__all__ = [
    "InputStatistics",
    "NonFiniteError",
    "copy_job",
    "default_levels",
    "halving_job",
    "ingest",
    "readable",
    "summarise",
]

logger = logging.getLogger(__name__)

LONGEST_SIDE_VOX = 512
FEWEST_LEVELS = 3
THINNEST_SIDE_VOX = 16


class NonFiniteError(InputError):
    """An input holds NaN or infinite voxels."""


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
    NonFiniteError
        The input holds NaN or infinite voxels: how many, and where the first one is.
    """
    require_memory(volume, executor, levels=levels)
    found: list[Source] = [*_made_by_us(volume, levels)]
    if not found:
        found = [_ingest_finest(volume, run, name, executor, replace_nonfinite)]
    _describe_input(run, name, volume)
    for level in range(len(found), levels):
        path = f"inputs/{name}/{level}"
        job = halving_job(found[-1], path, outputs=True, executor=executor)
        run_job(job, run=run, executor=executor)
        _annotate(run, path, volume, level)
        found.append(output(run, path))
    return found


def readable(volumes: Mapping[str, Volume], run: Run, executor: Executor) -> dict[str, Source]:
    """Return inputs by role: as they lie, or as a copy in the run where they can only be streamed.

    Raises
    ------
    NonFiniteError
        An input that was copied holds NaN or infinite voxels.
    """
    return {
        name: volume if volume.random_access else ingest(volume, run, name, executor)[0]
        for name, volume in volumes.items()
    }


def summarise(table: Table, volume: Volume, *, replace_nonfinite: float | None) -> InputStatistics:
    """Merge the rows of a copy, and refuse what cannot be computed with.

    Raises
    ------
    NonFiniteError
        There are NaN or infinite voxels and nothing to replace them with.
    """
    bad = int(table.sum("nonfinite"))
    count = prod(volume.shape) - bad
    if bad and replace_nonfinite is None:
        firsts = table.columns["first_nonfinite"]
        z, y, x = np.unravel_index(int(firsts[firsts >= 0].min()), volume.shape)
        raise NonFiniteError(
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
        job = copy_job(
            volume, path, outputs=True, executor=executor, replace_nonfinite=replace_nonfinite
        )
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


def _annotate(
    run: Run, path: str, volume: Volume, level: int, statistics: InputStatistics | None = None
) -> None:
    """Say on the array where it lies, so that it can be opened and exported by itself."""
    own = describe(volume.grid.coarser(2**level), volume.header)
    own["halving"] = HALVING_NAME
    if statistics is not None:
        own["statistics"] = asdict(statistics)
    zarr.open_array(run.store, path=path, mode="r+").attrs[OWN] = own


def _describe_input(run: Run, name: str, volume: Volume) -> None:
    """Keep place and header of an input in the run, also of one that stays where it lies."""
    group = zarr.open_group(run.store, path=f"inputs/{name}", mode="a")
    group.attrs[OWN] = {**describe(volume.grid, volume.header), "source": volume.identity()}
